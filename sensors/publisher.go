package sensors

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// publisher is the queue between the sensor loops and the broker: pushing
// never waits, so a slow broker delays no bus and no edge.
type publisher struct {
	sink    Sink
	history History
	log     *slog.Logger
	max     int

	mu      sync.Mutex // guards the fields below
	queue   []entry
	first   int            // sequence number of queue[0]
	latest  map[string]int // topic → sequence number of its coalescing entry
	dropped uint64
	busy    time.Time     // since when a message is with the sink; zero: none is
	wake    chan struct{} // 1 deep
}

// entry is a message that waits. State messages are replaced by newer ones of
// their topic; edges all stay.
type entry struct {
	m     Message
	state bool
}

func newPublisher(sink Sink, h History, log *slog.Logger, max int) *publisher {
	return &publisher{sink: sink, history: h, log: log, max: max, latest: map[string]int{}, wake: make(chan struct{}, 1)}
}

// push queues m. state: only the latest of its topic matters. When the queue
// is full the oldest goes and is counted.
func (p *publisher) push(m Message, state bool) {
	if p.history != nil && m.Reading != nil {
		p.history.Append(*m.Reading)
	}
	if m.Topic == "" {
		return // for the history only
	}
	p.mu.Lock()
	i, waiting := p.latest[m.Topic]
	if waiting && state {
		p.queue[i-p.first].m = m
	} else {
		if len(p.queue) >= p.max {
			p.popLocked()
			p.dropped++
		}
		if state {
			p.latest[m.Topic] = p.first + len(p.queue)
		}
		p.queue = append(p.queue, entry{m, state})
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *publisher) popLocked() Message {
	e := p.queue[0]
	if i, ok := p.latest[e.m.Topic]; ok && i == p.first {
		delete(p.latest, e.m.Topic)
	}
	p.queue[0] = entry{}
	p.queue = p.queue[1:]
	p.first++
	if len(p.queue) == 0 {
		p.queue = nil
	}
	return e.m
}

// run publishes until ctx is done.
func (p *publisher) run(ctx context.Context) {
	for {
		p.mu.Lock()
		var m Message
		have := len(p.queue) > 0
		if have {
			m = p.popLocked()
		}
		p.busy = time.Time{}
		if have {
			p.busy = time.Now()
		}
		p.mu.Unlock()
		if !have {
			select {
			case <-ctx.Done():
				return
			case <-p.wake:
			}
			continue
		}
		if err := p.sink.Publish(ctx, m); err != nil {
			if ctx.Err() != nil {
				return
			}
			p.log.Warn("publish failed", "topic", m.Topic, "err", err)
		}
	}
}

// drain waits until everything is published, but not longer than limit.
func (p *publisher) drain(limit time.Duration) {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		p.mu.Lock()
		idle := len(p.queue) == 0 && p.busy.IsZero()
		p.mu.Unlock()
		if idle {
			return
		}
	}
}

// stuck tells whether the sink has held one message for longer than limit.
func (p *publisher) stuck(limit time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.busy.IsZero() && time.Since(p.busy) > limit
}

func (p *publisher) stats() (waiting int, dropped uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue), p.dropped
}

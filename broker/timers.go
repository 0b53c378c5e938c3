package broker

import (
	"container/heap"
	"context"
	"sync"
	"sync/atomic"
	"time"
)

type timerKind uint8

const (
	timerWill     timerKind = iota // a delayed will is due
	timerExpiry                    // a session's life away is over
	timerRetained                  // a retained message's life is over
)

// timer is something that happens at a time of the broker's clock. One whose
// session has come back since (lapse) is void.
type timer struct {
	timerKey
	at    int64 // ms
	lapse uint32
	place int // in the heap
}

// timerKey is what a timer is about. There is one timer about one thing: a
// session that comes and goes, or a topic that is published again and again,
// moves its appointment instead of making another.
type timerKey struct {
	kind  timerKind
	s     *session
	topic string
}

// timers is the broker's agenda.
type timers struct {
	mu    sync.Mutex // guards heap and byKey
	heap  timerHeap
	byKey map[timerKey]*timer
	wake  chan struct{}
	beats atomic.Uint64 // rounds of the clock
}

func (ts *timers) add(at int64, s *session, lapse uint32, kind timerKind) {
	ts.set(at, lapse, timerKey{kind: kind, s: s})
}

func (ts *timers) addRetained(at int64, topic string) {
	ts.set(at, 0, timerKey{kind: timerRetained, topic: topic})
}

func (ts *timers) set(at int64, lapse uint32, key timerKey) {
	ts.mu.Lock()
	t := ts.byKey[key]
	if t != nil {
		t.at, t.lapse = at, lapse
		heap.Fix(&ts.heap, t.place)
	} else {
		t = &timer{timerKey: key, at: at, lapse: lapse}
		if ts.byKey == nil {
			ts.byKey = make(map[timerKey]*timer)
		}
		ts.byKey[key] = t
		heap.Push(&ts.heap, t)
	}
	first := ts.heap[0] == t
	ts.mu.Unlock()
	if first {
		select {
		case ts.wake <- struct{}{}:
		default:
		}
	}
}

// due takes out what has to happen by now, and tells when the next is.
func (ts *timers) due(now int64) (list []timer, next time.Duration) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for len(ts.heap) > 0 && ts.heap[0].at <= now {
		t := heap.Pop(&ts.heap).(*timer)
		delete(ts.byKey, t.timerKey)
		list = append(list, *t)
	}
	if len(ts.heap) == 0 {
		return list, time.Hour
	}
	return list, min(msec(ts.heap[0].at-now), time.Hour)
}

type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}
func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.place = len(*h)
	*h = append(*h, t)
}
func (h *timerHeap) Pop() any {
	old := *h
	n := len(old) - 1
	x := old[n]
	old[n] = nil
	*h = old[:n]
	return x
}

// runClock is the broker's clock: wills, expiries, $SYS and the minute's chores.
func (b *Broker) runClock(ctx context.Context) error {
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	var sysC <-chan time.Time
	if every := b.opt().SysInterval; every > 0 {
		tick := time.NewTicker(every)
		defer tick.Stop()
		sysC = tick.C
		b.publishSys()
	}
	memory := time.NewTicker(time.Second)
	defer memory.Stop()
	if b.opt().MemoryLimit == 0 {
		memory.Stop()
	}
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			b.away.save(b)
			b.cursors.save(b)
			b.saveClock()
			return nil
		case <-b.timers.wake:
		case <-wait.C:
		case <-sysC:
			b.publishSys()
		case <-memory.C:
			b.memory.measure(b.opt().MemoryLimit)
		case <-minute.C:
			b.takeovers.report(b)
			b.away.save(b)
			b.cursors.save(b)
			b.saveClock()
		}
		list, next := b.timers.due(b.clock.Now())
		b.timers.beats.Add(1)
		if len(list) > 0 {
			t := b.takeTurn()
			for _, tm := range list {
				b.fire(t, tm)
			}
			b.giveTurn(t)
		}
		wait.Reset(max(next, time.Millisecond))
	}
}

// fire does what a timer is for.
func (b *Broker) fire(t *turn, tm timer) {
	if tm.kind == timerRetained {
		if b.retained.dropExpired(tm.topic, t.now) {
			t.done.DeleteRetained(tm.topic)
			t.counts.expired++
		}
		return
	}
	s := tm.s
	s.mu.Lock()
	if s.lapse != tm.lapse || s.gone || s.conn != nil || s.link != nil {
		s.mu.Unlock()
		return
	}
	w := s.will
	op := b.newOp()
	switch tm.kind {
	case timerWill:
		s.will, s.stored = nil, nil
		op.batch.DeleteWill(s.key)
		s.mu.Unlock()
	case timerExpiry:
		s.gone, s.will = true, nil
		s.mu.Unlock()
		b.stats.expired.Add(1)
		b.log.Info("session expired", "client", s.id)
		b.forget(t, s, &op.batch)
	}
	if w != nil {
		b.publishWillWith(t, w, op)
		return
	}
	b.submitOrRetry(op)
}

// saveClock keeps how far the clock has come; nobody waits for it.
func (b *Broker) saveClock() {
	op := b.newOp()
	op.batch.PutLazy(clockKey, b.clock.record())
	b.submitOrRetry(op)
}

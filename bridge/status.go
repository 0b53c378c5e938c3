package bridge

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// State is what a bridge is doing.
type State string

// The states.
const (
	Stopped    State = "stopped"    // Run has not begun or has ended
	Waiting    State = "waiting"    // a pause before the next attempt, or nothing to send yet
	Connecting State = "connecting" // an attempt is under way
	Connected  State = "connected"
	Paused     State = "paused" // by hand
	Ended      State = "ended"  // start type once, and the connection is over
)

// Status is what there is to tell about a bridge.
type Status struct {
	Name           string            `json:"name"`
	State          State             `json:"state"`
	Address        string            `json:"address,omitempty"`  // in use
	Protocol       string            `json:"protocol,omitempty"` // in use
	Since          time.Time         `json:"since,omitzero"`     // of the state
	LastError      string            `json:"last_error,omitempty"`
	NextAttempt    time.Time         `json:"next_attempt,omitzero"`
	SessionPresent bool              `json:"session_present"`
	QueueMessages  int               `json:"queue_messages"`
	QueueBytes     int64             `json:"queue_bytes"`
	Oldest         int64             `json:"oldest_ms"` // when the oldest that waits reached the gateway, ms of the wall clock; 0: none
	Inflight       int               `json:"inflight"`
	Out            uint64            `json:"messages_out"`
	In             uint64            `json:"messages_in"`
	OutRate        float64           `json:"out_per_second"` // over the last seconds
	InRate         float64           `json:"in_per_second"`
	Acked          uint64            `json:"messages_acked"`
	Retried        uint64            `json:"messages_retried"`
	BytesOut       uint64            `json:"bytes_out"`
	BytesIn        uint64            `json:"bytes_in"`
	Dropped        map[string]uint64 `json:"dropped,omitempty"` // by reason
	QoSLowered     uint64            `json:"qos_lowered"`       // the centre's Maximum QoS is lower
	RetainStripped uint64            `json:"retain_stripped"`   // the centre keeps no retained messages
	Connects       uint64            `json:"connects"`
	RoundTrip      time.Duration     `json:"round_trip"` // smoothed
	CertDays       *float64          `json:"certificate_days,omitempty"`
	CutRules       []string          `json:"cut_rules,omitempty"` // by the storm breaker
}

// counters count since the process started.
type counters struct {
	out, in, acks, retried, bytesOut, bytesIn, connects, lowered, stripped atomic.Uint64

	rtt   atomic.Int64 // ns, smoothed
	rates rates

	mu    sync.Mutex // guards drops
	drops map[string]uint64
}

func (c *counters) dropped(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drops == nil {
		c.drops = map[string]uint64{}
	}
	c.drops[reason]++
}

// acked counts an acknowledged message and how long that took in ns.
func (c *counters) acked(took int64) {
	c.acks.Add(1)
	c.roundTrip(took)
}

// roundTrip smooths; two that write at once may lose one sample.
func (c *counters) roundTrip(took int64) {
	if old := c.rtt.Load(); old != 0 {
		took = old + (took-old)/8
	}
	c.rtt.Store(took)
}

// Status returns what there is to tell now.
func (b *Bridge) Status() Status {
	b.mu.Lock()
	s := Status{Name: b.o.Name, State: b.state, Since: b.since, LastError: b.lastError, NextAttempt: b.nextAttempt}
	c, link := b.conn, b.link
	b.mu.Unlock()
	if c != nil {
		s.Address, s.Protocol, s.SessionPresent = c.addr.text, c.level.String(), c.limits.sessionPresent
		if days, ok := certificateDays(c.net, time.Now()); ok {
			s.CertDays = &days
		}
	}
	if link != nil {
		var oldest time.Time
		s.QueueMessages, s.QueueBytes, oldest = link.Depth()
		if !oldest.IsZero() {
			s.Oldest = oldest.UnixMilli()
		}
		s.Inflight = link.Inflight()
	}
	s.Out, s.In, s.Acked, s.Retried = b.count.out.Load(), b.count.in.Load(), b.count.acks.Load(), b.count.retried.Load()
	s.BytesOut, s.BytesIn, s.Connects = b.count.bytesOut.Load(), b.count.bytesIn.Load(), b.count.connects.Load()
	s.QoSLowered, s.RetainStripped = b.count.lowered.Load(), b.count.stripped.Load()
	s.RoundTrip = time.Duration(b.count.rtt.Load())
	s.OutRate, s.InRate = b.count.rates.at(time.Now(), s.Out, s.In)
	b.count.mu.Lock()
	s.Dropped = maps.Clone(b.count.drops)
	b.count.mu.Unlock()
	if link != nil {
		s.Dropped = addDrops(s.Dropped, link.Drops())
	}
	for i := range b.o.Rules {
		if b.storm.cut(i) {
			s.CutRules = append(s.CutRules, b.o.Rules[i].String())
		}
	}
	return s
}

package bridge

import (
	"maps"
	"sync"
	"sync/atomic"

	"gatewayd/broker"
)

// counters count since the process started.
type counters struct {
	out, in, acks, retried, bytesOut, bytesIn, connects, lowered, stripped atomic.Uint64

	rtt   atomic.Int64 // ns, smoothed
	rates rates

	rules []ruleCount // as Options.Rules

	mu     sync.Mutex // guards the fields below, and those of rules that say so
	drops  map[string]uint64
	parked map[string]uint64
}

// ruleCount is what one rule did.
type ruleCount struct {
	out, in atomic.Uint64

	drops, parked map[string]uint64 // guarded by counters.mu
}

// noRule is the rule of a message that no rule wants.
const noRule = -1

func (c *counters) dropped(rule int, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	add(&c.drops, reason)
	if rule >= 0 {
		add(&c.rules[rule].drops, reason)
	}
}

func (c *counters) park(rule int, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	add(&c.parked, reason)
	add(&c.rules[rule].parked, reason)
}

func add(m *map[string]uint64, reason string) {
	if *m == nil {
		*m = map[string]uint64{}
	}
	(*m)[reason]++
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

// RuleStatus is what there is to tell about one rule.
type RuleStatus struct {
	Rule     string            `json:"rule"` // as mosquitto.conf has it
	Out      uint64            `json:"messages_out"`
	In       uint64            `json:"messages_in"`
	Own      bool              `json:"own_queue"` // it has bounds of its own
	Messages int               `json:"queue_messages,omitempty"`
	Bytes    int64             `json:"queue_bytes,omitempty"` // these two when any rule of the bridge has
	Dropped  map[string]uint64 `json:"dropped,omitempty"`     // by reason; of the queue's reasons as these two
	Parked   map[string]uint64 `json:"parked,omitempty"`      // by reason, since the start
	Cut      bool              `json:"cut,omitempty"`         // by the storm breaker
}

// ruleStatus tells about every rule.
func (b *Bridge) ruleStatus(link *broker.Link) []RuleStatus {
	list := make([]RuleStatus, len(b.o.Rules))
	b.count.mu.Lock()
	for i := range list {
		c := &b.count.rules[i]
		list[i] = RuleStatus{
			Rule: b.o.Rules[i].String(), Out: c.out.Load(), In: c.in.Load(), Own: b.o.Rules[i].Queue != nil,
			Dropped: maps.Clone(c.drops), Parked: maps.Clone(c.parked), Cut: b.storm.cut(i),
		}
	}
	b.count.mu.Unlock()
	if link == nil {
		return list
	}
	parts, ids := b.o.parts()
	states := link.Parts()
	for p := range min(len(parts), len(states)) {
		for i, id := range ids {
			if id == parts[p].SubscriptionID { // the first rule of its filter
				list[i].Messages, list[i].Bytes = states[p].Messages, states[p].Bytes
				list[i].Dropped = addDrops(list[i].Dropped, states[p].Drops)
				break
			}
		}
	}
	return list
}

package bridge

import (
	"log/slog"
	"sync"
	"sync/atomic"
)

const (
	stormWindow = 10e9 // ns over which a circle is watched
	stormBound  = 4096 // messages watched at a time
	// Times that content may pass both ways in that time: under the same name,
	// under names that differ (a circle through brokers that rename), and the
	// same when it is so short that it may well be another message.
	stormSame, stormRenamed, stormShort = 100, 200, 500
)

// storm is the breaker that ends a circle which the configuration check could
// not see, because it closes through brokers we know nothing of. The same
// content passing outward and inward over and over is a circle; so is a rule
// that carries more than rate messages a second both ways for the whole window.
// The rule is cut until the bridge is resumed by hand; other rules go on.
type storm struct {
	log  *slog.Logger
	rate float64
	cuts []atomic.Bool // by rule

	mu    sync.Mutex // guards the fields below
	since int64
	seen  map[uint64]*circle
	total [][2]int // by rule: outward, inward
	both  []bool   // rules that can be part of a circle
}

type circle struct {
	out, in int
	rule    int
}

func newStorm(rules []Rule, rate float64, log *slog.Logger) *storm {
	s := &storm{log: log, rate: rate, cuts: make([]atomic.Bool, len(rules)), seen: map[uint64]*circle{},
		total: make([][2]int, len(rules)), both: make([]bool, len(rules))}
	in, out := false, false
	for _, r := range rules {
		in, out = in || r.inward(), out || r.outward()
	}
	for i := range rules {
		s.both[i] = in && out
	}
	return s
}

// cut says whether the rule is cut.
func (s *storm) cut(rule int) bool { return s.cuts[rule].Load() }

// mend joins every rule again and returns how many were cut.
func (s *storm) mend() (n int) {
	for i := range s.cuts {
		if s.cuts[i].Swap(false) {
			n++
		}
	}
	s.mu.Lock()
	clear(s.seen)
	s.mu.Unlock()
	return n
}

// carried notes one message that crossed, under its local name.
func (s *storm) carried(rule int, inward bool, name string, payload []byte, now int64) {
	if !s.both[rule] {
		return
	}
	same, any := content(name, payload), content("", payload)
	allowed := stormRenamed
	if len(payload) < 8 {
		allowed = stormShort
	}
	s.mu.Lock()
	if now-s.since > stormWindow || now < s.since {
		s.closeWindowLocked()
		s.since = now
	}
	way := 0
	if inward {
		way = 1
	}
	s.total[rule][way]++
	other, circling := s.circleLocked(same, rule, inward, stormSame)
	if !circling {
		other, circling = s.circleLocked(any, rule, inward, allowed)
	}
	s.mu.Unlock()
	if circling {
		s.trip(rule, "one message passes again and again in both directions")
		s.trip(other, "one message passes again and again in both directions")
	}
}

// circleLocked counts content and says whether it passed more often both ways
// than allowed, and through which rule it was seen first.
func (s *storm) circleLocked(sum uint64, rule int, inward bool, allowed int) (first int, circling bool) {
	c := s.seen[sum]
	if c == nil {
		if len(s.seen) >= stormBound {
			return 0, false
		}
		c = &circle{rule: rule}
		s.seen[sum] = c
	}
	if inward {
		c.in++
	} else {
		c.out++
	}
	return c.rule, min(c.in, c.out) >= allowed
}

// closeWindowLocked ends a window: a rule that was above the rate both ways is
// cut.
func (s *storm) closeWindowLocked() {
	clear(s.seen)
	for i := range s.total {
		t := &s.total[i]
		if s.rate > 0 && float64(min(t[0], t[1])) > s.rate*stormWindow/1e9 {
			s.trip(i, "more messages a second in both directions than storm_rate")
		}
		*t = [2]int{}
	}
}

func (s *storm) trip(rule int, why string) {
	if !s.cuts[rule].Swap(true) {
		s.log.Error("bridge rule cut: a loop between brokers", "rule", rule, "reason", why)
	}
}

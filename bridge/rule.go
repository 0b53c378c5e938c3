package bridge

import (
	"errors"
	"fmt"

	"gatewayd/broker"
	"gatewayd/mqtt"
	"gatewayd/topic"
)

// Direction says which way a rule carries messages.
type Direction uint8

// The directions.
const (
	Out Direction = iota
	In
	Both
)

// String returns the word mosquitto.conf uses.
func (d Direction) String() string { return [...]string{"out", "in", "both"}[d] }

// Rule says which topics cross the bridge and what they are called at either
// end.
type Rule struct {
	Filter       string // without the prefixes; empty: the prefixes are whole topics
	Direction    Direction
	QoS          mqtt.QoS // highest
	LocalPrefix  string
	RemotePrefix string
	StripRetain  bool // messages lose their retain flag
	// Queue bounds what the rule has waiting, by itself; nil: it waits with the
	// others, in the bridge's bounds.
	Queue *broker.QueueLimits
}

func (r Rule) remap() topic.Remap {
	return topic.Remap{Pattern: r.Filter, Local: r.LocalPrefix, Remote: r.RemotePrefix}
}

func (r Rule) outward() bool { return r.Direction != In }
func (r Rule) inward() bool  { return r.Direction != Out }

// String writes the rule as mosquitto.conf does.
func (r Rule) String() string {
	return fmt.Sprintf("topic %q %v %d %q %q", r.Filter, r.Direction, r.QoS, r.LocalPrefix, r.RemotePrefix)
}

func (r Rule) validate() error {
	if r.QoS > 2 || r.Direction > Both {
		return errors.New("QoS is 0, 1 or 2 and the direction out, in or both")
	}
	if group, _, shared, err := topic.ParseShare(r.remap().RemoteFilter()); err != nil {
		return err
	} else if shared && (r.Direction != In || r.LocalPrefix == "") {
		return fmt.Errorf("shared subscription of group %q: only inward, with a local prefix", group)
	}
	return r.remap().Validate()
}

// cacheLimit bounds the names a router remembers.
const cacheLimit = 8192

// target is where a rule takes a name.
type target struct {
	name string // at the other end; empty: no rule wants it
	rule int
}

// router finds the rule for a name and the name at the other end. One
// goroutine uses it; names repeat, so that answers are remembered.
type router struct {
	rules  []Rule
	inward bool
	known  map[string]target
}

func newRouter(rules []Rule, inward bool) *router {
	return &router{rules: rules, inward: inward, known: map[string]target{}}
}

// route returns the first rule that wants the name and what the name becomes.
// name may alias a buffer.
func (r *router) route(name string) target {
	if t, ok := r.known[name]; ok {
		return t
	}
	t := r.find(name)
	if len(r.known) >= cacheLimit {
		clear(r.known)
	}
	r.known[string([]byte(name))] = t
	return t
}

func (r *router) find(name string) target {
	for i, rule := range r.rules {
		var to string
		var ok bool
		switch {
		case r.inward && rule.inward():
			to, ok = rule.remap().In(name)
		case !r.inward && rule.outward():
			to, ok = rule.remap().Out(name)
		}
		if ok {
			return target{string([]byte(to)), i}
		}
	}
	return target{}
}

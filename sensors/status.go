package sensors

import (
	"cmp"
	"slices"
	"time"
)

// Status is how a probe is doing, for people, metrics and the API.
type Status struct {
	Name, Driver, Bus, Address string
	Online                     bool
	Reason                     string // why it is not online
	LastGood                   time.Time
	Every                      time.Duration
	Reads, Errors, Late        uint64
	Readings                   []Reading // the latest of each quantity
}

// LineStatus is how a line is doing.
type LineStatus struct {
	Name, Line, Direction string
	State                 string // payload form: "on", "off", a count
	On                    *bool  // of a state; nil: not known, or a count
	Since                 time.Time
	Edges, Lost           uint64
	Reason                string // why it does not work, or why it has this state
	Online                bool
}

// Entity is one published thing, as discovery documents describe it.
type Entity struct {
	Kind         string // "sensor", "binary_sensor", "switch"
	Probe        string // or the name of the line
	Quantity     Quantity
	Part         string
	Topic        string
	Availability string // topic with online and offline; empty: the gateway's own
	Command      string
	On, Off      string
	Format       Format
	QoS          byte
	Retain       bool
	Every        time.Duration
}

// Snapshot tells how every probe is doing.
func (s *Scheduler) Snapshot() []Status {
	var all []Status
	for _, l := range s.loops {
		for _, p := range l.probes {
			all = append(all, p.status())
		}
	}
	slices.SortFunc(all, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func (p *probe) status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := Status{Name: p.cfg.Name, Driver: p.cfg.Driver, Bus: p.cfg.Bus, Address: p.cfg.Address,
		Online: p.online, Reason: p.reason, LastGood: p.lastGood, Every: p.cfg.Every,
		Reads: p.reads, Errors: p.errs, Late: p.late}
	for _, r := range p.latest {
		st.Readings = append(st.Readings, r)
	}
	slices.SortFunc(st.Readings, func(a, b Reading) int { return cmp.Compare(a.Quantity, b.Quantity) })
	return st
}

// Lines tells how every line is doing.
func (s *Scheduler) Lines() []LineStatus {
	var all []LineStatus
	for _, l := range s.ins {
		all = append(all, l.status())
	}
	for _, l := range s.outs {
		all = append(all, l.status())
	}
	slices.SortFunc(all, func(a, b LineStatus) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Entities lists everything that is published, for discovery.
func (s *Scheduler) Entities() []Entity {
	var all []Entity
	for _, l := range s.loops {
		for _, p := range l.probes {
			names := slices.Clone(p.driver.Quantities)
			for _, d := range p.cfg.Derive {
				names = append(names, d.Quantity)
			}
			for _, q := range names {
				if slices.Contains(p.cfg.Disabled, q) {
					continue
				}
				e := Entity{Kind: "sensor", Probe: p.cfg.Name, Quantity: QuantityOf(q), Part: p.driver.Part,
					Topic: expandTopic(p.cfg.Topic, s.o.Gateway, p.cfg.Name, q), Availability: p.availability,
					Format: p.cfg.Format, QoS: p.cfg.QoS, Retain: p.cfg.Retain, Every: p.cfg.Every}
				for _, d := range p.cfg.Derive {
					if d.Quantity == q && d.Unit != "" {
						e.Quantity.Unit = d.Unit
					}
				}
				if d, ok := p.cfg.Digits[q]; ok {
					e.Quantity.Digits = d
				}
				all = append(all, e)
			}
		}
	}
	for _, l := range s.ins {
		all = append(all, l.entities()...)
	}
	for _, l := range s.outs {
		all = append(all, l.entity())
	}
	return all
}

// Pending tells how many messages wait for the broker and how many were
// dropped because too many waited.
func (s *Scheduler) Pending() (waiting int, dropped uint64) { return s.out.stats() }

// Stuck names what has not moved for longer than limit: buses inside one turn,
// and "publisher" when the broker holds one message. A watchdog is fed while
// this is empty; a bus that fails and says so is not stuck.
func (s *Scheduler) Stuck(limit time.Duration) []string {
	var names []string
	for _, l := range s.loops {
		if at := l.inTurn.Load(); at != 0 && time.Since(time.Unix(0, at)) > limit {
			names = append(names, l.name)
		}
	}
	if s.out.stuck(limit) {
		names = append(names, "publisher")
	}
	return names
}

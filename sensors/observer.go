package sensors

import "time"

// Event is something that happened to a sensor or a line: a reading, or a
// change of availability, or the state of a line.
type Event struct {
	Name    string   // of the sensor or line
	Reading *Reading // read-only; nil: one of the others
	Online  *bool    // came or went
	State   *bool    // of a line: on or off
	At      time.Time
}

// Observer hears of everything that is published, and of bad readings that
// have no plain form. Observe is called from the loops of buses and lines: it
// does not wait.
type Observer interface {
	Observe(Event)
}

func (s *Scheduler) observeReading(r Reading) {
	if s.o.Observer != nil {
		s.o.Observer.Observe(Event{Name: r.Probe, Reading: &r, At: r.At})
	}
}

func (s *Scheduler) observeOnline(name string, online bool) {
	if s.o.Observer != nil {
		s.o.Observer.Observe(Event{Name: name, Online: &online, At: time.Now()})
	}
}

func (s *Scheduler) observeState(name string, on bool, at time.Time) {
	if s.o.Observer != nil {
		s.o.Observer.Observe(Event{Name: name, State: &on, At: at})
	}
}

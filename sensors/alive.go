package sensors

import (
	"errors"
	"fmt"
	"time"
)

// standstill is how long a turn at a bus, or the supervisor, may last before it
// counts as standing still. Every call within a turn has limits of its own; one
// that lasts so long hangs in the kernel.
const standstill = time.Minute

// Alive says which loop does not advance: a bus whose call never came back, or
// the supervisor. A part that fails or is late is no standstill.
func (s *Scheduler) Alive() error { return s.aliveAt(time.Now()) }

func (s *Scheduler) aliveAt(now time.Time) error {
	for _, l := range s.loops {
		begun := l.inTurn.Load()
		if begun == 0 {
			continue
		}
		// Beyond a day the clock was set meanwhile, from 1970 to now.
		if d := now.Sub(time.Unix(0, begun)); d > standstill && d < 24*time.Hour {
			return fmt.Errorf("the sensors of %s", l.name)
		}
	}
	if beat := s.beat.Load(); beat != nil && now.Sub(*beat) > standstill {
		return errors.New("the supervisor of the sensors")
	}
	return nil
}

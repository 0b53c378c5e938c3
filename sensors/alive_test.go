package sensors

import (
	"strings"
	"testing"
	"time"
)

func TestAlive(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		name  string
		begun time.Time // of a turn at the bus; zero: none runs
		beat  time.Time // of the supervisor; zero: it has not run yet
		want  string    // in the error; "": alive
	}{
		{"idle", time.Time{}, time.Time{}, ""},
		{"in a turn", now.Add(-5 * time.Second), now, ""},
		{"a call that never came back", now.Add(-2 * time.Minute), now, "i2c:i2c-1"},
		{"the clock was set during a turn", time.Unix(100, 0), now, ""},
		{"the supervisor hangs", time.Time{}, now.Add(-2 * time.Minute), "supervisor"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &Scheduler{loops: []*busLoop{{name: "w1:w1-1"}, {name: "i2c:i2c-1"}}}
			if !tc.begun.IsZero() {
				s.loops[1].inTurn.Store(tc.begun.UnixNano())
			}
			if !tc.beat.IsZero() {
				s.beat.Store(&tc.beat)
			}
			err := s.aliveAt(now)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Alive says %v, want %q", err, tc.want)
			}
		})
	}
}

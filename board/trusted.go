package board

import (
	"runtime/debug"
	"sync/atomic"
	"time"
)

// TrustedTime is the time as well as it can be known. A board without a clock
// of its own starts in 1970; certificates would not be valid yet and TLS would
// not come up. So it has a floor that cannot be wrong, the time this program
// was built, of the last run, of an own certificate, and never says less. The
// floor stands still: it is good enough to judge a certificate by, not to put
// into a reading.
type TrustedTime struct {
	floor atomic.Int64     // unix seconds
	now   func() time.Time // the system's clock
}

// NewTrustedTime starts with the time this program was built.
func NewTrustedTime() *TrustedTime {
	t := &TrustedTime{now: time.Now}
	t.NotBefore(built())
	return t
}

// NotBefore raises the floor: it is at least then.
func (t *TrustedTime) NotBefore(then time.Time) {
	for {
		old := t.floor.Load()
		if then.Unix() <= old || t.floor.CompareAndSwap(old, then.Unix()) {
			return
		}
	}
}

// Now is the system's time, or the floor where the system's cannot be right.
// It fits tls.Config.Time.
func (t *TrustedTime) Now() time.Time {
	now, floor := t.now(), t.floor.Load()
	if now.Unix() < floor {
		return time.Unix(floor, 0)
	}
	return now
}

// Behind says whether the system's clock shows a time that has passed for
// certain: it was never set.
func (t *TrustedTime) Behind() bool { return t.now().Unix() < t.floor.Load() }

// built is when this program was made, as far as it knows.
func built() time.Time {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				if at, err := time.Parse(time.RFC3339, s.Value); err == nil && at.After(builtAfter) {
					return at
				}
			}
		}
	}
	return builtAfter
}

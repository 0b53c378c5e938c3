package bridge

import "time"

// limiter lets through rate messages a second, and a burst of a tenth of that
// after a pause. Zero rate lets everything through.
type limiter struct {
	rate float64
	next time.Time // when the next message is due
}

// take accounts for one message and returns how long to wait before it.
func (l *limiter) take(now time.Time) time.Duration {
	if l.rate <= 0 {
		return 0
	}
	every := time.Duration(float64(time.Second) / l.rate)
	if burst := now.Add(-100 * time.Millisecond); l.next.Before(burst) {
		l.next = burst
	}
	l.next = l.next.Add(every)
	return l.next.Sub(now)
}

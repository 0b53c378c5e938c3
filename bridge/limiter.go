package bridge

import "time"

// limiter lets through rate messages, or bytes, a second, and a burst of a tenth
// of that after a pause. Zero rate lets everything through.
type limiter struct {
	rate float64
	next time.Time // when the next is due
}

// take accounts for n and returns how long to wait before them.
func (l *limiter) take(now time.Time, n int) time.Duration {
	if l.rate <= 0 {
		return 0
	}
	if burst := now.Add(-100 * time.Millisecond); l.next.Before(burst) {
		l.next = burst
	}
	l.next = l.next.Add(time.Duration(float64(n) * float64(time.Second) / l.rate))
	return l.next.Sub(now)
}

package bridge

import (
	"math/rand/v2"
	"time"
)

// backoff gives the pauses between attempts to connect: decorrelated jitter,
// so that a thousand gateways that lost the same centre do not come back
// together. It starts over only after a connection that lasted, so that a
// centre that accepts and throws out again is not hammered.
type backoff struct {
	base, cap, stable time.Duration
	last              time.Duration
	random            func() float64 // in [0,1)
}

func newBackoff(base, limit, stable time.Duration) *backoff {
	return &backoff{base: base, cap: max(base, limit), stable: stable, random: rand.Float64}
}

// next returns the pause before the next attempt.
func (b *backoff) next() time.Duration {
	from, to := b.base, 3*max(b.last, b.base)
	b.last = min(b.cap, from+time.Duration(b.random()*float64(to-from)))
	return b.last
}

// lasted tells how long the connection that just ended was up.
func (b *backoff) lasted(d time.Duration) {
	if d >= b.stable {
		b.last = 0
	}
}

//go:build !linux

package board

import "time"

// ReadClock cannot ask here: a plausible clock is taken as right.
func ReadClock() Clock {
	ok := time.Now().After(builtAfter)
	return Clock{Synchronised: ok, Plausible: ok}
}

func diskSpace(string) (total, free uint64) { return 0, 0 }

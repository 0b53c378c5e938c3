package board

import (
	"time"

	"golang.org/x/sys/unix"
)

// ReadClock asks the kernel whether something keeps its clock right.
func ReadClock() Clock {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	c := Clock{Plausible: time.Now().After(builtAfter)}
	if err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0 {
		c.Synchronised = c.Plausible
		c.MaxError = time.Duration(t.Maxerror) * time.Microsecond
	}
	return c
}

func diskSpace(dir string) (total, free uint64) {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return 0, 0
	}
	return uint64(s.Blocks) * uint64(s.Bsize), uint64(s.Bavail) * uint64(s.Bsize)
}

package board

import (
	"testing"
	"time"
)

func TestTrustedTime(t *testing.T) {
	system := time.Unix(30, 0) // 1970: a board that has just started
	trusted := NewTrustedTime()
	trusted.now = func() time.Time { return system }
	if now := trusted.Now(); now.Before(builtAfter) || !trusted.Behind() {
		t.Errorf("in 1970 it says %v, behind %v", now, trusted.Behind())
	}
	lastRun := time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)
	trusted.NotBefore(lastRun)
	trusted.NotBefore(lastRun.Add(-time.Hour)) // a floor never sinks
	if now := trusted.Now(); !now.Equal(lastRun) {
		t.Errorf("it says %v, want the last run's %v", now, lastRun)
	}
	system = lastRun.Add(time.Hour) // the clock was set
	if now := trusted.Now(); !now.Equal(system) || trusted.Behind() {
		t.Errorf("with the clock set it says %v, behind %v", now, trusted.Behind())
	}
}

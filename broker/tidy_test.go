package broker

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestTidy: memory is given back once a storm is over, not while it lasts and not
// for a few connections.
func TestTidy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ty tidying
		for range tidyAfter - 1 {
			ty.note()
		}
		if ty.armed.Load() {
			t.Error("armed for a few connections")
		}
		for range 20 {
			ty.note()
			time.Sleep(tidyQuiet / 2)
			synctest.Wait()
			if !ty.armed.Load() {
				t.Fatal("tidied up in the middle of a storm")
			}
		}
		time.Sleep(3 * tidyQuiet)
		synctest.Wait()
		if ty.armed.Load() || ty.made.Load() != 0 {
			t.Error("not tidied up after the storm")
		}
	})
}

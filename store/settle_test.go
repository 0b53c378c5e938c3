package store

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestSettlingGoesWithTheNext: what a client is done with at QoS 2 takes no commit
// of its own while there are others, and is written soon when there are none. A
// receipt that somebody waits for is not held up.
func TestSettlingGoesWithTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := running(t, "", Options{})
		id := newSession(t, s, "a")
		var b Batch
		for pid := uint16(1); pid <= 3; pid++ {
			b.AddMessage(message("t", "x"), []Recipient{{Session: id, QoS: 2, PacketID: pid}})
		}
		submit(t, s, &b)
		ids := []MessageID{0, b.ID(0), b.ID(1), b.ID(2)}
		b.Reset()
		b.Released(id, 1)
		b.Released(id, 2)
		b.Released(id, 3)
		submit(t, s, &b)
		flush(t, s)
		done := func(pid uint16, f func(Receipt)) {
			t.Helper()
			var b Batch
			b.DonePacket(id, pid, ids[pid])
			if err := s.TrySubmit(&b, f); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		before := s.Stats().Commits
		done(1, nil)
		if n := s.Stats().Commits - before; n != 0 {
			t.Errorf("%d commits for what nobody waits for", n)
		}
		b.Reset()
		b.AddMessage(message("t", "y"), []Recipient{{Session: id, QoS: 1}})
		submit(t, s, &b)
		if n := s.Stats().Commits - before; n != 1 {
			t.Errorf("%d commits, it did not go with the next", n)
		}
		done(2, nil)
		time.Sleep(settleDelay)
		synctest.Wait()
		if n := s.Stats().Commits - before; n != 2 {
			t.Errorf("%d commits after the delay", n)
		}
		told := false
		done(3, func(Receipt) { told = true })
		if !told {
			t.Error("a receipt was held up")
		}
	})
}

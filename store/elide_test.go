package store

import (
	"testing"
	"time"
)

// TestMarkTakesNothingAlong: the packet ids of QoS 1 are kept from time to time;
// a message whose acknowledgement is on its way is not written because of it.
func TestMarkTakesNothingAlong(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir, Options{CommitDelay: time.Hour})
	a := newSession(t, s, "a")
	var b Batch
	b.AddMessage(message("t", "x"), []Recipient{{Session: a, QoS: 1, Sent: true}})
	done := make(chan Receipt, 1)
	if err := s.TrySubmit(&b, func(r Receipt) { done <- r }); err != nil {
		t.Fatal(err)
	}
	id := b.ID(0)
	b.Reset()
	commits := s.Stats().Commits
	b.Mark(a, 16384)
	submit(t, s, &b)
	eventually(t, "the mark is not written", func() bool { return s.Stats().Commits > commits })
	select {
	case r := <-done:
		t.Fatalf("the message was written with the mark: %+v", r)
	default:
	}
	b.Reset()
	b.Done(a, id)
	submit(t, s, &b)
	if r := <-done; !r.Elided {
		t.Errorf("receipt %+v", r)
	}
	if n := s.Stats().Written["queues"]; n != 0 {
		t.Errorf("%d bytes of messages written", n)
	}
	stop()

	s, _ = running(t, dir, Options{})
	var marks []uint16
	if err := s.Load(Loader{Session: func(_ Session, mark uint16) error { marks = append(marks, mark); return nil }}); err != nil {
		t.Fatal(err)
	}
	if len(marks) != 1 || marks[0] != 16384 {
		t.Errorf("marks %v", marks)
	}
}

// TestWaitForAcknowledgement: a recipient at a distance is waited for from its
// first acknowledgement on, never longer than the cap, and not at all when it is
// too far away.
func TestWaitForAcknowledgement(t *testing.T) {
	const limit, ms = 50 * time.Millisecond, time.Millisecond
	s, err := Open("", Options{CommitDelay: limit})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	wide, err := Open("", Options{CommitDelay: 3 * limit})
	if err != nil {
		t.Fatal(err)
	}
	defer wide.Close()
	for _, tc := range []struct {
		trip, first, later time.Duration
	}{
		{100 * time.Microsecond, 20*ms + 300*time.Microsecond, 20*ms + 110*time.Microsecond},
		{5 * ms, 35 * ms, 26 * ms},
		{20 * ms, limit, 41 * ms},
		{30 * ms, limit, limit},
		{40 * ms, limit, limit},
		{45 * ms, never, never},
		{100 * ms, never, never},
	} {
		var ss session
		now, id := time.Second, MessageID(1)
		if wait := s.sentLocked(&ss, id, now); wait != limit {
			t.Errorf("a recipient that is not known: %v", wait)
		}
		for i := range 20 {
			now += tc.trip
			ss.acknowledged(id, now)
			id++
			wait := s.sentLocked(&ss, id, now)
			if i == 0 && wait != tc.first || i == 19 && (wait > tc.later || wait < tc.later-ms) {
				t.Errorf("at %v, after %d acknowledgements: %v, want %v, then %v", tc.trip, i+1, wait, tc.first, tc.later)
			}
		}
		if wait := wide.sentLocked(&ss, id, now); wait > 3*limit { // the operator may want to wait longer
			t.Errorf("at %v, with a cap of %v: %v", tc.trip, 3*limit, wait)
		}
		if tc.first == never {
			continue
		}
		if wait := s.sentLocked(&ss, id+1, now+time.Second); wait != never {
			t.Errorf("at %v, silent: %v", tc.trip, wait)
		}
	}
}

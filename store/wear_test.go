package store

import (
	"testing"
	"time"
)

func TestWriteBudgetWritesLessOftenAndPromisesTheSame(t *testing.T) {
	s, _ := running(t, t.TempDir(), Options{WriteBudget: 1 << 20, CommitDelay: 2 * time.Millisecond})
	a := newSession(t, s, "a")
	if d := s.Stats().CommitDelay; d != 0 {
		t.Fatal(d)
	}
	var b Batch
	b.AddMessage(message("t", string(make([]byte, 1<<20))), []Recipient{{Session: a, QoS: 1}})
	submit(t, s, &b)
	look := func() {
		s.mu.Lock()
		s.wear.seen -= wearEvery
		s.watchWearLocked(s.since())
		s.mu.Unlock()
	}
	look()
	st := s.Stats()
	if st.BudgetUsed < 1 || st.CommitDelay < 10*time.Millisecond || st.CommitDelay > mostDelay {
		t.Fatalf("used %.2f, delay %v", st.BudgetUsed, st.CommitDelay)
	}
	commits := st.Commits
	receipts := make(chan Receipt, 50)
	for range 50 {
		b.Reset()
		b.AddMessage(message("t", "x"), []Recipient{{Session: a, QoS: 1}})
		if err := s.Submit(t.Context(), &b, func(r Receipt) { receipts <- r }); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		if r := <-receipts; r.Err != nil {
			t.Fatal(r)
		}
	}
	if n := s.Stats().Commits - commits; n > 3 {
		t.Fatalf("%d commits for 50 messages under pressure", n)
	}
	// A day later the budget is there again.
	s.mu.Lock()
	s.wear.days = nil
	s.mu.Unlock()
	look()
	if st := s.Stats(); st.CommitDelay != 0 {
		t.Fatalf("%+v", st)
	}
}

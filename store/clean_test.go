package store

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"
)

// cleanNow merges whatever there is to merge. Nothing may be submitted beside.
func cleanNow(s *Store) {
	s.clean() // plans
	for s.cleaner.reading || len(s.cleaner.runs) > 0 {
		s.clean()
		runtime.Gosched()
	}
}

func TestTrickleIsMerged(t *testing.T) {
	inBoth(t, func(t *testing.T, dir string) {
		s, err := Open(dir, Options{eager: true})
		if err != nil {
			t.Fatal(err)
		}
		var b Batch
		ids := make([]SessionID, 3)
		want := make([][]string, 3)
		queued := make([][]MessageID, 3)
		for i := range ids {
			ids[i] = s.NewSessionID()
			b.PutSession(Session{ID: ids[i]})
		}
		r := rand.New(rand.NewPCG(1, 1))
		for i := range 400 { // a group each
			p := fmt.Sprint(i)
			var to []Recipient
			for k := range ids {
				if r.IntN(2) == 0 {
					to = append(to, Recipient{Session: ids[k], QoS: 1, SubscriptionIDs: []uint32{uint32(k)}})
				}
			}
			b.AddMessage(message("t", p), to)
			if err := s.TrySubmit(&b, nil); err != nil {
				t.Fatal(err)
			}
			s.drain()
			for k := range ids {
				if slices.ContainsFunc(to, func(t Recipient) bool { return t.Session == ids[k] }) {
					want[k], queued[k] = append(want[k], p), append(queued[k], b.ID(0))
				}
			}
		}
		before := s.Stats().Groups
		done := func(k, i int) {
			b.Done(ids[k], queued[k][i])
			want[k], queued[k] = slices.Delete(want[k], i, i+1), slices.Delete(queued[k], i, i+1)
		}
		for range 100 {
			k := r.IntN(3)
			done(k, r.IntN(len(queued[k])))
		}
		b.DeleteSession(s.NewSessionID()) // void
		if err := s.TrySubmit(&b, nil); err != nil {
			t.Fatal(err)
		}
		after, _ := s.Queue(nil, ids[0], 0, 10, 1<<20)
		cleanNow(s)
		if err := s.Check(); err != nil { // with progress still to be written behind
			t.Fatal(err)
		}
		s.drain()
		compare := func() {
			t.Helper()
			if err := s.Check(); err != nil {
				t.Fatal(err)
			}
			for k := range ids {
				if _, got := queue(t, s, ids[k]); fmt.Sprint(got) != fmt.Sprint(want[k]) {
					t.Fatalf("session %d:\n got %v\nwant %v", k, got, want[k])
				}
			}
		}
		compare()
		if st := s.Stats(); st.Groups > before/10 || st.Merged == 0 {
			t.Fatalf("%d groups of %d left", st.Groups, before)
		}
		if next, _ := s.Queue(nil, ids[0], after[9].ID, 1, 1); next[0].ID != queued[0][10] {
			t.Fatal("a cursor from before does not go on")
		}
		for range 50 { // progress in a merged group
			k := r.IntN(3)
			done(k, r.IntN(len(queued[k])))
		}
		s.TrySubmit(&b, nil)
		s.drain()
		compare()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if dir == "" {
			return
		}
		if s, err = Open(dir, Options{}); err != nil {
			t.Fatal(err)
		}
		compare()
		s.Close()
	})
}

func TestStragglersAreCopiedTogether(t *testing.T) {
	s, err := Open(t.TempDir(), Options{eager: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b Batch
	slow, fast := s.NewSessionID(), s.NewSessionID()
	b.PutSession(Session{ID: slow})
	b.PutSession(Session{ID: fast})
	var kept []string
	var ids []MessageID
	payload := string(make([]byte, 1000))
	for i := range 3000 {
		to := []Recipient{{Session: fast, QoS: 1}}
		p := fmt.Sprint(i, payload)
		if i%100 == 0 {
			to = append(to, Recipient{Session: slow, QoS: 1})
			kept = append(kept, p)
		}
		b.AddMessage(message("t", p), to)
		if err := s.TrySubmit(&b, nil); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, b.ID(0))
		if i%50 == 0 {
			s.drain()
		}
	}
	s.drain()
	for _, id := range ids {
		b.Done(fast, id)
	}
	s.TrySubmit(&b, nil)
	s.drain()
	before := s.Stats().BodyBytes
	cleanNow(s)
	s.drain()
	after := s.Stats().BodyBytes
	t.Logf("%d bytes of bodies for %d alive, %d after", before, 1040*len(kept), after)
	if after > 2*1040*int64(len(kept)) {
		t.Fatal(after)
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	if _, got := queue(t, s, slow); !slices.Equal(got, kept) {
		t.Fatal(len(got))
	}
}

// A batch that cancels out behind one that is written next must not keep Flush
// waiting for the batch after it.
func TestFlushPastWhatCancelledOut(t *testing.T) {
	s, err := Open("", Options{CommitDelay: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	id := s.NewSessionID()
	b.PutSession(Session{ID: id})
	if err := s.TrySubmit(&b, nil); err != nil {
		t.Fatal(err)
	}
	s.drain()
	for range 2 {
		b.AddMessage(message("t", "p"), []Recipient{{Session: id, QoS: 1, Sent: true}})
		if err := s.TrySubmit(&b, nil); err != nil {
			t.Fatal(err)
		}
	}
	b.Done(id, b.ID(0)) // the second
	if err := s.TrySubmit(&b, nil); err != nil {
		t.Fatal(err)
	}
	var c cut
	s.mu.Lock()
	s.pending[0].due = 0 // the first has waited long enough
	s.cutLocked(&c, s.since(), false)
	s.mu.Unlock()
	if len(c.subs) != 1 {
		t.Fatal(len(c.subs))
	}
	s.commit(&c)
	s.mu.Lock()
	left := len(s.pending) - s.pendingHead
	s.mu.Unlock()
	if left != 0 {
		t.Fatalf("%d batches wait that nobody needs", left)
	}
}

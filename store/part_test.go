package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// Each part of a queue has its own bound and its own answer; what is in none is
// counted together.
func TestPartsAreBoundedByThemselves(t *testing.T) {
	inBoth(t, func(t *testing.T, dir string) {
		s, stop := running(t, dir, Options{})
		id := newSession(t, s, "a")
		bounds := func(s *Store) {
			s.SetLimits(id, Limits{Messages: 3, OnFull: DropOldest},
				Part{SubscriptionID: 1, Limits: &Limits{Messages: 2, OnFull: Reject}},
				Part{SubscriptionID: 2, Limits: &Limits{Messages: 2, OnFull: DropNewest}},
				Part{SubscriptionID: 3, Limits: &Limits{Messages: 2, OnFull: LatestPerTopic}},
				Part{SubscriptionID: 4})
		}
		bounds(s)
		add := func(topic, payload string, subs ...uint32) error {
			var b Batch
			b.AddMessage(message(topic, payload), []Recipient{{Session: id, QoS: 1, SubscriptionIDs: subs}})
			return s.TrySubmit(&b, nil)
		}
		want := []error{nil, nil, ErrQuota, ErrQuota}
		for i := range 4 {
			if err := add("alarm", fmt.Sprint("a", i), 1, 4); !errors.Is(err, want[i]) { // the first part counts
				t.Fatal(i, err)
			}
			for j, subs := range [][]uint32{{2}, {9, 3}, {4}, nil} {
				if err := add(fmt.Sprint("t", i%2), fmt.Sprint([]string{"n", "l", "s", "r"}[j], i), subs...); err != nil {
					t.Fatal(i, j, err)
				}
			}
			if i == 2 {
				flush(t, s)
			}
		}
		// s0 r0 s1 r1 s2 r2 s3 r3 share a bound of three.
		page, err := s.Peek(nil, id, 0, 100, 1<<20)
		var got []string
		for _, q := range page {
			got = append(got, string(q.Message.Payload))
		}
		if err != nil || fmt.Sprint(got) != "[a0 n0 a1 n1 l2 r2 l3 s3 r3]" {
			t.Fatal(got, err)
		}
		states := fmt.Sprint(s.Parts(id))
		size := int64(messageOverhead + 4)
		if want := fmt.Sprint([]PartState{
			{2, 2 * (size + 3), Drops{}}, // "alarm" is longer than "t0"
			{2, 2 * size, Drops{Newest: 2}},
			{2, 2 * size, Drops{Topic: 2}},
			{1, size, Drops{Oldest: 3}},
		}); states != want {
			t.Fatalf("parts are %s, want %s", states, want)
		}
		if d := s.Drops(id); d != (Drops{Oldest: 5, Newest: 2, Topic: 2}) {
			t.Fatalf("in all: %+v", d)
		}
		check(t, s)
		stop()
		if dir == "" {
			return
		}
		// After a restart the parts count what was queued before.
		s, _ = running(t, dir, Options{})
		bounds(s)
		if err := add("alarm", "a4", 1, 4); !errors.Is(err, ErrQuota) {
			t.Fatal("the bound was forgotten over a restart: ", err)
		}
		if err := add("alarm", "a5", 2); err != nil || s.Parts(id)[1].Drops.Newest != 1 {
			t.Fatal(err, s.Parts(id))
		}
		var b Batch
		b.Done(id, page[0].ID)
		submit(t, s, &b)
		if err := add("alarm", "a6", 1, 4); err != nil {
			t.Fatal("there is room again: ", err)
		}
	})
}

// The counters of the parts are what a count of the queue says, whatever comes,
// is handed out, is sent past others, or goes.
func TestPartsCountExactly(t *testing.T) {
	inBoth(t, func(t *testing.T, dir string) {
		s, _ := running(t, dir, Options{})
		id := newSession(t, s, "a")
		s.SetLimits(id, Limits{Messages: 30, OnFull: DropOldest},
			Part{SubscriptionID: 1, Limits: &Limits{Messages: 10, OnFull: DropOldest}},
			Part{SubscriptionID: 2, Limits: &Limits{Bytes: 1000, OnFull: LatestPerTopic}},
			Part{SubscriptionID: 3})
		r := rand.New(rand.NewPCG(4, 2))
		var handed MessageID
		var live []MessageID
		for step := range 3000 {
			var b Batch
			switch x := r.IntN(100); {
			case x < 70:
				m := message(fmt.Sprint("t", r.IntN(5)), string(make([]byte, r.IntN(50))))
				if r.IntN(6) == 0 {
					m.Class = Memory
				}
				var subs []uint32
				if n := uint32(r.IntN(5)); n > 0 {
					subs = []uint32{n}
				}
				b.AddMessage(m, []Recipient{{Session: id, QoS: 1, Sent: r.IntN(8) == 0, SubscriptionIDs: subs}})
			case x < 80:
				page, err := s.Queue(nil, id, handed, 1+r.IntN(4), 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				if len(page) > 0 {
					handed = page[len(page)-1].ID
				}
				continue
			case x < 97:
				live = live[:0]
				page, err := s.Peek(nil, id, 0, 1000, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				for _, q := range page {
					live = append(live, q.ID)
				}
				if len(live) == 0 {
					continue
				}
				b.Done(id, live[r.IntN(len(live))])
			default:
				flush(t, s)
				continue
			}
			if err := s.TrySubmit(&b, nil); err != nil {
				t.Fatal(step, err)
			}
			s.mu.Lock()
			ss := s.sessions[id]
			before := fmt.Sprint(partCounts(ss))
			ss.recount()
			after := fmt.Sprint(partCounts(ss))
			for i := range ss.parts.list {
				if p := &ss.parts.list[i]; p.own && p.limits.Messages > 0 && p.waiting > p.limits.Messages {
					t.Fatalf("step %d: part %d is over its bound: %d", step, i, p.waiting)
				}
			}
			s.mu.Unlock()
			if before != after {
				t.Fatalf("step %d: counted %s, there are %s", step, before, after)
			}
		}
	})
}

func partCounts(ss *session) (list []PartState) {
	for i := range ss.parts.list {
		list = append(list, PartState{Messages: ss.parts.list[i].waiting, Bytes: ss.parts.list[i].bits})
	}
	return list
}

// A part's age is its own.
func TestAgeOfAPart(t *testing.T) {
	now := int64(1_000_000)
	s, _ := running(t, t.TempDir(), Options{Now: func() int64 { return now }})
	id := newSession(t, s, "a")
	s.SetLimits(id, Limits{}, Part{SubscriptionID: 1, Limits: &Limits{Age: 1000}})
	for i := range 4 {
		var b Batch
		m := message("t", fmt.Sprint(i))
		m.Time = now
		b.AddMessage(m, []Recipient{{Session: id, QoS: 1, SubscriptionIDs: []uint32{uint32(i%2 + 1)}}})
		submit(t, s, &b)
	}
	flush(t, s)
	now += 1001
	s.mu.Lock()
	s.sweepLocked(s.since())
	s.mu.Unlock()
	if _, got := queue(t, s, id); fmt.Sprint(got) != "[1 3]" {
		t.Fatal(got)
	}
	if p := s.Parts(id); p[0].Drops != (Drops{Age: 2}) || p[0].Messages != 0 {
		t.Fatalf("%+v", p)
	}
}

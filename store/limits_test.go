package store

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestLimits(t *testing.T) {
	inBoth(t, func(t *testing.T, dir string) {
		for _, tc := range []struct {
			limits Limits
			want   string // payloads left of 0..9, topics t0, t1, t2, t0, …
			err    error
			stats  Stats
		}{
			{Limits{Messages: 4, OnFull: Reject}, "[0 1 2 3]", ErrQuota, Stats{Rejected: 6}},
			{Limits{Messages: 4, OnFull: Close}, "[0 1 2 3]", ErrQuotaClose, Stats{Rejected: 6}},
			{Limits{Messages: 4, OnFull: DropOldest}, "[6 7 8 9]", nil, Stats{DroppedOldest: 6}},
			{Limits{Messages: 4, OnFull: DropNewest}, "[0 1 2 3]", nil, Stats{DroppedNewest: 6}},
			{Limits{Messages: 4, OnFull: LatestPerTopic}, "[6 7 8 9]", nil, Stats{DroppedTopic: 6}},
			{Limits{Messages: 2, OnFull: LatestPerTopic}, "[8 9]", nil, Stats{DroppedOldest: 8}},
			{Limits{Bytes: 4 * (messageOverhead + 3), OnFull: DropOldest}, "[6 7 8 9]", nil, Stats{DroppedOldest: 6}},
		} {
			d := dir
			if d != "" {
				d = t.TempDir()
			}
			s, stop := running(t, d, Options{})
			id := newSession(t, s, "a")
			s.SetLimits(id, tc.limits)
			for i := range 10 {
				var b Batch
				b.AddMessage(message(fmt.Sprint("t", i%3), fmt.Sprint(i)), []Recipient{{Session: id, QoS: 1}})
				err := s.TrySubmit(&b, nil)
				if i >= 4 && !errors.Is(err, tc.err) || i < 4 && err != nil {
					t.Fatal(i, err)
				}
				if i%3 == 0 {
					flush(t, s) // bounds hold for what is on disk and what waits alike
				}
			}
			_, got := queue(t, s, id)
			st := s.Stats()
			st = Stats{Rejected: st.Rejected, DroppedOldest: st.DroppedOldest, DroppedNewest: st.DroppedNewest, DroppedTopic: st.DroppedTopic}
			if fmt.Sprint(got) != tc.want || fmt.Sprint(st) != fmt.Sprint(tc.stats) {
				t.Errorf("%+v: got %v, %+v", tc.limits, got, st)
			}
			check(t, s)
			stop()
		}
	})
}

func TestHandedOutMessagesAreNotBounded(t *testing.T) {
	s, _ := running(t, "", Options{})
	id := newSession(t, s, "a")
	s.SetLimits(id, Limits{Messages: 2, OnFull: DropOldest})
	var b Batch
	add := func(p string, sent bool) {
		b.AddMessage(message("t", p), []Recipient{{Session: id, QoS: 1, Sent: sent}})
		submit(t, s, &b)
	}
	for i := range 5 {
		add(fmt.Sprint("sent", i), true)
	}
	add("a", false)
	add("b", false)
	if page, err := s.Queue(nil, id, 0, 6, 1<<20); err != nil || len(page) != 6 { // a is in flight now
		t.Fatal(page, err)
	}
	add("c", false)
	add("d", false) // pushes out b
	if _, got := queue(t, s, id); fmt.Sprint(got) != "[sent0 sent1 sent2 sent3 sent4 a c d]" {
		t.Fatal(got)
	}
}

func TestStoreBound(t *testing.T) {
	s, _ := running(t, t.TempDir(), Options{MaxBytes: 10_000})
	id := newSession(t, s, "a")
	var b Batch
	n := 0
	for ; ; n++ {
		b.Reset()
		b.AddMessage(message("t", string(make([]byte, 1000))), []Recipient{{Session: id, QoS: 1}})
		if err := s.TrySubmit(&b, nil); err != nil {
			if !errors.Is(err, ErrQuota) {
				t.Fatal(err)
			}
			break
		}
		flush(t, s)
	}
	if n < 8 || n > 10 {
		t.Fatal(n)
	}
	ids, _ := queue(t, s, id)
	b.Reset()
	b.Done(id, ids[0]) // acknowledgements always come in
	submit(t, s, &b)
	flush(t, s)
	check(t, s)
}

func TestBusyAndSubmitWaits(t *testing.T) {
	s, err := Open("", Options{MaxPending: 1000})
	if err != nil {
		t.Fatal(err)
	}
	id := s.NewSessionID()
	var b Batch
	b.PutSession(Session{ID: id})
	if err := s.TrySubmit(&b, nil); err != nil {
		t.Fatal(err)
	}
	add := func() error {
		b.Reset()
		b.AddMessage(message("t", string(make([]byte, 400))), []Recipient{{Session: id, QoS: 1}})
		return s.TrySubmit(&b, nil)
	}
	if err := errors.Join(add(), add()); err != nil {
		t.Fatal(err)
	}
	if err := add(); !errors.Is(err, ErrBusy) {
		t.Fatal(err)
	}
	b.Reset()
	b.Done(id, 1)
	b.Hold(id, 4, 4)
	if err := s.TrySubmit(&b, nil); err != nil { // acknowledgements pass by
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() {
		var b Batch
		b.AddMessage(message("t", string(make([]byte, 900))), []Recipient{{Session: id, QoS: 1}})
		waited <- s.Submit(t.Context(), &b, nil)
	}()
	select {
	case err := <-waited:
		t.Fatal("did not wait", err)
	case <-time.After(10 * time.Millisecond):
	}
	go s.Run(t.Context())
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
}

func TestMemoryClassKeepsItsPlace(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir, Options{})
	a, c := newSession(t, s, "a"), newSession(t, s, "c")
	var b Batch
	for i := range 6 {
		m := message("t", fmt.Sprint(i))
		if i%2 == 1 {
			m.Class = Memory
		}
		b.AddMessage(m, []Recipient{{Session: a, QoS: 1}})
		submit(t, s, &b)
	}
	ids, got := queue(t, s, a)
	if fmt.Sprint(got) != "[0 1 2 3 4 5]" {
		t.Fatal(got)
	}
	b.Move(a, c, []MessageID{ids[0], ids[1], ids[2]})
	b.Done(a, ids[3])
	submit(t, s, &b)
	_, qa := queue(t, s, a)
	_, qc := queue(t, s, c)
	if fmt.Sprint(qa, qc) != "[4 5] [0 1 2]" {
		t.Fatal(qa, qc)
	}
	check(t, s)
	stop()
	s, _ = running(t, dir, Options{})
	_, qa = queue(t, s, a)
	_, qc = queue(t, s, c)
	if fmt.Sprint(qa, qc) != "[4] [0 2]" {
		t.Fatal(qa, qc)
	}
}

func TestAgeAndExpiryDropWholeGroups(t *testing.T) {
	now := int64(1000)
	s, _ := running(t, "", Options{Now: func() int64 { return now }})
	a, e := newSession(t, s, "a"), newSession(t, s, "e")
	var b Batch
	for i := range 3 {
		m := message("t", fmt.Sprint(i))
		m.Time = now
		b.AddMessage(m, []Recipient{{Session: a, QoS: 1}})
		m = message("t", fmt.Sprint(i))
		m.Expires = now + 100
		b.AddMessage(m, []Recipient{{Session: e, QoS: 1}})
	}
	submit(t, s, &b)
	s.SetLimits(a, Limits{Age: 500})
	sweep := func() {
		s.mu.Lock()
		s.sweepLocked(s.since())
		s.mu.Unlock()
	}
	now += 50
	sweep()
	if st := s.Stats(); st.Messages != 6 {
		t.Fatalf("%+v", st)
	}
	now += 50
	sweep()
	if st := s.Stats(); st.Messages != 3 || st.DroppedExpired != 3 {
		t.Fatalf("%+v", st)
	}
	now += 500
	sweep()
	if st := s.Stats(); st.Messages != 0 || st.DroppedAge != 3 {
		t.Fatalf("%+v", st)
	}
	check(t, s)
}

// TestSentPastOthers: what is sent at once while older messages wait counts
// against no bound, is thrown out by none, and does not hide those that wait.
func TestSentPastOthers(t *testing.T) {
	for _, full := range []OnFull{DropOldest, LatestPerTopic} {
		s, _ := running(t, t.TempDir(), Options{})
		id := newSession(t, s, "a")
		s.SetLimits(id, Limits{Messages: 2, OnFull: full})
		var b Batch
		add := func(p string, sent bool) MessageID {
			b.AddMessage(message("t"+p, p), []Recipient{{Session: id, QoS: 1, Sent: sent}})
			submit(t, s, &b)
			return s.LastID()
		}
		add("a", false)
		add("b", false)
		x := add("x", true)
		add("y", true)
		flush(t, s)
		peeked, err := s.Peek(nil, id, 0, 10, 1<<20)
		if err != nil || len(peeked) != 4 {
			t.Fatal(peeked, err)
		}
		add("c", false) // pushes out a
		if _, got := queue(t, s, id); fmt.Sprint(got) != "[b x y c]" {
			t.Fatal(full, got)
		}
		b.Done(id, x)
		submit(t, s, &b)
		flush(t, s)
		add("d", false)
		add("e", false)
		if _, got := queue(t, s, id); fmt.Sprint(got) != "[b y c d e]" { // handed out by queue: the bound is free again
			t.Fatal(full, got)
		}
		check(t, s)
	}
}

// TestBoundsOfAll bounds all queues together, by messages and by age.
func TestBoundsOfAll(t *testing.T) {
	now := int64(1000)
	s, _ := running(t, "", Options{Now: func() int64 { return now }, MaxMessages: 5, MaxAge: 500})
	a, b := newSession(t, s, "a"), newSession(t, s, "b")
	s.SetLimits(b, Limits{Age: 100, OnFull: DropOldest})
	publish := func(to ...SessionID) error {
		var batch Batch
		m := message("t", "x")
		m.Time = now
		var list []Recipient
		for _, id := range to {
			list = append(list, Recipient{Session: id, QoS: 1})
		}
		batch.AddMessage(m, list)
		return s.TrySubmit(&batch, nil)
	}
	for i, to := range [][]SessionID{{a, b}, {a, b}, {a}} {
		if err := publish(to...); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := publish(b); !errors.Is(err, ErrQuota) || errors.Is(err, ErrQuotaClose) {
		t.Fatal("the sixth message:", err)
	}
	flush(t, s)
	sweep := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sweepLocked(s.since())
	}
	now += 200
	sweep() // a queue's own bound is the tighter one
	if st := s.Stats(); st.Messages != 3 || st.DroppedAge != 2 || st.Rejected != 1 {
		t.Fatalf("%+v", st)
	}
	now += 400
	if !s.TooOld(1000, now) || s.TooOld(1200, now) {
		t.Error("TooOld")
	}
	sweep()
	if st := s.Stats(); st.Messages != 0 || st.DroppedAge != 5 {
		t.Fatalf("%+v", st)
	}
	if err := publish(b); err != nil {
		t.Fatal("there is room again:", err)
	}
	check(t, s)
}

package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"
)

// running opens a store and drives it until the test ends; the returned
// function stops and closes it earlier.
func running(t *testing.T, dir string, o Options) (*Store, func()) {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.Run(ctx); close(ended) }()
	closed := false
	stop := func() {
		if closed {
			return
		}
		closed = true
		cancel()
		<-ended
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	t.Cleanup(stop)
	return s, stop
}

// submit hands over a batch and waits for its receipt.
func submit(t *testing.T, s *Store, b *Batch) Receipt {
	t.Helper()
	got := make(chan Receipt, 1)
	if err := s.Submit(t.Context(), b, func(r Receipt) { got <- r }); err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-got:
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		return r
	case <-time.After(20 * time.Second):
		t.Fatal("no receipt")
		return Receipt{}
	}
}

func flush(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, s *Store) {
	t.Helper()
	flush(t, s)
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
}

func newSession(t *testing.T, s *Store, client string) SessionID {
	t.Helper()
	id := s.NewSessionID()
	var b Batch
	b.PutSession(Session{ID: id, ClientID: client})
	submit(t, s, &b)
	return id
}

func message(topic, payload string) *Message {
	return &Message{Topic: topic, Payload: []byte(payload), QoS: 1, Time: 1}
}

// queue reads a whole queue in pages and gives its payloads.
func queue(t *testing.T, s *Store, id SessionID) (ids []MessageID, payloads []string) {
	t.Helper()
	after := MessageID(0)
	for {
		page, err := s.Queue(nil, id, after, 7, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return ids, payloads
		}
		for _, q := range page {
			if q.ID <= after {
				t.Fatalf("message %d after %d", q.ID, after)
			}
			after = q.ID
			if err := q.Message.Load(); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, q.ID)
			payloads = append(payloads, string(q.Message.Payload))
		}
	}
}

// inBoth runs a test on disk and in memory.
func inBoth(t *testing.T, f func(t *testing.T, dir string)) {
	t.Run("disk", func(t *testing.T) { f(t, t.TempDir()) })
	t.Run("memory", func(t *testing.T) { f(t, "") })
}

func TestQueueKeepsOrderAndContent(t *testing.T) {
	inBoth(t, func(t *testing.T, dir string) {
		s, stop := running(t, dir, Options{})
		a, b := newSession(t, s, "a"), newSession(t, s, "b")
		var batch Batch
		var want []string
		for i := range 1000 {
			p := fmt.Sprint(i)
			m := message("t/"+p, p)
			m.Properties, m.Publisher, m.Time, m.Expires, m.Retain = []byte{1, 2}, "p", 5, 7, true
			to := []Recipient{{Session: a, QoS: 1, Options: 3, SubscriptionIDs: []uint32{1, 70000}}}
			if i%3 == 0 {
				to = append(to, Recipient{Session: b, QoS: 2})
			}
			batch.AddMessage(m, to)
			want = append(want, p)
			if err := s.Submit(t.Context(), &batch, nil); err != nil {
				t.Fatal(err)
			}
			if i%100 == 50 {
				_, got := queue(t, s, a) // uncommitted ones included
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("after %d: got %d messages", i, len(got))
				}
			}
		}
		for range 2 {
			check(t, s)
			_, got := queue(t, s, a)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("got %d messages: %v", len(got), got)
			}
			page, err := s.Queue(nil, a, 0, 1, 1)
			if err != nil || len(page) != 1 {
				t.Fatal(page, err)
			}
			q := page[0]
			m := q.Message
			if q.QoS != 1 || q.Options != 3 || fmt.Sprint(q.SubscriptionIDs) != "[1 70000]" || m.Topic != "t/0" ||
				!bytes.Equal(m.Properties, []byte{1, 2}) || m.Publisher != "p" || m.Time != 5 || m.Expires != 7 || !m.Retain || m.QoS != 1 {
				t.Fatalf("%+v %+v", q, m)
			}
			if n, _, oldest := s.Depth(b); n != 334 || oldest != 5 {
				t.Fatal(n, oldest)
			}
			if dir == "" {
				return
			}
			stop()
			s, stop = running(t, dir, Options{})
		}
	})
}

func TestDoneFreesBodiesWithTheLastSession(t *testing.T) {
	inBoth(t, func(t *testing.T, dir string) {
		s, stop := running(t, dir, Options{})
		a, b := newSession(t, s, "a"), newSession(t, s, "b")
		var batch Batch
		for i := range 100 {
			batch.AddMessage(message("t", fmt.Sprint(i)), []Recipient{{Session: a, QoS: 1}, {Session: b, QoS: 1}})
		}
		submit(t, s, &batch)
		first := batch.ID(0)
		for i := range 100 {
			batch.Done(a, first+MessageID(i))
		}
		submit(t, s, &batch)
		check(t, s)
		if n, _, _ := s.Depth(a); n != 0 || s.Stats().Groups == 0 {
			t.Fatal(n, s.Stats().Groups)
		}
		for i := range 60 {
			batch.Done(b, first+MessageID(i))
		}
		submit(t, s, &batch)
		check(t, s)
		if dir != "" {
			stop()
			s, _ = running(t, dir, Options{})
		}
		if _, got := queue(t, s, b); len(got) != 40 || got[0] != "60" {
			t.Fatal(got)
		}
		for i := range 40 {
			batch.Done(b, first+MessageID(60+i))
		}
		submit(t, s, &batch)
		check(t, s)
		if st := s.Stats(); st.Groups != 0 || st.Messages != 0 || st.MessageBytes != 0 || st.BodyBytes != 0 || st.PendingBytes != 0 {
			t.Fatalf("%+v", st)
		}
	})
}

func TestElision(t *testing.T) {
	s, _ := running(t, t.TempDir(), Options{CommitDelay: time.Hour})
	a, b := newSession(t, s, "a"), newSession(t, s, "b")
	flush(t, s)
	commits := s.Stats().Commits
	var batch Batch
	batch.AddMessage(message("t", "x"), []Recipient{{Session: a, QoS: 1, Sent: true}, {Session: b, QoS: 1, Sent: true}})
	got := make(chan Receipt, 1)
	if err := s.TrySubmit(&batch, func(r Receipt) { got <- r }); err != nil {
		t.Fatal(err)
	}
	id := batch.ID(0)
	batch.Done(a, id)
	submit(t, s, &batch)
	select {
	case r := <-got:
		t.Fatal("answered while b still needs it", r)
	case <-time.After(20 * time.Millisecond):
	}
	batch.Done(b, id)
	submit(t, s, &batch)
	if r := <-got; !r.Elided || r.Err != nil {
		t.Fatal(r)
	}
	st := s.Stats()
	if st.Commits != commits || st.Elided != 1 || st.PendingBytes != 0 || st.Messages != 0 {
		t.Fatalf("%+v", st)
	}
	// One that somebody offline needs does not wait.
	batch.AddMessage(message("t", "y"), []Recipient{{Session: a, QoS: 1, Sent: true}, {Session: b, QoS: 1}})
	if r := submit(t, s, &batch); r.Elided {
		t.Fatal(r)
	}
	check(t, s)
}

func TestQoS2StateIsExact(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir, Options{})
	a := newSession(t, s, "a")
	var b Batch
	b.AddMessage(message("t", "one"), []Recipient{{Session: a, QoS: 2, PacketID: 7, Sent: true}})
	b.AddMessage(message("t", "two"), []Recipient{{Session: a, QoS: 2}})
	b.AddMessage(message("t", "three"), []Recipient{{Session: a, QoS: 2, PacketID: 9, Sent: true}})
	b.AddMessage(message("t", "four"), []Recipient{{Session: a, QoS: 2, PacketID: 10, Sent: true}})
	b.Hold(a, 40, 400)
	b.Hold(a, 41, 401)
	submit(t, s, &b)
	one, two, three, four := b.ID(0), b.ID(1), b.ID(2), b.ID(3)
	b.Bind(a, 8, two)
	b.Released(a, 9)
	b.DonePacket(a, 10, four) // refused by PUBREC
	b.Release(a, 40)
	b.Mark(a, 500)
	submit(t, s, &b)
	stop()

	s, stop = running(t, dir, Options{})
	check(t, s)
	var got []string
	load := func() {
		got = nil
		if err := s.Load(Loader{
			Session: func(s Session, mark uint16) error { got = append(got, fmt.Sprint(s.ClientID, mark)); return nil },
			Hold: func(id SessionID, pid uint16, d uint64) error {
				got = append(got, fmt.Sprint("hold", pid, d))
				return nil
			},
			Flight: func(id SessionID, f Flight) error {
				p := ""
				if f.Message != nil {
					p = string(f.Message.Payload)
				}
				got = append(got, fmt.Sprint("flight", f.PacketID, f.Released, p))
				return nil
			},
		}); err != nil {
			t.Fatal(err)
		}
	}
	load()
	if want := "[a500 hold41 401 flight7 falseone flight9 true flight8 falsetwo]"; fmt.Sprint(got) != want {
		t.Fatalf("got %v, want %v", got, want)
	}
	if _, q := queue(t, s, a); fmt.Sprint(q) != "[one two]" {
		t.Fatal(q)
	}
	b.Released(a, 7)
	b.DonePacket(a, 9, three)
	submit(t, s, &b)
	b.DonePacket(a, 7, one)
	b.Released(a, 8)
	submit(t, s, &b)
	stop()
	s, _ = running(t, dir, Options{})
	check(t, s)
	load()
	if want := "[a500 hold41 401 flight8 true]"; fmt.Sprint(got) != want {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestLoadGivesBackWhatWasStored(t *testing.T) {
	inBoth(t, func(t *testing.T, dir string) {
		s, stop := running(t, dir, Options{})
		a := s.NewSessionID()
		gone := newSession(t, s, "gone")
		var b Batch
		b.PutSession(Session{ID: a, ClientID: "c", User: "u", Version: 5, ExpiryInterval: 9, DisconnectedAt: 8, Data: []byte("d")})
		b.PutSubscription(a, Subscription{Filter: "x/#", Options: 2, ID: 77, Data: []byte("e")})
		b.PutSubscription(a, Subscription{Filter: "y", Options: 1})
		b.PutSubscription(gone, Subscription{Filter: "z"})
		b.PutWill(a, Will{Message: *message("w", "bye"), Delay: 4, Due: 5})
		b.PutRetained(message("r/1", "one"))
		b.PutRetained(message("r/2", "two"))
		b.Put("x/clock", []byte("12"))
		b.Put("y/h", nil)
		submit(t, s, &b)
		b.DeleteSubscription(a, "y")
		b.DeleteRetained("r/1")
		b.DeleteSession(gone)
		b.Delete("y/h")
		submit(t, s, &b)
		lazy := message("r/3", "lazy")
		lazy.Class = Lazy
		b.PutRetained(lazy)
		b.PutLazy("y/l", []byte("v"))
		submit(t, s, &b)
		if v, err := s.Get("y/l"); err != nil || string(v) != "v" {
			t.Fatal(v, err)
		}
		check(t, s)
		if dir != "" {
			stop()
			s, _ = running(t, dir, Options{})
		}
		var got []string
		add := func(a ...any) { got = append(got, fmt.Sprint(a...)) }
		err := s.Load(Loader{
			Session: func(s Session, _ uint16) error {
				add(s.ClientID, s.User, s.Version, s.ExpiryInterval, s.DisconnectedAt, string(s.Data))
				return nil
			},
			Subscription: func(_ SessionID, u Subscription) error { add(u.Filter, u.Options, u.ID, string(u.Data)); return nil },
			Will: func(_ SessionID, w Will) error {
				add(w.Message.Topic, string(w.Message.Payload), w.Delay, w.Due)
				return nil
			},
			Retained: func(m *Message) error { add(m.Topic, string(m.Payload)); return nil },
			Value:    func(k string, v []byte) error { add(k, string(v)); return nil },
		})
		if want := "[cu5 9 8d x/#2 77e wbye4 5 r/2two r/3lazy x/clock12 y/lv]"; err != nil || fmt.Sprint(got) != want {
			t.Fatalf("%v\n got %v\nwant %v", err, got, want)
		}
	})
}

func TestLargeMessages(t *testing.T) {
	inBoth(t, func(t *testing.T, dir string) {
		s, stop := running(t, dir, Options{MaxMessage: 8 << 20})
		a := newSession(t, s, "a")
		big := bytes.Repeat([]byte("0123456789"), 500_000)
		var b Batch
		b.AddMessage(message("t", "before"), []Recipient{{Session: a, QoS: 1}})
		b.AddMessage(message("t", string(big)), []Recipient{{Session: a, QoS: 1}})
		b.AddMessage(message("t", "after"), []Recipient{{Session: a, QoS: 1}})
		b.PutRetained(message("t", string(big)))
		submit(t, s, &b)
		id := b.ID(1)
		check(t, s)
		if dir != "" {
			stop()
			s, _ = running(t, dir, Options{MaxMessage: 8 << 20})
			check(t, s)
		}
		_, got := queue(t, s, a)
		if len(got) != 3 || got[0] != "before" || got[1] != string(big) || got[2] != "after" {
			t.Fatal(len(got))
		}
		n := 0
		s.Load(Loader{Retained: func(m *Message) error { n = len(m.Payload); return nil }})
		if n != len(big) {
			t.Fatal(n)
		}
		b.Done(a, id)
		b.PutRetained(message("t", "small"))
		submit(t, s, &b)
		check(t, s)
		if st := s.Stats(); st.BodyBytes > 1000 {
			t.Fatalf("%+v", st)
		}
		b.AddMessage(&Message{Topic: "t", Payload: make([]byte, 9<<20)}, nil)
		if err := s.TrySubmit(&b, nil); !errors.Is(err, ErrTooLarge) {
			t.Fatal(err)
		}
	})
}

func TestOrphanedChunksAreSwept(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir, Options{})
	newSession(t, s, "a")
	if _, err := s.writeChunks(77, make([]byte, 300_000)); err != nil {
		t.Fatal(err)
	}
	if s.Check() == nil {
		t.Fatal("Check does not see the orphan")
	}
	stop()
	s, _ = running(t, dir, Options{})
	check(t, s)
}

func TestMove(t *testing.T) {
	inBoth(t, func(t *testing.T, dir string) {
		s, stop := running(t, dir, Options{})
		a, b := newSession(t, s, "a"), newSession(t, s, "b")
		var batch Batch
		for i := range 10 {
			to := a
			if i%2 == 1 {
				to = b
			}
			batch.AddMessage(message("t", fmt.Sprint(i)), []Recipient{{Session: to, QoS: 1}})
			if i == 4 {
				submit(t, s, &batch)
			}
		}
		if err := s.Submit(t.Context(), &batch, nil); err != nil {
			t.Fatal(err)
		}
		ids, _ := queue(t, s, a)
		batch.Move(a, b, ids[1:])
		batch.Done(a, ids[1]) // has left already
		submit(t, s, &batch)
		check(t, s)
		if dir != "" {
			stop()
			s, _ = running(t, dir, Options{})
		}
		_, qa := queue(t, s, a)
		_, qb := queue(t, s, b)
		if fmt.Sprint(qa, qb) != "[0] [1 2 3 4 5 6 7 8 9]" {
			t.Fatal(qa, qb)
		}
	})
}

// TestReusedPacketID: a client's last acknowledgement frees a packet id that goes
// to the next message at once, and that may be submitted before what the
// acknowledgement means. The next message stays.
func TestReusedPacketID(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir, Options{})
	a := newSession(t, s, "a")
	var b Batch
	b.AddMessage(message("t", "one"), []Recipient{{Session: a, QoS: 2, PacketID: 7, Sent: true}})
	b.AddMessage(message("t", "two"), []Recipient{{Session: a, QoS: 2}})
	submit(t, s, &b)
	one, two := b.ID(0), b.ID(1)
	b.Released(a, 7)
	submit(t, s, &b)
	b.Bind(a, 7, two)
	submit(t, s, &b)
	b.DonePacket(a, 7, one)
	b.Done(a, one)
	submit(t, s, &b)
	check := func() {
		t.Helper()
		if _, q := queue(t, s, a); fmt.Sprint(q) != "[two]" {
			t.Errorf("the queue has %v", q)
		}
		flights := 0
		if err := s.Load(Loader{Flight: func(_ SessionID, f Flight) error {
			flights++
			if f.PacketID != 7 || f.ID != two || f.Released {
				t.Errorf("%+v is in flight", f)
			}
			return nil
		}}); err != nil {
			t.Fatal(err)
		}
		if flights != 1 {
			t.Errorf("%d packet ids in flight", flights)
		}
	}
	check()
	stop()
	s, stop = running(t, dir, Options{})
	defer stop()
	check()
}

package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// streamed puts a payload into the store in parts and returns its Body.
func streamed(t *testing.T, s *Store, payload []byte) (*Stream, *Body) {
	t.Helper()
	st, err := s.NewStream(len(payload))
	if err != nil {
		t.Fatal(err)
	}
	for rest := payload; len(rest) > 0; {
		n := min(st.PartSize(), len(rest))
		var b Batch
		b.AddPart(st, rest[:n])
		submit(t, s, &b)
		rest = rest[n:]
	}
	return st, st.Body()
}

func noise(n int) []byte {
	b := make([]byte, n)
	rnd := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// partKeys counts what of the keys of large bodies is in the store.
func partKeys(t *testing.T, s *Store) (parts, named int) {
	t.Helper()
	err := s.be.scan([]byte(prefixGroup), nil, true, func(key, _ []byte, _ int) error {
		if isPart(key) {
			parts++
		}
		return nil
	})
	if err == nil {
		err = eachParts(s.be, func(_, _ uint64) { named++ })
	}
	if err != nil {
		t.Fatal(err)
	}
	return parts, named
}

func TestStream(t *testing.T) {
	inBoth(t, func(t *testing.T, dir string) {
		o := Options{MaxMessage: 8 << 20}
		s, stop := running(t, dir, o)
		a, other := newSession(t, s, "a"), newSession(t, s, "b")
		payload := noise(1_234_567)
		_, body := streamed(t, s, payload)
		var b Batch
		b.AddMessage(message("t", "before"), []Recipient{{Session: a, QoS: 1}})
		b.AddMessage(&Message{Topic: "t", Body: body, QoS: 1, Time: 1}, []Recipient{{Session: a, QoS: 1}, {Session: other, QoS: 1}})
		b.AddMessage(message("t", "after"), []Recipient{{Session: a, QoS: 1}})
		submit(t, s, &b)
		check(t, s)
		if got := s.Stats().BodyBytes; got < int64(len(payload)) {
			t.Errorf("the bound of the store counts %d bytes for a payload of %d", got, len(payload))
		}
		if dir != "" {
			stop()
			s, _ = running(t, dir, o)
			check(t, s)
		}
		for _, id := range []SessionID{a, other} {
			ids, got := queue(t, s, id)
			large := 0
			if id == a {
				large = 1
			}
			if len(got) != 1+2*large || got[large] != string(payload) {
				t.Fatalf("%d messages", len(got))
			}
			var b Batch
			b.Done(id, ids[large])
			submit(t, s, &b)
			check(t, s)
		}
		if p, named := partKeys(t, s); p != 0 || named != 0 {
			t.Errorf("%d parts and %d names of a message that nobody needs", p, named)
		}
	})
}

// TestStreamTwice queues one payload under two ids, as a session that wants a
// message for itself and through a group gets it.
func TestStreamTwice(t *testing.T) {
	inBoth(t, func(t *testing.T, dir string) {
		s, _ := running(t, dir, Options{MaxMessage: 8 << 20})
		a := newSession(t, s, "a")
		payload := noise(400_000)
		_, body := streamed(t, s, payload)
		var b Batch
		m := &Message{Topic: "t", Body: body, QoS: 1, Time: 1}
		b.AddMessage(m, []Recipient{{Session: a, QoS: 1}})
		b.AddMessage(m, []Recipient{{Session: a, QoS: 1}})
		submit(t, s, &b)
		check(t, s)
		ids, _ := queue(t, s, a)
		b.Done(a, ids[0])
		submit(t, s, &b)
		check(t, s)
		if _, got := queue(t, s, a); len(got) != 1 || got[0] != string(payload) {
			t.Fatalf("%d left", len(got))
		}
		b.Done(a, ids[1])
		submit(t, s, &b)
		check(t, s)
		if p, named := partKeys(t, s); p != 0 || named != 0 {
			t.Errorf("%d parts and %d names are left", p, named)
		}
	})
}

func TestStreamDropped(t *testing.T) {
	inBoth(t, func(t *testing.T, dir string) {
		o := Options{MaxMessage: 8 << 20}
		s, stop := running(t, dir, o)
		a := newSession(t, s, "a")
		st, _ := streamed(t, s, noise(400_000))
		check(t, s)
		var b Batch
		b.DropStream(st)
		submit(t, s, &b)
		check(t, s)
		if p, _ := partKeys(t, s); p != 0 {
			t.Fatalf("%d parts of a dropped stream", p)
		}
		_, body := streamed(t, s, noise(400_000)) // its session ends with the message's batch
		b.AddMessage(&Message{Topic: "t", Body: body, QoS: 1}, []Recipient{{Session: a, QoS: 1}})
		b.DeleteSession(a)
		submit(t, s, &b)
		check(t, s)
		if p, named := partKeys(t, s); p != 0 || named != 0 {
			t.Fatalf("%d parts and %d names that nobody needs", p, named)
		}
		streamed(t, s, noise(400_000)) // never finished
		if dir != "" {
			stop()
			s, _ = running(t, dir, o)
			check(t, s) // has the orphans deleted
			flush(t, s)
			if p, _ := partKeys(t, s); p != 0 {
				t.Fatalf("%d parts of a stream that a stop cut off", p)
			}
		}
	})
}

func TestStreamBounds(t *testing.T) {
	s, _ := running(t, "", Options{MaxMessage: 2 << 20, MaxBytes: 3 << 20})
	if _, err := s.NewStream(2<<20 + 1); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	st, err := s.NewStream(2 << 20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.NewStream(2 << 20); !errors.Is(err, ErrQuota) {
		t.Error("two streams that are larger than the store may be together:", err)
	}
	var b Batch
	b.DropStream(st)
	submit(t, s, &b)
	if _, err := s.NewStream(2 << 20); err != nil {
		t.Error(err)
	}
}

// TestStreamAfterFailure goes on with a stream after the disk has failed: its
// parts may be missing.
func TestStreamAfterFailure(t *testing.T) {
	s, _ := running(t, "", Options{MaxMessage: 2 << 20})
	a := newSession(t, s, "a")
	st, body := streamed(t, s, noise(300_000))
	s.mu.Lock()
	clear(s.streams) // as failLocked does
	s.mu.Unlock()
	var b Batch
	b.AddPart(st, []byte("more"))
	if err := s.TrySubmit(&b, nil); !errors.Is(err, ErrFailed) {
		t.Error(err)
	}
	b.Reset()
	b.AddMessage(&Message{Topic: "t", Body: body, QoS: 1}, []Recipient{{Session: a, QoS: 1}})
	if err := s.TrySubmit(&b, nil); !errors.Is(err, ErrFailed) {
		t.Error(err)
	}
}

// TestBodyPart reads a large message part by part, and finds it gone once it is
// done with.
func TestBodyPart(t *testing.T) {
	inBoth(t, func(t *testing.T, dir string) {
		s, _ := running(t, dir, Options{MaxMessage: 8 << 20})
		a := newSession(t, s, "a")
		payload := noise(700_001)
		var b Batch
		b.AddMessage(message("t", string(payload)), []Recipient{{Session: a, QoS: 1}}) // in one piece
		submit(t, s, &b)
		q, err := s.Queue(nil, a, 0, 1, 1)
		if err != nil || len(q) != 1 || q[0].Message.Body.Len() != len(payload) || len(q[0].Message.Payload) != 0 {
			t.Fatal(fmt.Sprintf("%+v", q), err)
		}
		body := q[0].Message.Body
		var got, part []byte
		for i := range body.Parts() {
			if part, err = body.Part(i, part); err != nil {
				t.Fatal(err)
			}
			got = append(got, part...)
		}
		if !bytes.Equal(got, payload) {
			t.Fatalf("%d bytes, or others", len(got))
		}
		b.Done(a, q[0].ID)
		submit(t, s, &b)
		flush(t, s)
		if _, err := body.Part(0, nil); !errors.Is(err, ErrGone) {
			t.Error(err)
		}
	})
}

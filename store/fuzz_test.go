package store

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"testing"
)

// fuzzRecords are the records of a small store that has some of everything.
func fuzzRecords(f *testing.F) map[string][]byte {
	s, err := Open("", Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.Context())
	ended := make(chan struct{})
	go func() { s.Run(ctx); close(ended) }()
	defer func() { cancel(); <-ended; s.Close() }()
	submit := func(b *Batch) {
		got := make(chan error, 1)
		if err := s.Submit(ctx, b, func(r Receipt) { got <- r.Err }); err != nil {
			f.Fatal(err)
		}
		if err := <-got; err != nil {
			f.Fatal(err)
		}
	}
	one, two := s.NewSessionID(), s.NewSessionID()
	var b Batch
	for i, id := range []SessionID{one, two} {
		b.PutSession(Session{ID: id, ClientID: string(rune('a' + i)), User: "u", Version: 5, ExpiryInterval: 60, Data: []byte("x")})
		b.PutSubscription(id, Subscription{Filter: "a/#", Options: 1, ID: 7})
		b.PutWill(id, Will{Delay: 3, Message: *message("w", "gone")})
		b.Hold(id, 9, 77)
	}
	b.PutRetained(&Message{Topic: "r", Payload: []byte("kept"), QoS: 1, Retain: true, Time: 1})
	b.Put("y/x", []byte("value"))
	submit(&b)
	for i := range 3 {
		var b Batch
		b.AddMessage(message("a/b", "payload"), []Recipient{{Session: one, QoS: 1, SubscriptionIDs: []uint32{7}}, {Session: two, QoS: 2, PacketID: uint16(i + 1), Sent: true}})
		b.AddMessage(message("a/c", "other"), []Recipient{{Session: two, QoS: 1}})
		submit(&b)
	}
	var c Batch
	c.Released(two, 1)
	submit(&c)
	return maps.Clone(s.be.(*memoryBackend).records)
}

// FuzzRestore: whatever stands in the records, opening a store ends with an error
// or with one that can be read, checked and used; it never panics, and asks for no
// more memory than the records have.
func FuzzRestore(f *testing.F) {
	base := fuzzRecords(f)
	keys := slices.Sorted(maps.Keys(base))
	for i := range keys {
		f.Add([]byte{byte(i), 0, 2, 0xff, 0xff})
	}
	f.Add([]byte{1, 4, 1, 0xdf, 2, 0, 3, 1, 2, 3})
	f.Fuzz(func(t *testing.T, edits []byte) {
		records := maps.Clone(base)
		// An edit is the number of a record, a place, a length, and so many bytes
		// that replace what is there; from length 128 on the record ends there.
		for len(edits) >= 3 {
			key, at, n := keys[int(edits[0])%len(keys)], int(edits[1]), int(edits[2]&0x7f)
			cut := edits[2]&0x80 != 0
			n = min(n, len(edits)-3)
			v := slices.Clone(records[key])
			at = min(at, len(v))
			v = append(slices.Clone(v[:at]), edits[3:3+n]...)
			if old := records[key]; !cut && at+n < len(old) {
				v = append(v, old[at+n:]...)
			}
			records[key] = v
			edits = edits[3+n:]
		}
		s, err := Open("", Options{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		s.be.(*memoryBackend).records = records
		s.clearLocked()
		if s.restore() != nil {
			return
		}
		var ids []SessionID
		_ = s.Load(Loader{
			Session:      func(ss Session, _ uint16) error { ids = append(ids, ss.ID); return nil },
			Subscription: func(SessionID, Subscription) error { return nil },
			Will:         func(SessionID, Will) error { return nil },
			Hold:         func(SessionID, uint16, uint64) error { return nil },
			Flight:       func(SessionID, Flight) error { return nil },
			Retained:     func(*Message) error { return nil },
			Value:        func(string, []byte) error { return nil },
		})
		for _, id := range ids {
			after := MessageID(0)
			for range 100 {
				page, err := s.Queue(nil, id, after, 3, 1<<20)
				if err != nil || len(page) == 0 {
					break
				}
				for _, q := range page {
					if q.ID <= after {
						t.Fatalf("message %d after %d", q.ID, after)
					}
					after = q.ID
				}
			}
			s.Depth(id)
		}
		_ = s.Check()
		_ = s.Close()
	})
}

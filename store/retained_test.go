package store

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
)

// retainedOf is what a start would hand out.
func retainedOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got := map[string]string{}
	if err := s.Load(Loader{Retained: func(m *Message) error {
		if _, twice := got[m.Topic]; twice {
			t.Errorf("%s is handed out twice", m.Topic)
		}
		got[m.Topic] = string(m.Payload)
		return nil
	}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	// The index agrees with itself.
	r := &s.retained
	newest, stale, bytes := 0, int64(0), int64(0)
	for _, g := range r.groups {
		newest += int(g.newest)
		stale += int64(g.entries-g.newest) * g.each()
		bytes += int64(g.bytes)
	}
	if newest != len(r.topics) || stale != r.stale || bytes != r.bytes {
		t.Errorf("%d newest entries of %d topics, %d bytes of %d, out of date %d of %d", newest, len(r.topics), bytes, r.bytes, stale, r.stale)
	}
	return got
}

// Values come, change, go, are small and large, several times in one
// transaction, and old records are copied together or not: a start finds the
// newest of each topic, and what was deleted stays so.
func TestRetainedMessagesArePacked(t *testing.T) {
	for _, eager := range []bool{false, true} {
		t.Run(fmt.Sprint("eager=", eager), func(t *testing.T) {
			dir := t.TempDir()
			want := map[string]string{}
			r := rand.New(rand.NewPCG(1, 2))
			for round := range 6 {
				s, stop := running(t, dir, Options{eager: eager})
				for range 150 {
					var b Batch
					for range 1 + r.IntN(20) {
						topic := fmt.Sprint("r/", r.IntN(60))
						if r.IntN(3) == 0 {
							b.DeleteRetained(topic)
							delete(want, topic)
							continue
						}
						v := fmt.Sprint(round, " ", r.Uint64())
						if r.IntN(40) == 0 {
							v = strings.Repeat(v, 8000)
						}
						b.PutRetained(message(topic, v))
						want[topic] = v
					}
					submit(t, s, &b)
				}
				check(t, s)
				stop()
				if got := retainedOf(t, dir); !maps.Equal(got, want) {
					t.Fatalf("round %d: %d retained messages, want %d", round, len(got), len(want))
				}
			}
		})
	}
}

// The records of topics that never change must not keep what changes often on
// the disk for ever.
func TestRetainedRecordsAreTidied(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir, Options{})
	want := map[string]string{}
	put := func(b *Batch, topic, v string) {
		b.PutRetained(message(topic, v))
		want[topic] = v
	}
	var b Batch
	for i := range 3000 { // one that stays, and many that do not, in each record
		put(&b, fmt.Sprint("still/", i), "as ever")
		for k := range 10 {
			put(&b, fmt.Sprint("busy/", k), strings.Repeat(fmt.Sprint(i), 60))
		}
		submit(t, s, &b)
	}
	for i := range 1500 {
		b.DeleteRetained(fmt.Sprint("still/", i))
		delete(want, fmt.Sprint("still/", i))
	}
	submit(t, s, &b)
	put(&b, "last", "one")
	submit(t, s, &b)
	stop()
	if got := retainedOf(t, dir); !maps.Equal(got, want) {
		t.Fatalf("%d retained messages, want %d", len(got), len(want))
	}
	s, stop = running(t, dir, Options{})
	defer stop()
	if r := &s.retained; r.stale > max(r.bytes-r.stale, retainedSlack)+64<<10 || len(r.groups) > 3200 {
		t.Errorf("%d of %d bytes are out of date, in %d records", r.stale, r.bytes, len(r.groups))
	}
}

// A store of format 1 had a record for each retained message.
func TestRetainedMessagesOfFormat1AreTakenOver(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var w writes
	f := formatRecord{Version: 1}
	v, _ := f.MarshalMsg(nil)
	w.put([]byte(keyFormat), v)
	want := map[string]string{}
	for i := range 5000 {
		topic := fmt.Sprint("old/", i)
		if i%1000 == 0 {
			topic += strings.Repeat("x", 2000) // hashed in its key
		}
		r := retainedRecord{Version: recordVersion, Message: message(topic, fmt.Sprint("value ", i)).record()}
		v, _ := r.MarshalMsg(nil)
		w.put(appendRetainedKey(nil, topic), v)
		want[topic] = fmt.Sprint("value ", i)
	}
	if err := s.be.write(&w); err != nil {
		t.Fatal(err)
	}
	s.Close()
	for range 2 {
		if got := retainedOf(t, dir); !maps.Equal(got, want) {
			t.Fatalf("%d retained messages, want %d", len(got), len(want))
		}
	}
	s, stop := running(t, dir, Options{})
	n := 0
	s.be.scan([]byte(prefixRetained), nil, true, func([]byte, []byte, int) error { n++; return nil })
	if n != 0 {
		t.Errorf("%d records of format 1 are left", n)
	}
	var b Batch
	b.PutRetained(message("old/1", "new"))
	b.DeleteRetained("old/2")
	submit(t, s, &b)
	want["old/1"] = "new"
	delete(want, "old/2")
	stop()
	if got := retainedOf(t, dir); !maps.Equal(got, want) {
		t.Fatalf("%d retained messages, want %d", len(got), len(want))
	}
}

package store

import (
	"fmt"
	"slices"
	"testing"
)

// topicsOf reads a queue's topics to the end.
func topicsOf(t *testing.T, s *Store, id SessionID) (got []string) {
	t.Helper()
	for after := MessageID(0); ; {
		last, err := s.Topics(id, after, func(m MessageID, topic string) {
			if m <= after {
				t.Errorf("%d comes after %d", m, after)
			}
			got = append(got, topic)
		})
		if err != nil {
			t.Fatal(err)
		}
		if last == after {
			return got
		}
		after = last
	}
}

// TestTopics: the topics of a queue, in its order, whether they are written or
// wait to be, without those that are done; after a merge of the groups and a
// restart too.
func TestTopics(t *testing.T) {
	inBoth(t, func(t *testing.T, dir string) {
		s, stop := running(t, dir, Options{})
		id := newSession(t, s, "a")
		var want []string
		var ids []MessageID
		put := func(n int) {
			for range n {
				topic := fmt.Sprint("t/", len(want)%700)
				var b Batch
				b.AddMessage(message(topic, fmt.Sprintf("%0100d", len(want))), []Recipient{{Session: id, QoS: 1}})
				if err := s.TrySubmit(&b, nil); err != nil {
					t.Fatal(err)
				}
				want, ids = append(want, topic), append(ids, b.ID(0))
			}
		}
		same := func(when string) {
			t.Helper()
			if got := topicsOf(t, s, id); !slices.Equal(got, want) {
				t.Fatalf("%s: %d topics, want %d", when, len(got), len(want))
			}
		}
		same("empty")
		for range 6 {
			put(500)
			flush(t, s)
		}
		put(300)
		same("some wait")
		flush(t, s)
		var b Batch
		kept := want[:0:0]
		for i, topic := range want {
			if i%3 == 0 {
				kept = append(kept, topic)
			} else {
				b.Done(id, ids[i])
			}
		}
		if err := s.TrySubmit(&b, nil); err != nil {
			t.Fatal(err)
		}
		want = kept
		same("two of three are done")
		flush(t, s)
		same("and written")
		if dir == "" {
			return
		}
		stop()
		s, _ = running(t, dir, Options{})
		same("after a restart")
	})
}

// BenchmarkTopics is the pace of a bridge's survey after a restart.
func BenchmarkTopics(b *testing.B) {
	s, stop := openBench(b, b.TempDir(), Options{})
	defer stop()
	id := benchSessions(b, s, 1)[0]
	const n = 100_000
	publishers(b, s, n, func(batch *Batch, i int) {
		batch.AddMessage(message(fmt.Sprint("t/", i%10), fmt.Sprintf("%064d", i)), []Recipient{{Session: id, QoS: 1}})
	})
	for b.Loop() {
		seen := 0
		for after := MessageID(0); ; {
			last, err := s.Topics(id, after, func(MessageID, string) { seen++ })
			if err != nil {
				b.Fatal(err)
			}
			if last == after {
				break
			}
			after = last
		}
		if seen != n {
			b.Fatal(seen)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/message")
}

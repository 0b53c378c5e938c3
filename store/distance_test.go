package store

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestElisionAtDistance lets recipients acknowledge after a round trip, and
// looks at what was written and how long publishers waited.
func TestElisionAtDistance(t *testing.T) {
	const limit = 50 * time.Millisecond
	for _, tc := range []struct {
		trip  time.Duration
		worth bool // to wait for, also on a busy machine
	}{
		{0, true}, {2 * time.Millisecond, true}, {5 * time.Millisecond, true}, {30 * time.Millisecond, false}, {100 * time.Millisecond, false},
	} {
		t.Run(fmt.Sprint(tc.trip), func(t *testing.T) {
			s, _ := running(t, t.TempDir(), Options{CommitDelay: limit})
			a := newSession(t, s, "a")
			const n = 400
			var mu sync.Mutex
			var waits []time.Duration
			var wg sync.WaitGroup
			run := func(n int) {
				for range n {
					var b Batch
					b.AddMessage(message("t", "21.5"), []Recipient{{Session: a, QoS: 1, Sent: true}})
					at := time.Now()
					wg.Add(2)
					if err := s.Submit(t.Context(), &b, func(Receipt) {
						mu.Lock()
						waits = append(waits, time.Since(at))
						mu.Unlock()
						wg.Done()
					}); err != nil {
						t.Error(err)
					}
					id := b.ID(0)
					time.AfterFunc(tc.trip, func() {
						var b Batch
						b.Done(a, id)
						if err := s.Submit(t.Context(), &b, nil); err != nil {
							t.Error(err)
						}
						wg.Done()
					})
					time.Sleep(time.Millisecond)
				}
				wg.Wait()
			}
			run(50) // it learns the distance
			before := s.Stats()
			waits = nil
			run(n)
			st := s.Stats()
			hit := float64(st.Elided-before.Elided) / n
			median := percentile(waits, 50)
			t.Logf("elided %.0f %%, acknowledged after %v (99 %%: %v), %d bytes written a message", 100*hit, median, percentile(waits, 99),
				(st.Written["queues"]-before.Written["queues"])/n)
			if tc.worth && hit < 0.5 {
				t.Errorf("only %.0f %% elided", 100*hit)
			}
			if tc.trip > limit && median > limit {
				t.Errorf("waited %v for an acknowledgement that does not come in time", median)
			}
			check(t, s)
		})
	}
}

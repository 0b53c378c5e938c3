package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
)

// TestEveryDropIsCounted fills queues beyond their bounds by messages, bytes and
// age under every policy, with expiry and class memory among them, while some are
// taken out. What was accepted is then exactly what is there, what was done and
// what the counters say; what was refused is exactly what they say too.
func TestEveryDropIsCounted(t *testing.T) {
	policies := map[OnFull]string{Reject: "reject", DropOldest: "oldest", DropNewest: "newest", LatestPerTopic: "topic"}
	for onFull, name := range policies {
		for _, dir := range []string{"", "disk"} {
			t.Run(name+" "+dir, func(t *testing.T) {
				var clock atomic.Int64
				clock.Store(1_000_000)
				if dir != "" {
					dir = t.TempDir()
				}
				s, _ := running(t, dir, Options{Now: clock.Load, MaxMemory: 20 << 10})
				rnd := rand.New(rand.NewPCG(uint64(onFull), 7))
				var ids []SessionID
				for i, l := range []Limits{{Messages: 20}, {Bytes: 4000}, {Age: 5000}, {Messages: 50, Bytes: 9000, Age: 9000}, {}} {
					l.OnFull = onFull
					id := newSession(t, s, fmt.Sprint(i))
					s.SetLimits(id, l)
					ids = append(ids, id)
				}
				accepted, refused, done := 0, 0, 0
				var b Batch
				for n := range 1500 {
					to := ids[rnd.IntN(len(ids))]
					m := message(fmt.Sprint("t/", rnd.IntN(30)), fmt.Sprintf("%0*d", 1+rnd.IntN(300), n))
					m.Time = clock.Load()
					switch rnd.IntN(8) {
					case 0:
						m.Expires = m.Time + int64(rnd.IntN(4000))
					case 1:
						m.Class = Memory
					}
					b.Reset()
					b.AddMessage(m, []Recipient{{Session: to, QoS: 1}})
					switch err := s.TrySubmit(&b, nil); {
					case err == nil:
						accepted++
					case errors.Is(err, ErrQuota):
						refused++
					default:
						t.Fatal(err)
					}
					switch rnd.IntN(10) {
					case 0: // a client takes one
						page, err := s.Queue(nil, to, 0, 1, 1<<20)
						if err != nil {
							t.Fatal(err)
						}
						before, _, _ := s.Depth(to)
						for _, q := range page {
							b.Reset()
							b.Done(to, q.ID)
							submit(t, s, &b)
						}
						after, _, _ := s.Depth(to)
						done += before - after
					case 1:
						clock.Add(200)
						flush(t, s)
						s.mu.Lock()
						s.sweepLocked(s.since())
						s.mu.Unlock()
					}
				}
				flush(t, s)
				left := 0
				for _, id := range ids {
					n, _, _ := s.Depth(id)
					left += n
				}
				st := s.Stats()
				dropped := int(st.DroppedOldest + st.DroppedNewest + st.DroppedTopic + st.DroppedAge + st.DroppedExpired)
				if accepted != left+done+dropped {
					t.Errorf("%d accepted; %d left, %d done, %d dropped: %+v", accepted, left, done, dropped, st)
				}
				if uint64(refused) != st.Rejected {
					t.Errorf("%d refused, %d counted", refused, st.Rejected)
				}
				if (onFull == Reject) != (refused > 0) || dropped == 0 || done == 0 {
					t.Errorf("the test tests nothing: %d refused, %d dropped, %d done", refused, dropped, done)
				}
				if err := s.Check(); err != nil {
					t.Error(err)
				}
				t.Logf("%d accepted, %d refused: %d left, %d done, oldest %d newest %d topic %d age %d expired %d", accepted, refused, left, done,
					st.DroppedOldest, st.DroppedNewest, st.DroppedTopic, st.DroppedAge, st.DroppedExpired)
			})
		}
	}
}

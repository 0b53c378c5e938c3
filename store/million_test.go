package store

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestMillion queues a million incompressible messages of 300 bytes for one
// session that is offline, opens the store again, drains them in order, with and
// without live traffic beside, and waits until the files have shrunk. It prints
// what docs/STORE.md says of it. MILLION sets the number of messages.
func TestMillion(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("MILLION"))
	if err != nil {
		t.Skip("set MILLION=1000000; takes half a minute")
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(56 << 20))
	defer debug.SetGCPercent(debug.SetGCPercent(50))
	dir := t.TempDir()
	peak := watchMemory(t)
	s, stop := running(t, dir, Options{MaxBytes: 1 << 40})
	a := newSession(t, s, "a")
	began, used := time.Now(), cpu()
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 4 {
		wg.Go(func() {
			window := make(chan struct{}, 100)
			r := rand.NewChaCha8([32]byte{byte(next.Add(1))})
			next.Add(-1)
			for {
				i := next.Add(1)
				if i > int64(n) {
					break
				}
				window <- struct{}{}
				p := make([]byte, 300)
				r.Read(p)
				var b Batch
				b.AddMessage(&Message{Topic: "plant/a", Payload: p, QoS: 1}, []Recipient{{Session: a, QoS: 1}})
				if err := s.Submit(context.Background(), &b, func(Receipt) { <-window }); err != nil {
					t.Error(err)
					return
				}
			}
			for range cap(window) {
				window <- struct{}{}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	t.Logf("filled: %.0f/s, %.1f µs CPU a message, anonymous peak %.0f MB, index %+v", float64(n)/took.Seconds(),
		float64((cpu()-used).Microseconds())/float64(n), peak.swap(), s.Stats().CommitP99)
	flush(t, s)
	t.Logf("disk: %.2f × payload", float64(diskUse(dir))/float64(300*n))
	stop()

	began = time.Now()
	s, stop = running(t, dir, Options{MaxBytes: 1 << 40})
	t.Logf("opened in %v, anonymous %.0f MB", time.Since(began).Round(time.Millisecond), anonymous())
	defer stop()

	live := newSession(t, s, "live")
	after := MessageID(0)
	half := n / 2
	for _, beside := range []bool{false, true} {
		stopLive := make(chan struct{})
		var worst, count atomic.Int64
		var times []time.Duration
		var mu sync.Mutex
		if beside {
			wg.Go(func() {
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-stopLive:
						return
					case <-tick.C:
					}
					for range 2 {
						var b Batch
						b.AddMessage(message("live", "21.5"), []Recipient{{Session: live, QoS: 1}})
						at := time.Now()
						s.Submit(context.Background(), &b, func(Receipt) {
							d := time.Since(at)
							mu.Lock()
							times = append(times, d)
							mu.Unlock()
							count.Add(1)
							worst.Store(max(worst.Load(), int64(d)))
						})
					}
				}
			})
		}
		began, used = time.Now(), cpu()
		var page []Queued
		var b Batch
		left := half
		for left > 0 {
			var err error
			page, err = s.Queue(page[:0], a, after, min(left, 500), 1<<20)
			if err != nil || len(page) == 0 {
				t.Fatal(len(page), err)
			}
			for _, q := range page {
				if q.ID <= after || len(q.Message.Payload) != 300 {
					t.Fatal("out of order")
				}
				after = q.ID
				b.Done(a, q.ID)
			}
			left -= len(page)
			if err := s.Submit(context.Background(), &b, nil); err != nil {
				t.Fatal(err)
			}
		}
		took = time.Since(began)
		close(stopLive)
		wg.Wait()
		flush(t, s)
		p99 := time.Duration(0)
		if len(times) > 0 {
			p99 = percentile(times, 99)
		}
		t.Logf("drained %d (live beside: %v): %.0f/s, %.1f µs CPU a message, anonymous peak %.0f MB, live messages %d, p99 %v, worst %v", half, beside,
			float64(half)/took.Seconds(), float64((cpu()-used).Microseconds())/float64(half), peak.swap(), count.Load(), p99, time.Duration(worst.Load()))
	}
	began = time.Now()
	eventually(t, "space is not reclaimed", func() bool { return s.Stats().Reclaims > 0 && diskUse(dir) < 60<<20 })
	t.Logf("files shrunk to %.0f MB after %v", float64(diskUse(dir))/1e6, time.Since(began).Round(100*time.Millisecond))
	check(t, s)
}

func percentile(d []time.Duration, p int) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)*p/100]
}

// memoryPeak is the greatest anonymous memory seen.
type memoryPeak struct{ max atomic.Int64 }

func (p *memoryPeak) swap() float64 { return float64(p.max.Swap(0)) / 10 }

func watchMemory(t *testing.T) *memoryPeak {
	p := new(memoryPeak)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		for ctx.Err() == nil {
			p.max.Store(max(p.max.Load(), int64(anonymous()*10)))
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return p
}

// diskUse is the blocks a directory occupies, in bytes.
func diskUse(dir string) (n int64) {
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		if filepath.Base(f) == ballastFile {
			continue
		}
		var st syscall.Stat_t
		if syscall.Stat(f, &st) == nil {
			n += st.Blocks * 512
		}
	}
	return n
}

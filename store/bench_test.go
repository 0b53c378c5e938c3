package store

import (
	"context"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// cpu is the process's CPU time so far.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// anonymous is the process's anonymous memory in MB.
func anonymous() float64 {
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kb) / 1024
		}
	}
	return 0
}

func openBench(b *testing.B, dir string, o Options) (*Store, func()) {
	s, err := Open(dir, o)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	return s, func() {
		cancel()
		wg.Wait()
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}
}

// publishers submits n messages from 20 publishers with 20 outstanding each,
// every message made by fill, and waits for the last receipt.
func publishers(b *testing.B, s *Store, n int, fill func(batch *Batch, i int)) {
	const clients, window = 20, 20
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			slots := make(chan struct{}, window)
			var batch Batch
			done := func(r Receipt) {
				if r.Err != nil {
					b.Error(r.Err)
				}
				<-slots
			}
			for i := c; i < n; i += clients {
				slots <- struct{}{}
				fill(&batch, i)
				if err := s.Submit(context.Background(), &batch, done); err != nil {
					b.Error(err)
					return
				}
			}
			for range window {
				slots <- struct{}{}
			}
		})
	}
	wg.Wait()
}

// BenchmarkQoS1 is acknowledged messages for sessions that are offline: each
// receipt comes after its sync.
func BenchmarkQoS1(b *testing.B) {
	for _, tc := range []struct {
		name  string
		o     Options
		limit int64
	}{
		{"board", Options{}, 56 << 20},
		{"desk", Options{Large: true}, 0},
	} {
		b.Run(tc.name, func(b *testing.B) {
			if tc.limit > 0 {
				defer debug.SetMemoryLimit(debug.SetMemoryLimit(tc.limit))
				defer debug.SetGCPercent(debug.SetGCPercent(50))
			}
			s, stop := openBench(b, b.TempDir(), tc.o)
			defer stop()
			sessions := benchSessions(b, s, 10)
			messages := randomMessages(256)
			b.ResetTimer()
			began := cpu()
			publishers(b, s, b.N, func(batch *Batch, i int) {
				batch.AddMessage(messages[i%len(messages)], []Recipient{{Session: sessions[i%10], QoS: 1}})
			})
			b.ReportMetric(float64((cpu()-began).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
			b.ReportMetric(anonymous(), "anon-MB")
			st := s.Stats()
			b.ReportMetric(float64(b.N)/float64(st.Commits), "msgs/commit")
			b.ReportMetric(float64(st.CommitP50.Microseconds()), "commit-p50-µs")
			b.ReportMetric(float64(st.CommitP99.Microseconds()), "commit-p99-µs")
		})
	}
}

func benchSessions(b *testing.B, s *Store, n int) []SessionID {
	var ids []SessionID
	var batch Batch
	for range n {
		ids = append(ids, s.NewSessionID())
		batch.PutSession(Session{ID: ids[len(ids)-1], ClientID: "c"})
	}
	done := make(chan Receipt, 1)
	if err := s.Submit(context.Background(), &batch, func(r Receipt) { done <- r }); err != nil {
		b.Fatal(err)
	}
	<-done
	return ids
}

// randomMessages are incompressible.
func randomMessages(size int) []*Message {
	r := rand.NewChaCha8([32]byte{1})
	ms := make([]*Message, 997)
	for i := range ms {
		p := make([]byte, size)
		r.Read(p)
		ms[i] = &Message{Topic: "plant/line1/sensor" + strconv.Itoa(i), Payload: p, QoS: 1, Time: int64(i), Publisher: "pub"}
	}
	return ms
}

// BenchmarkQoS2 is inbound QoS 2 with its hold and release, and outbound with
// its packet id through all its states: three receipts a message.
func BenchmarkQoS2(b *testing.B) {
	s, stop := openBench(b, b.TempDir(), Options{})
	defer stop()
	const clients, window = 20, 20
	pubs := benchSessions(b, s, clients)
	subs := benchSessions(b, s, 10)
	messages := randomMessages(256)
	b.ResetTimer()
	began := cpu()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			type step struct{ pid, phase uint16 }
			ids := make(map[uint16]MessageID)
			steps := make(chan step, 3*window)
			free := make(chan uint16, window)
			for pid := range uint16(window) {
				free <- pid + 1
			}
			var batch Batch
			send := func(st step) {
				err := s.Submit(context.Background(), &batch, func(r Receipt) {
					if r.Err != nil {
						b.Error(r.Err)
					}
					steps <- st
				})
				if err != nil {
					b.Error(err)
				}
			}
			sub := subs[c%10]
			out := func(pid uint16) uint16 { return pid + uint16(c)*window }
			left, busy := b.N/clients, 0
			for left > 0 || busy > 0 {
				var pid uint16
				var st step
				if left > 0 {
					select {
					case pid = <-free:
					case st = <-steps:
					}
				} else {
					st = <-steps
				}
				if pid != 0 {
					left--
					busy++
					batch.Hold(pubs[c], pid, 1)
					batch.AddMessage(messages[left%len(messages)], []Recipient{{Session: sub, QoS: 2, PacketID: out(pid), Sent: true}})
					send(step{pid, 1})
					ids[pid] = batch.ID(0)
					continue
				}
				switch st.phase {
				case 1:
					batch.Release(pubs[c], st.pid)
					batch.Released(sub, out(st.pid))
					send(step{st.pid, 2})
				case 2:
					batch.DonePacket(sub, out(st.pid), ids[st.pid])
					send(step{st.pid, 3})
				case 3:
					busy--
					free <- st.pid
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64((cpu()-began).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64(b.N)/float64(s.Stats().Commits), "msgs/commit")
}

// BenchmarkElided is traffic between clients that are online: acknowledged at
// once, never written.
func BenchmarkElided(b *testing.B) {
	s, stop := openBench(b, b.TempDir(), Options{CommitDelay: 5 * time.Millisecond})
	defer stop()
	sessions := benchSessions(b, s, 10)
	messages := randomMessages(256)
	b.ResetTimer()
	began := cpu()
	var wg sync.WaitGroup
	for c := range 10 {
		wg.Go(func() {
			var batch, done Batch
			for i := c; i < b.N; i += 10 {
				batch.AddMessage(messages[i%len(messages)], []Recipient{{Session: sessions[c], QoS: 1, Sent: true}})
				if err := s.TrySubmit(&batch, func(Receipt) {}); err != nil {
					b.Error(err)
				}
				done.Done(sessions[c], batch.ID(0))
				if err := s.TrySubmit(&done, nil); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	st := s.Stats()
	b.ReportMetric(float64((cpu()-began).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
	b.ReportMetric(100*float64(st.Elided)/float64(b.N), "%elided")
	b.ReportMetric(float64(st.Written["queues"])/float64(b.N), "B-written/op")
}

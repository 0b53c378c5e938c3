package main

import (
	"crypto/rand"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"
)

var millionScenario = &scenario{
	name: "million", title: "a million incompressible 300 B messages at QoS 1 for an offline session; stopped, started, drained",
	extra: true,
	only:  []string{"gatewayd", "mosquitto"},
	metrics: []metric{
		{"rate", "acknowledged/s", "%.0f", 0, false},
		{"cpu", "CPU, µs a message", "%.2f", 0, true},
		{"anon", "most anonymous memory, MB", "%.1f", 64, true},
		{"disk", "on disk, times the payload", "%.2f", 1.5, true},
		{"ready", "start to ready with them, ms", "%.0f", 2000, true},
		{"drain", "drained/s", "%.0f", 150_000, false},
		{"danon", "most anonymous memory while draining, MB", "%.1f", 64, true},
		{"lost", "missing", "%.0f", 0, true},
		{"disorder", "out of order", "%.0f", 0, true},
	},
	options: startOptions{persistent: true},
	run:     runMillion,
}

func init() { scenarios = append(scenarios, millionScenario) }

func runMillion(e *env) error {
	n := e.quickly(200_000, 1_000_000)
	const pubs, size = 20, 300
	if err := offlineSession(e, "sleeper", "bench/queue/#", 1); err != nil {
		return err
	}
	noise := make([]byte, 1<<20)
	if _, err := rand.Read(noise); err != nil {
		return err
	}
	t := &traffic{e: e, qos: 1}
	if err := t.publishers(pubs, func(p *publisher) {
		p.payload = make([]byte, size)
		topic := fmt.Sprintf("bench/queue/%d", p.n)
		p.topic = func(seq uint64) string {
			at := (int(seq)*pubs + p.n) * 271 % (len(noise) - size)
			copy(p.payload[stampSize:], noise[at:])
			return topic
		}
		p.window, p.limit = 20, uint64(n/pubs)
	}); err != nil {
		return err
	}
	most := int64(0)
	sample := func(key string) {
		if m, err := e.p.Memory(); err == nil {
			most = max(most, m.Anon)
			e.set(key, float64(most)/(1<<20))
		}
	}
	if err := e.loop.Every(100*time.Millisecond, func(int) { sample("anon") }); err != nil {
		return err
	}
	a, err := e.mark(0)
	if err != nil {
		return err
	}
	t.begin()
	if err := e.loop.Run(5*time.Minute, func() bool { return t.acked == int64(n) }); err != nil {
		return fmt.Errorf("%d of %d acknowledged: %w", t.acked, n, err)
	}
	b, err := e.mark(t.acked)
	if err != nil {
		return err
	}
	e.spent(a, b)
	for _, p := range t.pubs {
		p.conn.OnClose = func(error) {}
	}
	if err := e.p.Stop(); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	e.set("disk", float64(diskUsed(e.dir))/float64(n*size))
	if err := e.restart(); err != nil {
		return err
	}
	e.set("ready", float64(e.ready.Microseconds())/1000)
	most = 0
	if err := e.loop.Every(100*time.Millisecond, func(int) { sample("danon") }); err != nil {
		return err
	}
	return drain(e, n, pubs)
}

// diskUsed is the space the files under dir take, sparse ones by their blocks.
func diskUsed(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode().IsRegular() {
				n += st.Blocks * 512
			}
		}
		return nil
	})
	return n
}

package main

import (
	"crypto/rand"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gatewayd/test/load"
)

// A million messages wait for a session that is away: filled, started warm and with a cold page cache, drained. Once as
// it is, once beside live traffic, once with the memory of a control group.
func init() {
	scenarios = append(scenarios,
		millionScenario("million", "", 0, 0),
		millionScenario("million-live", ", drained beside 2,000 live messages/s at QoS 1", 0, 2000),
		millionScenario("million-128", ", in a control group of 128 MB", 128<<20, 0),
	)
}

func millionScenario(name, how string, memory int64, live int) *scenario {
	drained := 150_000.0
	if live > 0 {
		drained = 100_000
	}
	s := &scenario{
		name: name, title: "a million incompressible 300 B messages at QoS 1 for an offline session" + how,
		extra: true,
		only:  []string{"gatewayd"},
		metrics: []metric{
			{"rate", "acknowledged/s", "%.0f", 0, false},
			{"cpu", "CPU, µs a message", "%.2f", 0, true},
			{"anon", "most anonymous memory, MB", "%.1f", 64, true},
			{"disk", "on disk, times the payload", "%.2f", 1.5, true},
			{"ready", "start to ready with them, ms", "%.0f", 2000, true},
			{"cold", "the same with a cold page cache, ms", "%.0f", 2000, true},
			{"drain", "drained/s", "%.0f", drained, false},
			{"danon", "most anonymous memory while draining, MB", "%.1f", 64, true},
			{"lost", "missing", "%.0f", 0, true},
			{"disorder", "out of order", "%.0f", 0, true},
		},
		options: startOptions{persistent: true, memory: memory},
		run:     func(e *env) error { return runMillion(e, live) },
	}
	if live > 0 {
		s.metrics = append(s.metrics, metric{"live50", "live, end to end p50, µs", "%.0f", 0, true},
			metric{"live99", "live, end to end p99, µs", "%.0f", 20_000, true})
	}
	if memory == 0 && live == 0 {
		s.only = append(s.only, "mosquitto")
	}
	return s
}

func runMillion(e *env, live int) error {
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
	if err := e.loop.Every(100*time.Millisecond, func(int) { e.sampleAnon("anon") }); err != nil {
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
	if err := e.p.Stop(); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	forgetPages(e.dir)
	if err := e.restart(); err != nil {
		return err
	}
	e.set("cold", float64(e.ready.Microseconds())/1000)
	if live == 0 {
		if err := e.loop.Every(100*time.Millisecond, func(int) { e.sampleAnon("danon") }); err != nil {
			return err
		}
		return drain(e, n, pubs)
	}
	return drainBesideLive(e, n, pubs, live)
}

// drainBesideLive has ten persistent pairs exchange messages by the clock meanwhile.
func drainBesideLive(e *env, n, pubs, rate int) error {
	const pairs = 10
	t := &traffic{e: e, fan: 1, qos: 1, keep: true}
	if err := t.subscribers(clients("live-sub", pairs, func(i int, c *load.Client) {
		c.Clean, c.QoS, c.Filters = false, 1, []string{fmt.Sprintf("bench/live/%d", i)}
	})...); err != nil {
		return err
	}
	if err := t.publishers(pairs, func(p *publisher) {
		p.topic, p.window = fixed(fmt.Sprintf("bench/live/%d", p.n)), 0
	}, clients("live-pub", pairs, func(_ int, c *load.Client) { c.Clean = false })...); err != nil {
		return err
	}
	turn := 0
	if err := e.loop.Every(time.Second/time.Duration(rate), func(due int) {
		for range due {
			t.pubs[turn%pairs].send()
			if turn++; turn%(rate/10) == 0 {
				e.sampleAnon("danon")
			}
		}
	}); err != nil {
		return err
	}
	err := drain(e, n, pubs)
	e.percentiles("live", t.latencies)
	return err
}

// sampleAnon keeps the most anonymous memory seen under a key.
func (e *env) sampleAnon(key string) {
	if m, err := e.p.Memory(); err == nil {
		e.set(key, max(e.result[key], float64(m.Anon)/(1<<20)))
	}
}

// eachFile calls f for the regular files under dir.
func eachFile(dir string, f func(path string, info fs.FileInfo)) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			f(path, info)
		}
		return nil
	})
}

// diskUsed is the space the files under dir take, sparse ones by their blocks.
func diskUsed(dir string) (n int64) {
	eachFile(dir, func(_ string, info fs.FileInfo) {
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			n += st.Blocks * 512
		}
	})
	return n
}

// forgetPages takes the files under dir out of the page cache, as after a start of the machine.
func forgetPages(dir string) {
	eachFile(dir, func(path string, _ fs.FileInfo) {
		if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
			_ = f.Sync()
			_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
			f.Close()
		}
	})
}

// memoryGroup makes a control group with so much memory below this process's own and returns its folder.
func memoryGroup(limit int64) (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) < 3 {
			continue
		}
		top, file := "/sys/fs/cgroup", "memory.max"
		switch {
		case part[1] == "memory":
			top, file = top+"/memory", "memory.limit_in_bytes"
		case part[1] != "":
			continue
		}
		dir := filepath.Join(top, part[2], fmt.Sprintf("gatewayd-bench-%d", os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
			continue
		}
		if err = os.WriteFile(filepath.Join(dir, file), []byte(strconv.FormatInt(limit, 10)), 0o644); err == nil {
			return dir, nil
		}
		_ = os.Remove(dir)
	}
	return "", fmt.Errorf("no control group for memory can be made here (root, and a memory controller)")
}

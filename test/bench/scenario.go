package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gatewayd/test/load"
	"gatewayd/test/peer"
)

// metric is one figure that a scenario yields.
type metric struct {
	key    string
	title  string // with unit
	format string
	goal   float64 // gatewayd's, 0: none
	atMost bool    // the goal is an upper bound (else a lower one)
}

// Figures that many scenarios share.
func cpuMetric(goal float64) metric {
	return metric{"cpu", "CPU, µs a message", "%.2f", goal, true}
}

var rateMetric = metric{"rate", "messages/s", "%.0f", 0, false}

// scenario is one row group of the table.
type scenario struct {
	name    string
	title   string
	extra   bool     // runs only when named
	slow    bool     // not part of a quick run
	only    []string // brokers that can do it; nil: all
	metrics []metric
	options startOptions
	prepare func(e *env) error // before the broker starts; may change e.options
	run     func(e *env) error
}

// env is what one run of a scenario has at hand.
type env struct {
	b       *broker
	p       *peer.Process
	dir     string
	addr    string // where the scenario connects
	options startOptions
	ready   time.Duration // start to ready
	loop    *load.Loop
	centre  *centre // of a bridge scenario
	seconds time.Duration
	quick   bool
	result  map[string]float64

	profiles string // where CPU profiles go, one for each start; empty: nowhere
	starts   int
}

func (e *env) set(key string, v float64) { e.result[key] = v }

// quickly gives small in quick mode and full otherwise.
func (e *env) quickly(small, full int) int {
	if e.quick {
		return small
	}
	return full
}

// restart starts the broker anew on the folder it has had, after a Kill or Stop.
func (e *env) restart() error {
	p, err := e.b.start(e.dir, e.options)
	if err != nil {
		return err
	}
	e.p = p
	e.loop.Transport = e.options.transport
	e.addr = p.Addr
	if p.Alt != "" {
		e.addr = p.Alt
	}
	e.ready, err = p.Ready(60 * time.Second)
	if e.profiles != "" && e.b.name == "gatewayd" {
		e.starts++
		go profile(p.Web, fmt.Sprintf("%s-%d.pprof", e.profiles, e.starts), e.seconds)
	}
	return err
}

// once runs a scenario on a fresh broker with an empty folder.
func once(s *scenario, b *broker, f flags) (map[string]float64, error) {
	dir, err := os.MkdirTemp("", "bench-"+b.name+"-")
	if err != nil {
		return nil, err
	}
	if !f.keep {
		defer os.RemoveAll(dir)
	}
	e := &env{
		b: b, dir: dir, options: s.options, quick: f.quick, result: map[string]float64{},
		seconds: time.Duration(f.seconds * float64(time.Second)),
	}
	if f.profile != "" {
		e.profiles = filepath.Join(f.profile, s.name)
	}
	if e.loop, err = load.NewLoop(); err != nil {
		return nil, err
	}
	defer e.loop.Close()
	e.options.debug = f.profile != ""
	if s.prepare != nil {
		if err := s.prepare(e); err != nil {
			return nil, err
		}
	}
	if err := e.restart(); err != nil {
		if e.p != nil {
			e.p.Kill()
		}
		return nil, err
	}
	defer func() {
		e.p.Kill()
		if e.options.memory > 0 {
			if group, err := memoryGroup(e.options.memory); err == nil {
				_ = os.Remove(group)
			}
		}
	}()
	if err := s.run(e); err != nil {
		if e.p.Exited() {
			err = errors.Join(err, fmt.Errorf("%s has died: %s", b.name, lastLines(e.p.Output(), 5)))
		}
		return nil, err
	}
	return e.result, nil
}

// profile fetches a CPU profile; without one the measurement goes on.
func profile(addr, file string, d time.Duration) {
	resp, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", addr, max(1, int(d.Seconds()))))
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil && resp.StatusCode == http.StatusOK {
		_ = os.WriteFile(file, b, 0o644)
	}
}

func lastLines(s string, n int) string {
	l := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(l[max(0, len(l)-n):], "\n")
}

func (s *scenario) line(r map[string]float64) string {
	var b strings.Builder
	for _, m := range s.metrics {
		if v, ok := r[m.key]; ok {
			fmt.Fprintf(&b, "  %s "+m.format, m.title, v)
		}
	}
	if v := r["lost"]; v > 0 {
		fmt.Fprintf(&b, "  LOST %.0f", v)
	}
	if v := r["disorder"]; v > 0 {
		fmt.Fprintf(&b, "  OUT OF ORDER %.0f", v)
	}
	return strings.TrimSpace(b.String())
}

// cost is broker CPU and deliveries between two moments.
type cost struct {
	at    time.Time
	cpu   time.Duration
	count int64
}

func (e *env) mark(count int64) (cost, error) {
	cpu, err := e.p.CPU()
	return cost{time.Now(), cpu, count}, err
}

// spent sets cpu (µs a message) and rate from two marks.
func (e *env) spent(a, b cost) {
	n := float64(b.count - a.count)
	if n <= 0 {
		return
	}
	e.set("cpu", float64((b.cpu-a.cpu)/time.Microsecond)/n)
	e.set("rate", n/b.at.Sub(a.at).Seconds())
}

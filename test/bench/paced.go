package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"gatewayd/test/load"
	"gatewayd/test/peer"
)

func pacedMetrics(goal float64) []metric {
	return []metric{
		cpuMetric(goal),
		{"lat50", "end to end p50, µs", "%.0f", 0, true},
		{"lat99", "end to end p99, µs", "%.0f", 130, true},
	}
}

// paced sends 2,000 messages a second in all, one each half millisecond, from ten publishers to their ten subscribers.
func paced(qos byte) func(e *env) error {
	return func(e *env) error {
		const n = 10
		t := &traffic{e: e, fan: 1, qos: qos}
		if err := t.subscribers(clients("sub", n, func(i int, c *load.Client) {
			c.Filters, c.QoS = []string{fmt.Sprintf("bench/paced/%d", i)}, qos
		})...); err != nil {
			return err
		}
		if err := t.publishers(n, func(p *publisher) {
			p.topic, p.window = fixed(fmt.Sprintf("bench/paced/%d", p.n)), 0 // sends by the clock alone
		}); err != nil {
			return err
		}
		turn := 0
		if err := e.loop.Every(500*time.Microsecond, func(due int) {
			for range due {
				if !t.stopped {
					t.pubs[turn%n].send()
					turn++
				}
			}
		}); err != nil {
			return err
		}
		t.keep = true
		seconds := e.seconds
		e.seconds = max(2*e.seconds, 2*time.Second)
		err := t.measure()
		e.seconds = seconds
		e.percentiles("lat", t.latencies)
		return err
	}
}

func runIdle(e *env) error {
	n := e.quickly(2000, 5000)
	settle := max(2*time.Second, e.seconds)
	before, err := e.p.Memory()
	if err != nil {
		return err
	}
	if _, err := e.connect(e.addr, clients("idle", n, func(i int, c *load.Client) {
		c.Filters = []string{fmt.Sprintf("idle/%d", i)}
	})...); err != nil {
		return err
	}
	if err := e.loop.RunFor(settle); err != nil {
		return err
	}
	after, err := e.p.Memory()
	if err != nil {
		return err
	}
	e.set("each", float64(after.Total()-before.Total())/1024/float64(n))
	e.set("rss", float64(after.Total())/(1<<20))
	return nil
}

// runAckLatency measures how long an acknowledgement takes that stands for something on the disk.
func runAckLatency(e *env) error {
	if err := offlineSession(e, "sleeper", "bench/ack", 1); err != nil {
		return err
	}
	d := syncTimes(100, 4<<10, 10*time.Millisecond) // a processor and a disk that were idle, as in what follows
	e.percentiles("sync", d)
	t := &traffic{e: e, qos: 1}
	if err := t.publishers(1, func(p *publisher) {
		p.topic, p.payload, p.window = fixed("bench/ack"), make([]byte, 256), 0
		p.sentAt = map[uint16]time.Duration{}
	}); err != nil {
		return err
	}
	if err := slowAcks(e, t, 0); err != nil {
		return err
	}
	if d := e.result["sync50"]; d > 0 {
		e.set("syncs", e.result["ack50"]/d)
	}
	return nil
}

// slowAcks publishes 100 messages a second for a while, or n of them twenty times as fast.
func slowAcks(e *env, t *traffic, n int64) error {
	every, last := 10*time.Millisecond, max(e.seconds, 2*time.Second)
	if n > 0 {
		every, last = every/20, time.Duration(n)*every/20
	}
	if err := e.loop.Every(every, func(due int) {
		for range due {
			if !t.stopped && (n == 0 || t.sent() < n) {
				t.pubs[0].send()
			}
		}
	}); err != nil {
		return err
	}
	if err := e.loop.RunFor(last); err != nil {
		return err
	}
	t.stopped = true
	if err := e.loop.Run(5*time.Second, func() bool { return t.acked == t.sent() }); err != nil {
		return fmt.Errorf("%d of %d acknowledged: %w", t.acked, t.sent(), err)
	}
	e.percentiles("ack", t.pubs[0].ackLatency)
	return nil
}

// online has a persistent subscriber that is there, a round trip away: what its acknowledgement cancels need never
// reach the disk.
func online(rtt time.Duration, n int64) func(e *env) error {
	return func(e *env) error {
		t := &traffic{e: e, qos: 1, fan: 1}
		if rtt == 0 {
			e.percentiles("sync", syncTimes(100, 4<<10, 10*time.Millisecond))
		}
		if rtt > 0 {
			p, err := peer.NewProxy(e.addr, rtt/2)
			if err != nil {
				return err
			}
			defer p.Close()
			t.via = p.Addr
			defer e.loop.Forgive() // the proxy goes first
		}
		return runOnline(e, t, n)
	}
}

func runOnline(e *env, t *traffic, n int64) error {
	if err := t.subscribers(load.Client{ID: "reader", KeepAlive: 600, Filters: []string{"bench/online"}, QoS: 1}); err != nil {
		return err
	}
	if err := t.publishers(1, func(p *publisher) {
		p.topic, p.payload, p.window = fixed("bench/online"), make([]byte, 256), 0
		p.sentAt = map[uint16]time.Duration{}
	}, load.Client{ID: "writer", KeepAlive: 600}); err != nil {
		return err
	}
	if err := e.loop.RunFor(500 * time.Millisecond); err != nil { // what the sessions themselves cost is not counted
		return err
	}
	const elided, bodies = "gatewayd_store_elided_total", `gatewayd_store_written_bytes_total{subsystem="queues"}`
	before, elidedBefore, bodiesBefore := written(e.p.PID()), e.counter(elided), e.counter(bodies)
	if err := slowAcks(e, t, n); err != nil {
		return err
	}
	if e.b.name == "gatewayd" {
		e.set("hit", 100*(e.counter(elided)-elidedBefore)/float64(t.sent()))
		e.set("bodies", (e.counter(bodies)-bodiesBefore)/float64(t.sent()))
	}
	if d := e.result["sync50"]; d > 0 {
		e.set("syncs", e.result["ack50"]/d)
	}
	e.set("written", float64(written(e.p.PID())-before)/float64(t.sent()))
	return nil
}

// counter reads one of gatewayd's metrics; 0 when there is none.
func (e *env) counter(name string) (v float64) {
	resp, err := http.Get("http://" + e.p.Web + "/metrics")
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			_, _ = fmt.Sscan(rest, &v)
		}
	}
	return v
}

// written is the number of bytes the process has caused to be sent to storage.
func written(pid int) (n int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			_, _ = fmt.Sscan(v, &n)
		}
	}
	return n
}

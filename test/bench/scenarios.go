package main

import (
	"fmt"
	"slices"
	"time"

	"gatewayd/test/load"
)

// scenarios in the order of the report. Goals are those of the broker's and the store's issue.
var scenarios = []*scenario{
	{
		name: "start", title: "after start, empty store, simulated board",
		metrics: []metric{
			{"ready", "start to ready, ms", "%.0f", 100, true},
			{"rss", "resident, MB", "%.1f", 25, true},
			{"anon", "of it anonymous, MB", "%.1f", 0, true},
		},
		options: startOptions{board: "sim"},
		run:     runStart,
	},
	{name: "fan-in", title: "fan-in QoS 0: 10 publishers → 1 subscriber", metrics: []metric{cpuMetric(0.30), rateMetric}, run: runFanIn},
	{name: "fan-out", title: "fan-out QoS 0: 1 publisher → 100 subscribers", metrics: []metric{cpuMetric(0.35), rateMetric}, run: runFanOut},
	{name: "pairs0", title: "50 pairs QoS 0, 10 in flight each", metrics: []metric{cpuMetric(1.4), rateMetric}, run: pairs(0)},
	{name: "pairs1", title: "50 pairs QoS 1, 10 in flight each", metrics: []metric{cpuMetric(2.5), rateMetric}, run: pairs(1)},
	{name: "pairs2", title: "50 pairs QoS 2, 10 in flight each", metrics: []metric{cpuMetric(4.5), rateMetric}, run: pairs(2)},
	{name: "filters", title: "10,000 `+` filters, each message matches one", metrics: []metric{cpuMetric(0.9), rateMetric}, run: runFilters},
	retainedScenario("retained-memory", "100,000 retained of 32 B at QoS 1, class memory", "memory", 1.7),
	retainedScenario("retained-commit", "100,000 retained of 32 B at QoS 1, class commit (synced)", "commit", 6),
	{name: "paced0", title: "2,000 messages/s, 10 → 10, QoS 0", metrics: pacedMetrics(22), run: paced(0)},
	{name: "paced1", title: "2,000 messages/s, 10 → 10, QoS 1", metrics: pacedMetrics(30), run: paced(1)},
	{
		name: "idle", title: "5,000 idle connections, one subscription each",
		metrics: []metric{
			{"each", "resident each, KiB", "%.2f", 2.5, true},
			{"rss", "resident in all, MB", "%.1f", 0, true},
		},
		run: runIdle,
	},
	queueScenario("queue1", 1, 150_000, 8.5),
	queueScenario("queue2", 2, 70_000, 0),
	{
		name: "ack-latency", title: "100 messages/s at QoS 1 for an offline persistent session: time to the acknowledgement",
		metrics: []metric{
			{"ack50", "p50, µs", "%.0f", 0, true},
			{"ack99", "p99, µs", "%.0f", 0, true},
			{"sync50", "a 4 KiB append and sync at the same pace just before, p50, µs", "%.0f", 0, true},
			{"syncs", "p50 in syncs", "%.1f", 2, true},
		},
		options: startOptions{persistent: true},
		run:     runAckLatency,
	},
	bridgeScenario(0),
	bridgeScenario(1),
	bridgeScenario(2),
	onlineScenario("online", 0),
	onlineScenario("online-5ms", 5*time.Millisecond),
	onlineScenario("online-30ms", 30*time.Millisecond),
	onlineScenario("online-100ms", 100*time.Millisecond),
}

func onlineScenario(name string, rtt time.Duration) *scenario {
	s := &scenario{
		name: name, title: "two online persistent clients, QoS 1, 100 messages/s",
		metrics: []metric{
			{"ack50", "acknowledged p50, µs", "%.0f", 0, true},
			{"ack99", "acknowledged p99, µs", "%.0f", 0, true},
			{"hit", "never written, % of the messages", "%.1f", 0, false},
			{"bodies", "of them written, bytes a message", "%.1f", 0, true},
			{"written", "written to disk in all, bytes a message", "%.1f", 0, true},
		},
		options: startOptions{persistent: true},
		run:     online(rtt, 0),
	}
	if rtt > 0 {
		s.title += fmt.Sprintf(", subscriber %s away", rtt)
		s.slow = true
		return s
	}
	s.metrics = append(s.metrics, metric{"sync50", "a 4 KiB append and sync at the same pace just before, p50, µs", "%.0f", 0, true},
		metric{"syncs", "p50 in syncs", "%.1f", 1, true})
	return s
}

// An hour of the online pair in three minutes.
func init() {
	s := onlineScenario("online-hour", 0)
	s.title = "two online persistent clients, QoS 1, an hour of 100 messages/s, 2,000 a second"
	s.extra, s.only = true, []string{"gatewayd"}
	s.run = online(0, 360_000)
	scenarios = append(scenarios, s)
}

// Over TLS and WebSocket the core of the table is reported beside mosquitto's, and of both together what costs most.
func init() {
	core := []string{"fan-in", "fan-out", "pairs0", "pairs1", "pairs2", "paced0", "paced1", "idle"}
	for _, tr := range []load.Transport{load.TLS, load.WS, load.WSS} {
		for _, s := range scenarios {
			if !slices.Contains(core, s.name) || tr == load.WSS && !slices.Contains([]string{"fan-out", "pairs1", "idle"}, s.name) {
				continue
			}
			c := *s
			c.name, c.title = string(tr)+"-"+s.name, transportNames[tr]+": "+s.title
			c.options.transport = tr
			c.only = []string{"gatewayd", "mosquitto"}
			c.slow = true
			c.metrics = slices.Clone(s.metrics)
			for i := range c.metrics {
				c.metrics[i].goal = 0
			}
			scenarios = append(scenarios, &c)
		}
	}
}

var transportNames = map[load.Transport]string{load.TLS: "TLS", load.WS: "WebSocket", load.WSS: "WebSocket over TLS"}

func runStart(e *env) error {
	e.set("ready", float64(e.ready.Microseconds())/1000)
	if err := e.loop.RunFor(e.seconds); err != nil {
		return err
	}
	m, err := e.p.Memory()
	if err != nil {
		return err
	}
	e.set("rss", float64(m.Total())/(1<<20))
	e.set("anon", float64(m.Anon)/(1<<20))
	return nil
}

func fixed(topic string) func(uint64) string { return func(uint64) string { return topic } }

func runFanIn(e *env) error {
	t := &traffic{e: e, fan: 1}
	if err := t.subscribers(clients("sub", 1, func(_ int, c *load.Client) { c.Filters = []string{"bench/in/#"} })...); err != nil {
		return err
	}
	if err := t.publishers(10, func(p *publisher) {
		p.topic, p.window, p.batch = fixed(fmt.Sprintf("bench/in/%d", p.n)), 200, 100
	}); err != nil {
		return err
	}
	return t.measure()
}

func runFanOut(e *env) error {
	const fan = 100
	t := &traffic{e: e, fan: fan}
	if err := t.subscribers(clients("sub", fan, func(_ int, c *load.Client) { c.Filters = []string{"bench/out"} })...); err != nil {
		return err
	}
	if err := t.publishers(1, func(p *publisher) { p.topic, p.window, p.batch = fixed("bench/out"), 100, 25 }); err != nil {
		return err
	}
	return t.measure()
}

func pairs(qos byte) func(e *env) error {
	return func(e *env) error {
		const n = 50
		t := &traffic{e: e, fan: 1, qos: qos}
		if err := t.subscribers(clients("sub", n, func(i int, c *load.Client) {
			c.Filters, c.QoS = []string{fmt.Sprintf("bench/pair/%d", i)}, qos
		})...); err != nil {
			return err
		}
		if err := t.publishers(n, func(p *publisher) { p.topic = fixed(fmt.Sprintf("bench/pair/%d", p.n)) }); err != nil {
			return err
		}
		return t.measure()
	}
}

// runFilters has 50 subscribers with 200 filters each, the wildcard above the level that tells them apart.
func runFilters(e *env) error {
	const subs, each = 50, 200
	t := &traffic{e: e, fan: 1}
	if err := t.subscribers(clients("sub", subs, func(i int, c *load.Client) {
		for k := range each {
			c.Filters = append(c.Filters, fmt.Sprintf("bench/+/%d/value", i*each+k))
		}
	})...); err != nil {
		return err
	}
	topics := make([]string, subs*each)
	for i := range topics {
		topics[i] = fmt.Sprintf("bench/room%d/%d/value", i%7, i)
	}
	if err := t.publishers(10, func(p *publisher) {
		// A publisher keeps to its tenth of the names, so that each subscriber sees its messages in order.
		own := topics[p.n*len(topics)/10 : (p.n+1)*len(topics)/10]
		p.topic = func(seq uint64) string { return own[seq%uint64(len(own))] }
		p.window, p.batch = 100, 25
	}); err != nil {
		return err
	}
	err := t.measure()
	e.set("disorder", 0) // sequence numbers of a publisher are spread over subscribers here
	return err
}

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"gatewayd/test/load"
)

func queueScenario(name string, qos byte, rate, cpu float64) *scenario {
	return &scenario{
		name: name, title: fmt.Sprintf("20 publishers, window 20, 256 B, QoS %d, for an offline persistent session; then SIGKILL and restart", qos),
		metrics: []metric{
			{"rate", "acknowledged/s", "%.0f", rate, false},
			{"cpu", "CPU, µs a message", "%.2f", cpu, true},
			{"group", "messages a sync", "%.0f", 0, false},
			{"anon", "anonymous memory, MB", "%.1f", 0, true},
			{"lost", "acknowledged and lost after SIGKILL", "%.0f", 0, true},
			{"twice", "delivered twice", "%.0f", 0, true},
			{"ready", "restart to ready, ms", "%.0f", 0, true},
			{"drain", "drained/s", "%.0f", 0, false},
		},
		options: startOptions{persistent: true},
		run:     func(e *env) error { return runQueue(e, qos) },
	}
}

// offlineSession makes a persistent session with one subscription and leaves.
func offlineSession(e *env, id, filter string, qos byte) error {
	c, err := e.loop.Connect(e.addr, setupLimit, load.Client{ID: id, KeepAlive: 600, Filters: []string{filter}, QoS: qos})
	if err != nil {
		return err
	}
	gone := false
	c[0].OnClose = func(error) { gone = true }
	c[0].Append(func(dst []byte) []byte { return append(dst, load.Disconnect<<4, 0) })
	if err := e.loop.Run(5*time.Second, func() bool { return gone }); err != nil {
		return fmt.Errorf("disconnect: %w", err)
	}
	return nil
}

// group sets how many of the messages went to the disk together.
func (e *env) group(t *traffic) {
	if n := e.counter("gatewayd_store_commits_total"); n > 0 {
		e.set("group", float64(t.sent())/n)
	}
}

func runQueue(e *env, qos byte) error {
	n := e.quickly(40_000, 100_000)
	const pubs = 20
	if err := offlineSession(e, "sleeper", "bench/queue/#", qos); err != nil {
		return err
	}
	t := &traffic{e: e, qos: qos}
	cl := clients("pub", pubs, func(_ int, c *load.Client) { c.Clean = false })
	if err := t.publishers(pubs, func(p *publisher) {
		p.topic, p.payload = fixed(fmt.Sprintf("bench/queue/%d", p.n)), make([]byte, 256)
		p.window, p.limit = 20, uint64(n/pubs)
	}, cl...); err != nil {
		return err
	}
	a, err := e.mark(0)
	if err != nil {
		return err
	}
	t.begin()
	if err := e.loop.Run(2*time.Minute, func() bool { return t.acked == int64(n) }); err != nil {
		return fmt.Errorf("%d of %d acknowledged: %w", t.acked, n, err)
	}
	b, err := e.mark(t.acked)
	if err != nil {
		return err
	}
	e.spent(a, b)
	e.group(t)
	if m, err := e.p.Memory(); err == nil {
		e.set("anon", float64(m.Anon)/(1<<20))
	}
	for _, p := range t.pubs {
		p.conn.OnClose = func(error) {}
	}
	e.p.Kill()
	if err := e.restart(); err != nil {
		return err
	}
	e.set("ready", float64(e.ready.Microseconds())/1000)
	return drain(e, n, pubs)
}

// drain reconnects the session and counts what it still has.
func drain(e *env, n, pubs int) error {
	seen := make([][]bool, pubs)
	for i := range seen {
		seen[i] = make([]bool, n/pubs)
	}
	next := make([]uint64, pubs)
	got, twice, disorder := 0, 0, 0
	// An exactly-once receiver forgets an id at its PUBREL; a repeat before that is not a second delivery.
	held := map[uint16]bool{}
	take := func(c *load.Conn, m load.Message) {
		switch m.QoS {
		case 1:
			c.Ack(load.Puback, m.ID)
		case 2:
			c.Ack(load.Pubrec, m.ID)
			if held[m.ID] {
				return
			}
			held[m.ID] = true
		}
		if len(m.Payload) < stampSize {
			return
		}
		pub, seq := int(binary.LittleEndian.Uint32(m.Payload)), binary.LittleEndian.Uint64(m.Payload[4:])
		if seen[pub][seq] {
			twice++
			return
		}
		if seq != next[pub] {
			disorder++
		}
		seen[pub][seq], next[pub] = true, seq+1
		got++
	}
	begun := time.Now()
	last := begun
	handle := func(c *load.Conn, first byte, body []byte) {
		switch first >> 4 {
		case load.Publish:
			if m, err := load.ParsePublish(first, body); err == nil {
				take(c, m)
				last = time.Now()
			}
		case load.Pubrel:
			delete(held, load.PacketID(body))
			c.Ack(load.Pubcomp, load.PacketID(body))
		}
	}
	c, err := e.loop.Dial(e.addr, handle)
	if err != nil {
		return err
	}
	c.Append(func(dst []byte) []byte { return load.AppendConnect(dst, "sleeper", false, 600) })
	for got < n && time.Since(last) < 3*time.Second && time.Since(begun) < 3*time.Minute {
		if err := e.loop.Run(500*time.Millisecond, func() bool { return got >= n }); err != nil && !errors.Is(err, load.ErrStalled) {
			return err
		}
	}
	if got > 0 {
		e.set("drain", float64(got)/last.Sub(begun).Seconds())
	}
	e.set("lost", float64(n-got))
	e.set("twice", float64(twice))
	e.set("disorder", float64(disorder))
	return nil
}

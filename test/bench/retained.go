package main

import (
	"bytes"
	"fmt"
	"time"

	"gatewayd/test/load"
)

func retainedScenario(name, title, class string, goal float64) *scenario {
	s := &scenario{
		name: name, title: title,
		metrics: []metric{
			{"cpu", "stored: CPU, µs a message", "%.2f", goal, true},
			{"rate", "stored: messages/s", "%.0f", 0, false},
			{"dcpu", "delivered to one `#`: CPU, µs a message", "%.2f", 0.6, true},
			{"drate", "delivered: messages/s", "%.0f", 400_000, false},
			{"grown", "resident above start, MB", "%.1f", 45, true},
		},
		options: startOptions{retained: class},
		run:     runRetained,
	}
	if class == "commit" {
		s.only = []string{"gatewayd"}
		s.metrics = append(s.metrics, metric{"group", "messages a sync", "%.0f", 0, false})
	}
	return s
}

func runRetained(e *env) error {
	n := e.quickly(50_000, 100_000)
	const pubs = 10
	before, err := e.p.Memory()
	if err != nil {
		return err
	}
	t := &traffic{e: e, qos: 1}
	if err := t.publishers(pubs, func(p *publisher) {
		p.payload, p.window, p.batch, p.retain, p.limit = make([]byte, 32), 20, 1, true, uint64(n/pubs)
		p.topic = func(seq uint64) string { return fmt.Sprintf("retained/house%d/room%d/t", p.n, seq) }
	}); err != nil {
		return err
	}
	a, err := e.mark(0)
	if err != nil {
		return err
	}
	t.begin()
	if err := e.loop.Run(2*time.Minute, func() bool { return t.acked == int64(n) }); err != nil {
		return fmt.Errorf("%d of %d stored: %w", t.acked, n, err)
	}
	b, err := e.mark(t.acked)
	if err != nil {
		return err
	}
	e.spent(a, b)
	e.group(t)
	if err := e.loop.RunFor(time.Second); err != nil {
		return err
	}
	after, err := e.p.Memory()
	if err != nil {
		return err
	}
	e.set("grown", float64(after.Total()-before.Total())/(1<<20)*100_000/float64(n))
	return deliverRetained(e, n)
}

func deliverRetained(e *env, n int) error {
	got := 0
	prefix := []byte("retained/")
	count := func(m load.Message) {
		if m.Retain && bytes.HasPrefix(m.Topic, prefix) {
			got++
		}
	}
	a, err := e.mark(0)
	if err != nil {
		return err
	}
	c, err := e.loop.Connect(e.addr, setupLimit, load.Client{
		ID: "reader", Clean: true, KeepAlive: 600, Filters: []string{"#"},
		EarlyPublish: func(_ *load.Conn, m load.Message) { count(m) },
	})
	if err != nil {
		return err
	}
	c[0].Handle(func(_ *load.Conn, first byte, body []byte) {
		if first>>4 == load.Publish {
			if m, err := load.ParsePublish(first, body); err == nil {
				count(m)
			}
		}
	})
	if err := e.loop.Run(time.Minute, func() bool { return got >= n }); err != nil {
		return fmt.Errorf("%d of %d retained delivered: %w", got, n, err)
	}
	b, err := e.mark(int64(got))
	if err != nil {
		return err
	}
	e.set("dcpu", float64((b.cpu-a.cpu)/time.Microsecond)/float64(got))
	e.set("drate", float64(got)/b.at.Sub(a.at).Seconds())
	return nil
}

package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"gatewayd/test/load"
)

// bridgeScenario measures a broker that carries everything over its bridge to a centre. The centre is the load generator
// itself, so that nothing but the bridge is the bottleneck; each bridge has its default window.
func bridgeScenario(qos byte) *scenario {
	return &scenario{
		name: fmt.Sprintf("bridge%d", qos), title: fmt.Sprintf("bridge QoS %d: 10 publishers → broker → its bridge → centre", qos),
		only:    []string{"gatewayd", "mosquitto"},
		metrics: []metric{cpuMetric(0), rateMetric},
		options: startOptions{bridgeQoS: qos},
		prepare: func(e *env) (err error) {
			e.centre = &centre{}
			e.options.bridgeTo, err = e.loop.Listen(e.centre.handle)
			return err
		},
		run: func(e *env) error { return runBridge(e, qos) },
	}
}

func runBridge(e *env, qos byte) error {
	if err := e.loop.Run(setupLimit, func() bool { return e.centre.connected }); err != nil {
		return fmt.Errorf("the bridge has not connected: %w", err)
	}
	if err := e.loop.RunFor(500 * time.Millisecond); err != nil { // the broker has to take note of it
		return err
	}
	t := &traffic{e: e, fan: 1, qos: qos}
	e.centre.t = t
	if err := t.publishers(10, func(p *publisher) {
		p.topic, p.window, p.batch = fixed(fmt.Sprintf("bench/bridge/%d", p.n)), 100, 25
		if qos > 0 {
			p.window, p.batch = 20, 5
		}
	}); err != nil {
		return err
	}
	return t.measure()
}

// centre plays the broker at the other end of a bridge.
type centre struct {
	t         *traffic
	connected bool
	last      [64]uint64
	held      map[uint16]bool // QoS 2 ids between PUBREC and PUBREL
}

func (z *centre) handle(c *load.Conn, first byte, body []byte) {
	switch first >> 4 {
	case load.Connect:
		z.connected = true
		z.held = map[uint16]bool{}
		c.Append(func(dst []byte) []byte { return append(dst, load.Connack<<4, 2, 0, 0) })
	case load.Subscribe:
		id := load.PacketID(body)
		c.Append(func(dst []byte) []byte { return append(dst, load.Suback<<4, 3, byte(id>>8), byte(id), 0) })
	case load.Unsubscribe:
		c.Ack(load.Unsuback, load.PacketID(body))
	case load.Pingreq:
		c.Append(func(dst []byte) []byte { return append(dst, load.Pingresp<<4, 0) })
	case load.Pubrel:
		delete(z.held, load.PacketID(body))
		c.Ack(load.Pubcomp, load.PacketID(body))
	case load.Publish:
		z.publish(c, first, body)
	}
}

func (z *centre) publish(c *load.Conn, first byte, body []byte) {
	m, err := load.ParsePublish(first, body)
	if err != nil {
		return
	}
	switch m.QoS {
	case 1:
		c.Ack(load.Puback, m.ID)
	case 2:
		c.Ack(load.Pubrec, m.ID)
		if z.held[m.ID] {
			return
		}
		z.held[m.ID] = true
	}
	if len(m.Payload) < stampSize || z.t == nil {
		return // the bridge's notification
	}
	pub, seq := int(binary.LittleEndian.Uint32(m.Payload)), binary.LittleEndian.Uint64(m.Payload[4:])
	if pub >= len(z.last) {
		return
	}
	if seq != z.last[pub] {
		z.t.disorder++
	}
	z.last[pub] = seq + 1
	z.t.arrive(pub, m.Payload)
}

// hurry makes mosquitto accept WebSocket clients as fast as others: it takes one in each turn of its loop, and a quiet loop
// turns a few times a second. A client on the plain listener that pings keeps it turning. The returned function ends that.
func (e *env) hurry() (stop func(), err error) {
	if !e.options.transport.WebSocket() || e.b.name != "mosquitto" {
		return func() {}, nil
	}
	c, err := net.Dial("tcp", e.p.Addr)
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(load.AppendConnect(nil, "hurry", true, 600)); err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(io.Discard, c) })
	wg.Go(func() {
		for {
			if _, err := c.Write([]byte{load.Pingreq << 4, 0}); err != nil {
				return
			}
			time.Sleep(200 * time.Microsecond)
		}
	})
	return func() { c.Close(); wg.Wait() }, nil
}

// connect connects clients to where the scenario wants them.
func (e *env) connect(addr string, cl ...load.Client) ([]*load.Conn, error) {
	stop, err := e.hurry()
	if err != nil {
		return nil, err
	}
	defer stop()
	return e.loop.Connect(addr, setupLimit, cl...)
}

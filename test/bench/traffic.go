package main

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatewayd/test/load"
)

// Every payload begins with the publisher's number, its sequence number and the time of sending.
const stampSize = 20

func stamp(p []byte, pub int, seq uint64) {
	binary.LittleEndian.PutUint32(p, uint32(pub))
	binary.LittleEndian.PutUint64(p[4:], seq)
	binary.LittleEndian.PutUint64(p[12:], uint64(now()))
}

var start = time.Now()

func now() time.Duration { return time.Since(start) }

// traffic is publishers that keep a window of messages on the way, and the subscribers that see them arrive.
// A message counts against the window until its acknowledgement and its deliveries have come.
type traffic struct {
	e       *env
	qos     byte
	pubs    []*publisher
	fan     int    // deliveries of each message
	via     string // address through which the subscribers connect, where it is not the broker's own
	stopped bool

	delivered int64
	disorder  int64
	acked     int64

	latencies []time.Duration // filled when keep is set
	keep      bool
}

type publisher struct {
	t       *traffic
	n       int
	conn    *load.Conn
	topic   func(seq uint64) string
	payload []byte
	window  uint64
	batch   uint64 // credit worth a refill
	retain  bool
	limit   uint64 // messages in all, 0: no limit

	sent, acked, arrived uint64
	ackLatency           []time.Duration
	sentAt               map[uint16]time.Duration
}

// clients names n clients and lets set complete each.
func clients(prefix string, n int, set func(i int, c *load.Client)) []load.Client {
	out := make([]load.Client, n)
	for i := range out {
		out[i] = load.Client{ID: fmt.Sprintf("%s-%d", prefix, i), Clean: true, KeepAlive: 600}
		if set != nil {
			set(i, &out[i])
		}
	}
	return out
}

const setupLimit = 60 * time.Second

// subscribers connects the receiving side.
func (t *traffic) subscribers(cl ...load.Client) error {
	conns, err := t.e.connect(cmp.Or(t.via, t.e.addr), cl...)
	if err != nil {
		return fmt.Errorf("subscribers: %w", err)
	}
	for _, c := range conns {
		last := make([]uint64, 0, 64) // by publisher: the sequence number that must come next
		c.Handle(func(c *load.Conn, first byte, body []byte) {
			switch first >> 4 {
			case load.Publish:
				m, err := load.ParsePublish(first, body)
				if err != nil || len(m.Payload) < stampSize {
					return // a broker's own retained topics
				}
				switch m.QoS {
				case 1:
					c.Ack(load.Puback, m.ID)
				case 2:
					c.Ack(load.Pubrec, m.ID)
				}
				pub := int(binary.LittleEndian.Uint32(m.Payload))
				seq := binary.LittleEndian.Uint64(m.Payload[4:])
				for len(last) <= pub {
					last = append(last, 0)
				}
				if seq != last[pub] {
					t.disorder++
				}
				last[pub] = seq + 1
				t.arrive(pub, m.Payload)
			case load.Pubrel:
				c.Ack(load.Pubcomp, load.PacketID(body))
			}
		})
	}
	return nil
}

func (t *traffic) arrive(pub int, payload []byte) {
	t.delivered++
	if t.keep {
		t.latencies = append(t.latencies, now()-time.Duration(binary.LittleEndian.Uint64(payload[12:])))
	}
	if pub < len(t.pubs) {
		p := t.pubs[pub]
		p.arrived++
		p.refill()
	}
}

// publishers connects the sending side; set completes each publisher.
func (t *traffic) publishers(n int, set func(p *publisher), cl ...load.Client) error {
	if cl == nil {
		cl = clients("pub", n, nil)
	}
	conns, err := t.e.connect(t.e.addr, cl...)
	if err != nil {
		return fmt.Errorf("publishers: %w", err)
	}
	for i, c := range conns {
		p := &publisher{t: t, n: i, conn: c, window: 10, batch: 1, payload: make([]byte, 64)}
		set(p)
		c.Handle(p.handle)
		t.pubs = append(t.pubs, p)
	}
	return nil
}

func (p *publisher) handle(c *load.Conn, first byte, body []byte) {
	switch first >> 4 {
	case load.Pubrec:
		c.Ack(load.Pubrel, load.PacketID(body))
	case load.Puback, load.Pubcomp:
		p.acked++
		p.t.acked++
		if p.sentAt != nil {
			id := load.PacketID(body)
			p.ackLatency = append(p.ackLatency, now()-p.sentAt[id])
			delete(p.sentAt, id)
		}
		p.refill()
	}
}

// open is how many messages are on the way.
func (p *publisher) open() uint64 {
	done := p.sent
	if p.t.fan > 0 {
		done = min(done, p.arrived/uint64(p.t.fan))
	}
	if p.t.qos > 0 {
		done = min(done, p.acked)
	}
	return p.sent - done
}

func (p *publisher) refill() {
	if p.t.stopped {
		return
	}
	open := p.open()
	if open+p.batch > p.window {
		return
	}
	for ; open < p.window && (p.limit == 0 || p.sent < p.limit); open++ {
		p.send()
	}
}

func (p *publisher) send() {
	stamp(p.payload, p.n, p.sent)
	var id uint16
	if p.t.qos > 0 {
		id = p.conn.NextID()
		if p.sentAt != nil {
			p.sentAt[id] = now()
		}
	}
	p.conn.Publish(p.topic(p.sent), p.t.qos, p.retain, id, p.payload)
	p.sent++
}

func (t *traffic) begin() {
	for _, p := range t.pubs {
		p.refill()
	}
}

func (t *traffic) sent() (n int64) {
	for _, p := range t.pubs {
		n += int64(p.sent)
	}
	return n
}

// measure runs the traffic for the run's time after a short warm-up, then lets it run out and counts what is missing.
func (t *traffic) measure() error {
	e := t.e
	t.begin()
	if err := e.loop.RunFor(min(e.seconds/4, 500*time.Millisecond)); err != nil {
		return err
	}
	a, err := e.mark(t.delivered)
	if err != nil {
		return err
	}
	if err := e.loop.RunFor(e.seconds); err != nil {
		return err
	}
	b, err := e.mark(t.delivered)
	if err != nil {
		return err
	}
	e.spent(a, b)
	if m, err := e.p.Memory(); err == nil {
		e.set("rss", float64(m.Total())/(1<<20))
	}
	t.stopped = true
	err = e.loop.Run(5*time.Second, func() bool { return t.delivered >= t.sent()*int64(t.fan) })
	if err != nil && !errors.Is(err, load.ErrStalled) {
		return err
	}
	e.set("lost", float64(t.sent()*int64(t.fan)-t.delivered))
	e.set("disorder", float64(t.disorder))
	return nil
}

// percentiles sets keys+"50" and keys+"99" in microseconds.
func (e *env) percentiles(key string, d []time.Duration) {
	if len(d) == 0 {
		return
	}
	slices.Sort(d)
	at := func(q float64) float64 {
		return float64(d[min(len(d)-1, int(q*float64(len(d))))]) / float64(time.Microsecond)
	}
	e.set(key+"50", at(0.50))
	e.set(key+"99", at(0.99))
}

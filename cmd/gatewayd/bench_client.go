package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"gatewayd/mqtt"
)

// benchPublisher sends numbered messages with a window of unacknowledged ones.
// One goroutine uses it.
type benchPublisher struct {
	*client
	run   *benchRun
	topic string
	open  map[mqtt.PacketID]time.Duration // sent and not finished, with the time of sending
	out   []byte

	first                       time.Duration // when the first message was sent
	sent, acknowledged, refused int64
	latency                     histogram // of acknowledgements
}

// benchBatch is how many messages of QoS 0 go out with one write when there is
// no rate to keep.
const benchBatch = 32

// publish sends until the given time and then waits for the acknowledgements.
func (p *benchPublisher) publish(ctx context.Context, until time.Duration) error {
	var pause time.Duration
	if rate := p.run.f.rate; rate > 0 {
		pause = time.Duration(float64(time.Second) * float64(len(p.run.pubs)) / rate)
	}
	begun := p.run.now()
	for now := begun; now < until && ctx.Err() == nil; now = p.run.now() {
		due := begun + time.Duration(p.sent)*pause
		for n := 0; now >= due && p.room(n); n++ {
			p.add(now)
			due = begun + time.Duration(p.sent)*pause
		}
		if err := p.flush(); err != nil {
			return err
		}
		if err := p.wait(ctx, min(due, until), pause); err != nil {
			return err
		}
	}
	return p.settle()
}

// room reports whether one more message fits, after n in this turn.
func (p *benchPublisher) room(n int) bool {
	if p.run.f.qos == 0 {
		return n < benchBatch
	}
	return len(p.open) < p.receiveMax
}

func (p *benchPublisher) add(now time.Duration) {
	if p.sent++; p.sent == 1 {
		p.first = now
	}
	payload := make([]byte, p.run.f.size)
	binary.BigEndian.PutUint64(payload, uint64(now))
	binary.BigEndian.PutUint64(payload[8:], uint64(p.sent))
	m := &mqtt.Publish{Topic: p.topic, Payload: payload, QoS: mqtt.QoS(p.run.f.qos)}
	if m.QoS > 0 {
		for m.ID = p.id(); ; m.ID = p.id() {
			if _, taken := p.open[m.ID]; !taken {
				break
			}
		}
		p.open[m.ID] = now
	}
	p.out = m.Append(p.out, p.version)
}

func (p *benchPublisher) flush() error {
	if len(p.out) == 0 {
		return nil
	}
	p.lastTx = time.Now()
	_, err := p.nc.Write(p.out)
	p.out = p.out[:0]
	return err
}

// wait takes acknowledgements until there is room again and the next message
// is due.
func (p *benchPublisher) wait(ctx context.Context, due, pause time.Duration) error {
	if p.run.f.qos == 0 && pause == 0 {
		return nil
	}
	deadline := time.Time{}
	if p.room(0) {
		deadline = p.run.begun.Add(due)
		if !time.Now().Before(deadline) && !p.buffered() {
			return nil
		}
		if len(p.open) == 0 {
			select {
			case <-time.After(time.Until(deadline)):
			case <-ctx.Done():
			}
			return nil
		}
	}
	packet, err := p.next(deadline)
	for err == nil {
		p.handle(packet)
		if !p.buffered() {
			return p.flush()
		}
		packet, err = p.next(deadline)
	}
	if errors.Is(err, errTimeout) {
		return nil
	}
	return err
}

// settle waits for the last acknowledgements.
func (p *benchPublisher) settle() error {
	deadline := time.Now().Add(benchSilence)
	for len(p.open) > 0 {
		packet, err := p.next(deadline)
		if errors.Is(err, errTimeout) {
			return fmt.Errorf("%d messages were not acknowledged within %s", len(p.open), benchSilence)
		}
		if err != nil {
			return err
		}
		p.handle(packet)
		if !p.buffered() {
			if err := p.flush(); err != nil {
				return err
			}
		}
	}
	return p.flush()
}

func (p *benchPublisher) handle(packet mqtt.Packet) {
	switch a := packet.(type) {
	case *mqtt.Puback:
		p.finish(a.ID, a.Code)
	case *mqtt.Pubrec:
		if a.Code.Failed() {
			p.finish(a.ID, a.Code)
			return
		}
		p.out = (&mqtt.Pubrel{ID: a.ID}).Append(p.out, p.version)
	case *mqtt.Pubcomp:
		p.finish(a.ID, a.Code)
	}
}

func (p *benchPublisher) finish(id mqtt.PacketID, code mqtt.ReasonCode) {
	at, ok := p.open[id]
	if !ok {
		return
	}
	delete(p.open, id)
	if code.Failed() {
		p.refused++
		return
	}
	p.acknowledged++
	p.latency.record(p.run.now() - at)
}

// benchSubscriber counts what arrives. One goroutine uses it; the number of
// messages to wait for comes from outside.
type benchSubscriber struct {
	*client
	run      *benchRun
	expected atomic.Int64 // 0: not known yet, else the number + 1
	last     []uint64     // of each publisher: the highest number seen
	held     map[mqtt.PacketID]bool

	received, repeated int64
	lastArrival        time.Duration
	latency            histogram
}

// benchSilence is how long a message may stay away before it counts as missing.
const benchSilence = 5 * time.Second

func (s *benchSubscriber) subscribe(filter string, qos mqtt.QoS) error {
	s.held = map[mqtt.PacketID]bool{}
	if err := s.send(&mqtt.Subscribe{ID: s.id(), Requests: []mqtt.Request{{Filter: filter, Options: mqtt.Options(0).WithQoS(qos)}}}); err != nil {
		return err
	}
	packet, err := s.next(time.Now().Add(20 * time.Second))
	if err != nil {
		return err
	}
	ack, ok := packet.(*mqtt.Suback)
	switch {
	case !ok || len(ack.Codes) != 1:
		return fmt.Errorf("the server answered a subscription with %s", packet.Type())
	case ack.Codes[0].Failed():
		return fmt.Errorf("the server refused the subscription to %s: %s%s", filter, ack.Codes[0], reason(ack.Properties))
	case mqtt.QoS(ack.Codes[0]) < qos:
		return fmt.Errorf("the server grants QoS %d at most; say -q %d", ack.Codes[0], ack.Codes[0])
	}
	return nil
}

// sentAll says how many messages were sent to s in all.
func (s *benchSubscriber) sentAll(n int64) { s.expected.Store(n + 1) }

// receive takes messages until all have come, or none comes any more.
func (s *benchSubscriber) receive() error {
	var out []byte
	quiet := time.Now() // of the last arrival, or of the last look while publishers send
	for {
		if !s.buffered() && len(out) > 0 {
			if _, err := s.nc.Write(out); err != nil {
				return err
			}
			s.lastTx, out = time.Now(), out[:0]
		}
		if n := s.expected.Load(); n > 0 && s.received-s.repeated >= n-1 && len(s.held) == 0 {
			return nil
		}
		packet, err := s.next(time.Now().Add(100 * time.Millisecond))
		if errors.Is(err, errTimeout) {
			if s.expected.Load() == 0 {
				quiet = time.Now()
			} else if time.Since(quiet) > benchSilence {
				return nil // the rest is missing
			}
			continue
		}
		if err != nil {
			return err
		}
		switch p := packet.(type) {
		case *mqtt.Publish:
			quiet = time.Now()
			switch p.QoS {
			case 1:
				out = (&mqtt.Puback{ID: p.ID}).Append(out, s.version)
			case 2:
				out = (&mqtt.Pubrec{ID: p.ID}).Append(out, s.version)
				if s.held[p.ID] { // the same delivery once more, not a second message
					continue
				}
				s.held[p.ID] = true
			}
			s.arrived(p)
		case *mqtt.Pubrel:
			delete(s.held, p.ID)
			out = (&mqtt.Pubcomp{ID: p.ID}).Append(out, s.version)
		}
	}
}

// arrived counts a message. Within a publisher's messages the numbers rise, so
// one that does not was there before.
func (s *benchSubscriber) arrived(p *mqtt.Publish) {
	publisher, err := strconv.Atoi(p.Topic[strings.LastIndexByte(p.Topic, '/')+1:])
	if err != nil || publisher < 0 || publisher >= len(s.last) || len(p.Payload) < benchStamp {
		return // somebody else's
	}
	now := s.run.now()
	s.received++
	s.lastArrival = now
	s.latency.record(now - time.Duration(binary.BigEndian.Uint64(p.Payload)))
	if n := binary.BigEndian.Uint64(p.Payload[8:]); n > s.last[publisher] {
		s.last[publisher] = n
	} else {
		s.repeated++
	}
}

// histogram counts durations in steps of about six percent.
type histogram struct {
	counts  [64 * 16]int64
	n       int64
	longest time.Duration
}

func (h *histogram) record(d time.Duration) {
	d = max(d, 0)
	h.counts[step(d)]++
	h.n++
	h.longest = max(h.longest, d)
}

// step is the number of d's step: the position of its highest bit, and the
// four bits behind that.
func step(d time.Duration) int {
	v := uint64(d)
	if v < 16 {
		return int(v)
	}
	shift := bits.Len64(v) - 5
	return (shift+1)<<4 | int(v>>shift&15)
}

// floor is the shortest duration of a step.
func floor(step int) time.Duration {
	if step < 16 {
		return time.Duration(step)
	}
	return time.Duration(16|step&15) << (step>>4 - 1)
}

func (h *histogram) add(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.n, h.longest = h.n+o.n, max(h.longest, o.longest)
}

// quantile is the upper end of the step that holds the share q, 0 to 1.
func (h *histogram) quantile(q float64) time.Duration {
	rank := max(1, int64(q*float64(h.n)+0.5))
	for i, n := range h.counts {
		if rank -= n; rank <= 0 {
			return min(floor(i+1), h.longest)
		}
	}
	return h.longest
}

// times are the quantiles that are printed; nil when nothing was counted.
func (h *histogram) times() *benchTimes {
	if h.n == 0 {
		return nil
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return &benchTimes{P50: ms(h.quantile(0.5)), P99: ms(h.quantile(0.99)), Max: ms(h.longest)}
}

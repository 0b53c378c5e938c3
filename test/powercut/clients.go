package powercut

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"gatewayd/test/rig"
)

// silence is how long a subscriber waits for a message that is still missing
// before it counts as lost.
const silence = 2 * time.Minute

// pace is the pause of a publisher at the centre between its windows: that
// broker is not emulated and would bury the gateway.
const pace = 20 * time.Millisecond

// errLost ends a run early: a session that was acknowledged is gone, and with
// it everything that would be compared.
var errLost = errors.New("the gateway has lost its session")

// resume connects the publisher and sends again what is unfinished.
func (p *publisher) resume(address string) (*rig.Client, error) {
	c, present, err := rig.Connect(address, p.clientID(), p.version, false)
	if err != nil {
		return nil, err
	}
	ids, messages := p.unfinished()
	if !present && p.seq > 0 {
		c.Close()
		return nil, fmt.Errorf("%s: %w", p.clientID(), errLost)
	}
	for i, m := range messages {
		if m.rec {
			c.Ack(rig.PUBREL, ids[i])
		} else {
			c.Publish(m.topic, m.payload, p.qos, p.retain, true, ids[i])
		}
	}
	return c, c.Flush()
}

// acknowledgements reads until the connection ends, and calls progress after
// each read batch with the number of messages it acknowledged.
func (p *publisher) acknowledgements(c *rig.Client, progress func(acknowledged int)) error {
	for n := 0; ; {
		packet, err := c.Read()
		if err != nil {
			return err
		}
		if p.ack(packet.Type, packet.ID, packet.Code) {
			c.Ack(rig.PUBREL, packet.ID)
		}
		if packet.Type != rig.PUBCOMP {
			n++
		}
		if !c.Buffered() {
			if err := c.Flush(); err != nil {
				return err
			}
			progress(n)
			n = 0
		}
	}
}

// settle finishes what the cut left open.
func (p *publisher) settle(address string) error {
	c, err := p.resume(address)
	if err != nil {
		return err
	}
	defer c.Goodbye()
	c.Deadline(time.Now().Add(silence))
	for p.open() > 0 {
		packet, err := c.Read()
		if err != nil {
			return fmt.Errorf("%s: %d messages get no answer: %w", p.clientID(), p.open(), err)
		}
		if p.ack(packet.Type, packet.ID, packet.Code) {
			c.Ack(rig.PUBREL, packet.ID)
			c.Flush()
		}
	}
	return nil
}

// load publishes, window messages at a time, until ctx ends; then it waits
// for the connection's end, since the power is about to go.
func (p *publisher) load(ctx context.Context, address string, rng *rand.Rand, progress func(acknowledged int)) error {
	c, err := p.resume(address)
	if err != nil {
		return err
	}
	defer c.Close()
	room := make(chan struct{}, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.acknowledgements(c, func(n int) {
			if !p.centre { // what the gateway has not seen does not bring the cut nearer
				progress(n)
			}
			select {
			case room <- struct{}{}:
			default:
			}
		})
	}()
	for {
		for p.open() < p.window && ctx.Err() == nil {
			id, m := p.next(rng)
			c.Publish(m.topic, m.payload, p.qos, p.retain, false, id)
		}
		if c.Flush() != nil {
			<-ended
			return nil
		}
		select {
		case <-room:
			if p.centre {
				time.Sleep(pace)
			}
		case <-ended:
			return nil
		case <-ctx.Done():
			c.Close()
			<-ended
			return nil
		}
	}
}

// connect opens the subscriber's session; the first time it subscribes.
func (s *subscriber) connect(address string, first bool) (*rig.Client, error) {
	c, present, err := rig.Connect(address, s.name, s.version, false)
	if err != nil {
		return nil, err
	}
	if first {
		for _, f := range s.filters {
			if err := c.Subscribe(f, 2); err != nil {
				c.Close()
				return nil, err
			}
		}
	} else if !present {
		c.Close()
		return nil, fmt.Errorf("%s: %w", s.name, errLost)
	}
	return c, nil
}

// step reads one packet and answers it.
func (s *subscriber) step(c *rig.Client) error {
	p, err := c.Read()
	if err != nil {
		return err
	}
	switch p.Type {
	case rig.PUBLISH:
		s.receive(p)
		if p.QoS > 0 {
			c.Ack(rig.PUBACK+p.QoS-1, p.ID) // PUBREC follows PUBACK
		}
	case rig.PUBREL:
		s.release(p.ID)
		c.Ack(rig.PUBCOMP, p.ID)
	}
	if !c.Buffered() {
		return c.Flush()
	}
	return nil
}

// drain receives until whole says that nothing is missing any more; without
// that it gives up after a silence, and the comparison will tell.
func (s *subscriber) drain(c *rig.Client, whole func() bool) error {
	const pause = 100 * time.Millisecond // what would be too much comes soon after what was expected
	for quiet := time.Duration(0); quiet < silence; {
		waiting, err := c.Waiting(pause)
		if err == nil && waiting {
			quiet = 0
			err = s.step(c)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if waiting {
			continue
		}
		if quiet += pause; whole() {
			return nil
		}
	}
	return nil
}

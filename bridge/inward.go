package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"gatewayd/broker"
	"gatewayd/mqtt"
	"gatewayd/topic"
)

// readSize is the reader's buffer; a larger packet gets one of its own.
const readSize = 64 << 10

// read reads from the centre until the connection ends.
func (c *conn) read(ctx context.Context) error {
	in := inward{conn: c, router: newRouter(c.b.o.Rules, true)}
	buf := make([]byte, max(readSize, len(c.rest)))
	have := copy(buf, c.rest)
	c.rest = nil
	for {
		c.link.Gather(c.out.flush)
		used, err := in.packets(ctx, buf[:have])
		c.link.Flush()
		c.out.flushAny()
		if err != nil {
			return err
		}
		have = copy(buf, buf[used:have])
		if need := mqtt.Length(buf[:have]); need > len(buf) {
			buf = append(make([]byte, 0, need), buf[:have]...)[:need]
		} else if have == 0 && len(buf) > readSize {
			buf = buf[:readSize:readSize]
		}
		n, err := c.net.Read(buf[have:])
		have += n
		c.b.count.bytesIn.Add(uint64(n))
		if n > 0 {
			c.lastRead.Store(c.now())
		}
		switch {
		case err == nil || n > 0:
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("the centre closed the connection")
		default:
			return err
		}
	}
}

// inward is the reader's own state.
type inward struct {
	*conn
	router  *router
	aliases map[uint16]string
	publish mqtt.Publish
}

// packets handles every whole packet in b and returns how much of it that was.
func (in *inward) packets(ctx context.Context, b []byte) (used int, err error) {
	for {
		n, err := mqtt.Split(b[used:], in.b.o.MaxPacketSize)
		if err != nil || n == 0 {
			return used, err
		}
		if err := in.packet(ctx, b[used:used+n]); err != nil {
			return used, err
		}
		used += n
	}
}

func (in *inward) packet(ctx context.Context, b []byte) error {
	v := in.level.version
	switch t := mqtt.TypeOf(b[0]); t {
	case mqtt.PUBLISH:
		if err := in.publish.Decode(v, b); err != nil {
			return err
		}
		return in.receive(ctx, &in.publish)
	case mqtt.PUBACK:
		var p mqtt.Puback
		if err := p.Decode(v, b); err != nil {
			return err
		}
		return in.puback(p.ID, p.Code)
	case mqtt.PUBREC:
		var p mqtt.Pubrec
		if err := p.Decode(v, b); err != nil {
			return err
		}
		return in.pubrec(p.ID, p.Code)
	case mqtt.PUBCOMP:
		var p mqtt.Pubcomp
		if err := p.Decode(v, b); err != nil {
			return err
		}
		in.pubcomp(p.ID)
		return nil
	case mqtt.PUBREL:
		var p mqtt.Pubrel
		if err := p.Decode(v, b); err != nil {
			return err
		}
		in.link.Release(p.ID, in.owe(mqtt.PUBCOMP, p.ID, noRule))
		return nil
	case mqtt.PINGRESP:
		if sent := in.pingSent.Swap(0); sent != 0 {
			in.b.count.roundTrip(in.now() - sent)
		}
		return nil
	default:
		return in.rare(t, v, b)
	}
}

// rare handles the packets that come a few times a connection.
func (in *inward) rare(t mqtt.PacketType, v mqtt.Version, b []byte) error {
	p, err := mqtt.Decode(v, b)
	if err != nil {
		return err
	}
	switch p := p.(type) {
	case *mqtt.Suback:
		in.answer(p.ID, p.Codes)
		return nil
	case *mqtt.Unsuback:
		in.answer(p.ID, p.Codes)
		return nil
	case *mqtt.Disconnect:
		if v == mqtt.V5 {
			e := &refusedError{code: p.Code}
			if p.Properties != nil {
				e.reason = p.Properties.ReasonString
			}
			return fmt.Errorf("the centre disconnected: %v %s", e.code, e.reason)
		}
	}
	return fmt.Errorf("the centre sent %v", t)
}

// receive hands a message of the centre to the local broker.
func (in *inward) receive(ctx context.Context, p *mqtt.Publish) error {
	name, err := in.resolve(p)
	if err != nil {
		return err
	}
	to := in.router.route(name)
	count := &in.b.count
	if to.name == "" || in.b.storm.cut(to.rule) {
		// Nobody wants it here, but the centre must not keep it for ever.
		if to.name == "" {
			count.dropped(noRule, "no_rule")
		} else {
			count.dropped(to.rule, "storm")
		}
		return in.swallow(ctx, p)
	}
	if in.echo != nil && in.echo.returned(p.Topic, p.Payload, in.now()) {
		count.dropped(to.rule, "echo")
		return in.swallow(ctx, p)
	}
	pub := broker.Publication{
		Topic:     to.name,
		Payload:   bytes.Clone(p.Payload),
		QoS:       p.QoS,
		Retain:    p.Retain && !in.b.o.Rules[to.rule].StripRetain,
		Publisher: in.b.o.LocalClientID,
	}
	if p.Properties != nil {
		if p.Properties.Has(mqtt.PropMessageExpiry) {
			pub.Expiry = max(time.Duration(p.Properties.MessageExpiry)*time.Second, time.Millisecond)
		}
		pub.Properties = ownProperties(p.Properties)
	}
	count.in.Add(1)
	count.rules[to.rule].in.Add(1)
	in.lastMessage.Store(in.now())
	in.b.storm.carried(to.rule, true, to.name, p.Payload, in.now())
	return in.deliver(ctx, p, pub, to.rule)
}

// deliver publishes here; the answer to the centre follows the receipt.
func (in *inward) deliver(ctx context.Context, p *mqtt.Publish, pub broker.Publication, rule int) error {
	var done func(error)
	switch p.QoS {
	case 1:
		done = in.owe(mqtt.PUBACK, p.ID, rule)
	case 2:
		done = in.owe(mqtt.PUBREC, p.ID, rule)
	}
	err := in.link.Receive(ctx, pub, p.ID, p.Dup, done)
	if err == nil || ctx.Err() != nil {
		return nil
	}
	if _, final := refusal(err); final {
		if done != nil {
			done(err)
		} else {
			in.b.count.dropped(rule, "refused_locally")
		}
		return nil
	}
	if p.QoS == 0 {
		in.b.count.dropped(rule, "local_broker_busy")
		return nil
	}
	return fmt.Errorf("local broker: %w", err)
}

// swallow acknowledges a message without publishing it.
func (in *inward) swallow(ctx context.Context, p *mqtt.Publish) error {
	switch p.QoS {
	case 1:
		in.owe(mqtt.PUBACK, p.ID, noRule)(nil)
	case 2:
		in.owe(mqtt.PUBREC, p.ID, noRule)(nil)
	}
	return nil
}

// resolve returns the topic of p, which may stand behind an alias.
func (in *inward) resolve(p *mqtt.Publish) (string, error) {
	if p.Properties == nil || p.Properties.TopicAlias == 0 {
		return p.Topic, nil
	}
	alias := p.Properties.TopicAlias
	if alias > in.b.o.MaxTopicAlias { // [MQTT-3.1.2-26]
		return "", fmt.Errorf("the centre uses topic alias %d above our maximum", alias)
	}
	if p.Topic != "" {
		if in.aliases == nil {
			in.aliases = map[uint16]string{}
		}
		if in.aliases[alias] != p.Topic {
			in.aliases[alias] = strings.Clone(p.Topic)
		}
		return p.Topic, nil
	}
	name, ok := in.aliases[alias]
	if !ok {
		return "", fmt.Errorf("the centre uses topic alias %d before giving it a topic", alias)
	}
	p.Topic = name
	return name, nil
}

// ownProperties copies what travels on out of the read buffer.
func ownProperties(p *mqtt.Properties) *mqtt.PublishProperties {
	t := p.Travelling()
	if t == nil {
		return nil
	}
	var m mqtt.Message
	m.Properties = t
	// The bytes are our own encoding of decoded properties: no error.
	_ = m.ParseProperties(m.AppendProperties(nil))
	return m.Properties
}

func isShared(filter string) bool {
	_, _, shared, _ := topic.ParseShare(filter)
	return shared
}

package bridge

import (
	"context"
	"fmt"
	"time"

	"gatewayd/broker"
	"gatewayd/mqtt"
)

// outward is the pump's own state: what turns deliveries into packets.
type outward struct {
	*conn
	router  *router
	aliases map[string]uint16
	frame   mqtt.Frame
	limit   limiter
	bytes   limiter
	mark    marker
}

// pump sets the connection up and then sends what the link delivers, as much
// as is there at once.
func (c *conn) pump(ctx context.Context) error {
	if err := c.prepare(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	p := outward{conn: c, router: newRouter(c.b.o.Rules, false), limit: limiter{rate: c.b.o.PublishRate}, bytes: limiter{rate: float64(c.b.demands.byteRate)}, mark: newMarker(c)}
	c.b.up(c, c.window)
	c.link.Resume(c.window)
	if err := p.reconcile(ctx); err != nil {
		return err
	}
	for {
		if c.resting() {
			<-ctx.Done()
			return nil
		}
		d, err := c.link.Next(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("local session: %w", err)
		}
		for ok := true; ok; d, ok = c.link.TryNext() {
			if err := p.deliver(ctx, &d); err != nil {
				return err
			}
			if c.resting() {
				break
			}
		}
		c.out.flush()
		if err := c.out.wait(ctx); err != nil {
			return nil
		}
	}
}

// reconcile sends the retained messages of QoS 0 that changed while the centre
// was away. The link delivers already, so what it has is newer.
func (p *outward) reconcile(ctx context.Context) error {
	r := p.b.retained
	if r == nil {
		return nil
	}
	changed, overflow := r.back()
	for i := range changed {
		if err := p.deliver(ctx, &changed[i]); err != nil {
			return err
		}
	}
	p.out.flush()
	if !overflow {
		return nil
	}
	p.b.log.Warn("more retained messages changed than are remembered: all are sent again")
	if err := p.b.subscribeOutward(p.link, 0); err != nil {
		return fmt.Errorf("local session: %w", err)
	}
	return nil
}

// deliver appends one delivery to the outbox.
func (p *outward) deliver(ctx context.Context, d *broker.Delivery) error {
	if d.Release {
		p.mu.Lock()
		p.flight[d.PacketID] = flight{qos: 2, wire: 2, sent: p.now(), rule: noRule}
		p.mu.Unlock()
		buf := p.out.lock()
		p.out.unlock(mqtt.AppendAck(buf, p.level.version, mqtt.PUBREL, d.PacketID, mqtt.Success))
		return nil
	}
	to := p.router.route(d.Message.Topic)
	reason := ""
	switch {
	case to.name == "":
		to.rule, reason = noRule, "no_rule"
	case p.b.storm.cut(to.rule):
		reason = "storm"
	default:
		reason = p.b.demands.takes(to.name)
	}
	if reason != "" {
		p.drop(d, to.rule, reason)
		return nil
	}
	if err := p.pace(ctx, p.limit.take(time.Now(), 1)); err != nil {
		return nil
	}
	m := *d.Message
	m.Topic = to.name
	p.mark.origin(&m, d)
	p.frame.Set(&m, p.level.version)
	retain := d.Retain && !p.b.o.StripRetain && !p.b.o.Rules[to.rule].StripRetain
	h := mqtt.Header{
		Dup: d.Dup, QoS: min(d.QoS, p.limits.maxQoS), PacketID: d.PacketID,
		Retain: retain && p.limits.retain, HasExpiry: d.HasExpiry, Expiry: d.Expiry,
	}
	h.Dup = h.Dup && h.QoS > 0
	if reason, answer := p.excess(d, retain, p.frame.Size(h)); reason != "" {
		p.exclude(d, to.rule, reason, answer)
		return nil
	}
	if p.bytes.rate > 0 {
		if err := p.pace(ctx, p.bytes.take(time.Now(), p.frame.Size(h))); err != nil {
			return nil
		}
	}
	p.alias(&h, to.name)
	if h.QoS > 0 {
		p.mu.Lock()
		p.flight[d.PacketID] = flight{qos: d.QoS, wire: h.QoS, sent: p.now(), rule: int32(to.rule), name: d.Message.Topic}
		p.mu.Unlock()
	}
	if p.echo != nil && p.b.o.Rules[to.rule].inward() {
		p.echo.sent(to.name, m.Payload, p.now())
	}
	buf := p.out.lock()
	buf = p.frame.Append(buf, h)
	n := len(buf)
	p.out.unlock(buf)
	if d.QoS == 0 && d.Retain {
		p.recent.add(*d, p.now(), p.lastRead.Load())
	}
	p.b.count.out.Add(1)
	p.b.count.rules[to.rule].out.Add(1)
	if h.QoS < d.QoS {
		p.b.count.lowered.Add(1)
	}
	if retain && !p.limits.retain {
		p.b.count.stripped.Add(1)
	}
	p.lastMessage.Store(p.now())
	if d.Dup {
		p.b.count.retried.Add(1)
	}
	p.b.storm.carried(to.rule, false, d.Message.Topic, m.Payload, p.now())
	if h.QoS == 0 && d.QoS > 0 {
		p.finish(d.PacketID, d.QoS)
	}
	if n >= outboxRoom {
		if p.out.wait(ctx) != nil {
			return nil
		}
	}
	return nil
}

// alias uses a topic alias for topics that repeat, as far as the centre grants
// them.
func (p *outward) alias(h *mqtt.Header, name string) {
	if p.limits.aliases == 0 {
		return
	}
	if a, ok := p.aliases[name]; ok {
		h.TopicAlias, h.OmitTopic = a, true
		return
	}
	if p.aliases == nil {
		p.aliases = map[string]uint16{}
	}
	if n := len(p.aliases); n < int(p.limits.aliases) {
		p.aliases[name] = uint16(n + 1)
		h.TopicAlias = uint16(n + 1)
	}
}

// drop finishes a delivery that cannot cross, and counts it.
func (p *outward) drop(d *broker.Delivery, rule int, reason string) {
	p.b.count.dropped(rule, reason)
	if p.b.log.Enabled(context.Background(), -4) {
		p.b.log.Debug("message does not cross the bridge", "topic", d.Message.Topic, "reason", reason)
	}
	if d.QoS > 0 {
		p.finish(d.PacketID, d.QoS)
	}
}

// finish ends a delivery for the link without an exchange with the centre.
func (c *conn) finish(pid mqtt.PacketID, qos mqtt.QoS) {
	if qos == 1 {
		c.local(c.link.Ack(pid, mqtt.Success))
		return
	}
	c.local(c.link.Rec(pid, mqtt.Success, func(err error) {
		if err == nil {
			c.local(c.link.Comp(pid))
		}
	}))
}

// pace holds the pump back to the configured rate. What had queued up is held
// back by the link, which the rest passes.
func (p *outward) pace(ctx context.Context, wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	p.out.flush()
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// puback is the centre's answer at QoS 1.
func (c *conn) puback(pid mqtt.PacketID, code mqtt.ReasonCode) error {
	f, ok := c.landed(pid, 1)
	if !ok {
		if c.answer(pid, nil) {
			return nil
		}
		c.b.log.Debug("PUBACK for an unknown packet id", "packet_id", uint16(pid))
		return nil
	}
	if code.Failed() {
		return c.refused(pid, f, code)
	}
	c.b.count.acked(c.now() - f.sent)
	c.finish(pid, f.qos)
	c.settled()
	return nil
}

// landed takes a delivery out of flight when it went out with that QoS.
func (c *conn) landed(pid mqtt.PacketID, wire mqtt.QoS) (flight, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.flight[pid]
	if !ok || f.wire != wire {
		return flight{}, false
	}
	delete(c.flight, pid)
	return f, true
}

// pubrec is the centre's first answer at QoS 2. PUBREL leaves when it is
// durable here that the message must not be sent again.
func (c *conn) pubrec(pid mqtt.PacketID, code mqtt.ReasonCode) error {
	c.mu.Lock()
	f, ok := c.flight[pid]
	if ok && f.wire == 2 {
		f.sent, f.held = c.now(), !code.Failed() && c.waiting[f.name]
		c.flight[pid] = f
	}
	c.mu.Unlock()
	switch {
	case !ok || f.wire != 2:
		// Not ours any more: let the centre finish [MQTT-4.3.3].
		buf := c.out.lock()
		c.out.unlock(mqtt.AppendAck(buf, c.level.version, mqtt.PUBREL, pid, mqtt.PacketIDNotFound))
		c.out.flush()
		return nil
	case code.Failed():
		c.landed(pid, 2)
		return c.refused(pid, f, code)
	case f.held:
		c.settled()
		return nil
	}
	c.local(c.link.Rec(pid, code, func(err error) {
		if err != nil {
			c.local(err)
			return
		}
		c.sendRelease(pid)
	}))
	return nil
}

func (c *conn) pubcomp(pid mqtt.PacketID) {
	f, ok := c.landed(pid, 2)
	if !ok {
		return
	}
	c.b.count.acked(c.now() - f.sent)
	c.local(c.link.Comp(pid))
	c.settled()
}

// local ends the connection when the local session does not know what the
// centre answers: the next one begins with what is really under way.
func (c *conn) local(err error) {
	if err != nil {
		c.fail(fmt.Errorf("local session: %w", err))
	}
}

// refused is a message the centre does not take.
func (c *conn) refused(pid mqtt.PacketID, f flight, code mqtt.ReasonCode) error {
	if code == mqtt.QuotaExceeded || code == mqtt.ImplementationSpecificError {
		c.link.Refused(pid)
		c.full(f.name, code)
		return nil
	}
	c.b.count.dropped(int(f.rule), "refused_by_centre")
	c.b.log.Warn("the centre refused a message", "packet_id", uint16(pid), "reason", code.String())
	if f.qos == 1 {
		c.local(c.link.Ack(pid, code))
	} else {
		c.local(c.link.Rec(pid, code, func(error) {}))
	}
	return nil
}

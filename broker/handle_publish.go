package broker

import (
	"errors"
	"fmt"

	"gatewayd/mqtt"
	"gatewayd/store"
	"gatewayd/topic"
)

// busyPublish is a publish that waits until the store has room. It keeps the
// packet.
type busyPublish struct{ packet []byte }

// onPublish handles PUBLISH [MQTT5 3.3].
func (c *conn) onPublish(b []byte, t *turn) error {
	p := &t.publish
	if err := p.Decode(c.version, b); err != nil {
		return err
	}
	if c.in != nil && len(c.in.busy) > 0 && p.QoS > 0 {
		// Earlier ones wait for the store: this one waits behind them.
		c.wait(b)
		return nil
	}
	err := c.publish(t, p)
	if errors.Is(err, store.ErrBusy) {
		c.wait(b)
		c.b.busy.add(c)
		return nil
	}
	return err
}

// maxBusyBytes is what a client's publishes that wait for the store may take of
// memory before its socket is not read any more.
const maxBusyBytes = 256 << 10

// wait keeps a publish until the store has room. When as many wait as the
// client may have under way, or as large ones, the socket is not read any more.
func (c *conn) wait(b []byte) {
	in := c.inboundOf()
	in.busy = append(in.busy, &busyPublish{append([]byte(nil), b...)})
	size := 0
	for _, p := range in.busy {
		size += len(p.packet)
	}
	if len(in.busy) >= c.set.Rules.MaxInflight || size >= maxBusyBytes {
		c.parked = true
	}
}

// retry goes on with publishes that waited for the store. The reader calls it.
func (c *conn) retry(t *turn) {
	if c.state != connected {
		return
	}
	if c.in != nil && !c.retryBusy(t, c.in) {
		return
	}
	if c.large != nil {
		c.retryLarge(t)
	} else if c.parked {
		c.unpark(t)
	}
}

// retryBusy publishes what waited for the store, as far as it goes.
func (c *conn) retryBusy(t *turn, in *inbound) (all bool) {
	was := c.ours
	c.ours = true
	defer func() { c.ours = was }()
	for len(in.busy) > 0 {
		if err := t.publish.Decode(c.version, in.busy[0].packet); err == nil {
			err = c.publish(t, &t.publish)
			if errors.Is(err, store.ErrBusy) {
				c.b.busy.add(c)
				return false
			}
			if err != nil {
				c.fail(t, err)
				return false
			}
		}
		in.busy[0] = nil
		in.busy = in.busy[1:]
	}
	in.busy = nil
	return true
}

// publish checks and routes a PUBLISH. With ErrBusy nothing has happened.
func (c *conn) publish(t *turn, p *mqtt.Publish) error {
	set := c.set
	name, err := c.topicOf(p)
	if err != nil {
		return err
	}
	if p.QoS > *set.MaxQoS { // [MQTT-3.2.2-11]
		return reasonError(mqtt.QoSNotSupported, "QoS %d is not available", p.QoS)
	}
	if p.Retain && set.NoRetain { // [MQTT-3.2.2-14]
		return reasonError(mqtt.RetainNotSupported, "retained messages are not available")
	}
	if p.Properties != nil && len(p.Properties.SubscriptionIDs) > 0 { // [MQTT-3.3.4-6]
		return protocolError("a client's PUBLISH with a subscription identifier")
	}
	r, code, err := c.admit(t, p, name)
	if err != nil {
		return err
	}
	if r == nil {
		return c.refusePublish(t, p, code)
	}
	if c.tooLarge(p) {
		return c.tooLong(t, p)
	}
	if p.QoS == 2 {
		c.sess.fault("in.publish.received")
		if done, err := c.repeated(t, p, r.topic); done || err != nil {
			return err
		}
	}
	if code.Failed() {
		return c.refusePublish(t, p, code)
	}
	if p.Later > 0 && !r.streams(c.sess) {
		return errWhole
	}

	var expires int64
	if p.Properties != nil && p.Properties.Has(mqtt.PropMessageExpiry) {
		expires = t.now + int64(p.Properties.MessageExpiry)*1000
	}
	view := mqtt.Message{Payload: p.Payload, QoS: p.QoS, Retain: p.Retain}
	if p.Properties != nil {
		view.Properties = p.Properties.Travelling()
	}
	if p.Later > 0 {
		view.Payload, view.Later = nil, len(p.Payload)+p.Later
	}
	t.out.set(view, r.topic, c.client.ID, t.now, expires)
	t.out.ours = c.ours
	if p.Later > 0 {
		t.out.body = c.large.stream.Body()
	}
	if p.Retain {
		t.out.source = t.sourceOf(c.client)
	}
	t.counts.publishIn(len(p.Payload) + p.Later)
	return c.route(t, p, r)
}

// admit finds the route and asks whether the client may publish there.
func (c *conn) admit(t *turn, p *mqtt.Publish, name string) (*route, mqtt.ReasonCode, error) {
	if c.set.MountPoint != "" {
		name = c.set.MountPoint + name
	}
	last := c.lastPub
	if last != nil && !p.Retain && last.topic == name && last.gen == c.b.gen.Load() && !c.b.memory.refusePublishers() {
		c.stays = true
		return last, mqtt.Success, nil
	}
	c.stays = false
	r := t.cached(name)
	if r == nil {
		// A name that is known was checked before.
		if err := c.checkName(name); err != nil {
			if errors.Is(err, topic.ErrLevels) {
				return nil, mqtt.TopicNameInvalid, nil // not wrong, but more than we take
			}
			return nil, 0, err
		}
		if p.Retain && p.QoS < 2 { // of QoS 2 the op may need it for longer
			r = t.routeOnce(name)
		} else {
			r = t.routeOf(name)
		}
	}
	if c.b.memory.refusePublishers() {
		return r, mqtt.QuotaExceeded, nil
	}
	if !clientTopic(name) || !c.b.mayPublish(c.client, c.unmounted(r.topic), p.QoS, p.Retain) {
		return r, mqtt.NotAuthorized, nil
	}
	if !p.Retain {
		c.lastPub = r
	}
	return r, mqtt.Success, nil
}

// clientTopic says whether clients may publish to the topic at all: what the
// broker says of itself is its own, but for the notices of bridges.
func clientTopic(name string) bool {
	const sys, bridges = "$SYS", "$SYS/broker/connection/"
	if len(name) < len(sys) || name[:len(sys)] != sys {
		return true
	}
	return len(name) > len(bridges) && name[:len(bridges)] == bridges
}

// topicOf returns the topic name of a PUBLISH, topic alias resolved
// [MQTT5 3.3.2.3.4]. It may alias the packet.
func (c *conn) topicOf(p *mqtt.Publish) (string, error) {
	if p.Properties == nil || p.Properties.TopicAlias == 0 {
		return p.Topic, nil
	}
	alias, max := p.Properties.TopicAlias, *c.set.MaxTopicAlias
	if alias > max { // [MQTT-3.3.2-9]
		return "", reasonError(mqtt.TopicAliasInvalid, "topic alias %d is above %d", alias, max)
	}
	in := c.inboundOf()
	if p.Topic != "" {
		if err := c.checkName(p.Topic); err != nil {
			return "", err
		}
		for len(in.aliases) < int(alias) {
			in.aliases = append(in.aliases, "")
		}
		name := string([]byte(p.Topic))
		c.aliasBytes += len(name) - len(in.aliases[alias-1])
		in.aliases[alias-1] = name
		return name, nil
	}
	if int(alias) > len(in.aliases) || in.aliases[alias-1] == "" {
		return "", reasonError(mqtt.ProtocolError, "topic alias %d is not known", alias)
	}
	return in.aliases[alias-1], nil
}

// checkName checks a topic name within the listener's bounds.
func (c *conn) checkName(name string) error {
	if err := c.set.Rules.limits().Name(name); err != nil {
		return &mqtt.ReasonError{Code: mqtt.TopicNameInvalid, Err: err}
	}
	return nil
}

// tooLarge says whether a payload is above the listener's bound.
func (c *conn) tooLarge(p *mqtt.Publish) bool {
	max := c.set.MaxMessageSize
	return max > 0 && len(p.Payload)+p.Later > max
}

// tooLong answers a publish with a payload above the listener's bound: it goes to
// nobody. 3.x, which cannot be told, is acknowledged as Mosquitto does it.
func (c *conn) tooLong(t *turn, p *mqtt.Publish) error {
	code := mqtt.QuotaExceeded
	if c.version != mqtt.V5 {
		code = mqtt.NotAuthorized
	}
	return c.refusePublish(t, p, code)
}

// refusePublish answers a publish that is not accepted. 3.x has no way to say
// so: where it is a matter of rights the message is swallowed, as Mosquitto
// does; a full queue closes the connection.
func (c *conn) refusePublish(t *turn, p *mqtt.Publish, code mqtt.ReasonCode) error {
	t.counts.refused++
	if p.QoS == 0 {
		return nil
	}
	if c.version != mqtt.V5 {
		if code != mqtt.NotAuthorized {
			return reasonError(code, "publish refused")
		}
		code = mqtt.Success
	}
	op := c.b.newOp()
	op.c, op.s, op.pid, op.code, op.kind = c, c.sess, p.ID, code, mqtt.PUBACK
	in := c.inboundOf()
	in.count(1)
	if p.QoS == 2 {
		op.kind = mqtt.PUBREC
		if !code.Failed() { // swallowed: PUBREL will come
			op.hold = false
			c.sess.mu.Lock()
			c.sess.holds.put(p.ID, hold{state: holdDone, digest: digest(p.Topic, p.Payload, p.Later)})
			c.sess.mu.Unlock()
		}
	}
	in.enqueue(op)
	in.ready(t, op)
	return nil
}

// route decides on t.out, a message of this client.
func (c *conn) route(t *turn, p *mqtt.Publish, r *route) error {
	from := origin{s: c.sess, client: c.client}
	if p.QoS == 0 && !p.Retain && r.simple {
		c.b.fanOut(t, r, c.sess)
		return nil
	}
	if p.QoS > 0 {
		if err := c.quota(); err != nil {
			return err
		}
	}
	if c.volatile(p, r) {
		return c.routeVolatile(t, p, r, nil)
	}
	op := c.opOf(p, r)
	c.b.prepare(t, op, r, from)
	if !op.fill(t, from) {
		return c.routeVolatile(t, p, r, op)
	}
	if op.hold && c.sess.keeps.Load() {
		op.batch.Hold(c.sess.key, uint16(p.ID), digest(r.topic, p.Payload, p.Later))
	}
	if err := op.submit(); err != nil {
		op.undo()
		code := codeOfStore(err)
		op.free()
		if errors.Is(err, store.ErrBusy) {
			return err
		}
		if c.version != mqtt.V5 || errors.Is(err, store.ErrQuotaClose) {
			if p.QoS == 0 {
				t.counts.dropped++
				return nil
			}
			return storeError(err)
		}
		return c.refusePublish(t, p, code)
	}
	if c.large != nil {
		c.large.taken = t.out.body != nil
	}
	if op.hold {
		c.sess.fault("in.hold.submitted")
	}
	op.fn = (*turn).ackReceipt
	if p.QoS == 0 {
		c.b.settle(t, r, c.sess)
		c.b.settleOthers(t, op.other)
		op.offerAll(t, false)
		op.fn = (*turn).localReceipt
		op.launched(t)
		return nil
	}
	in := c.inboundOf()
	in.count(1)
	in.enqueue(op)
	if p.QoS == 1 {
		c.b.settle(t, r, c.sess)
		c.b.settleOthers(t, op.other)
		op.offerAll(t, false)
	} else {
		c.sess.mu.Lock()
		c.sess.holds.put(p.ID, hold{state: holdPending, op: op, digest: digest(r.topic, p.Payload, p.Later), stored: c.sess.durable()})
		c.sess.mu.Unlock()
	}
	op.launched(t)
	return nil
}

// opOf makes the op of a publish.
func (c *conn) opOf(p *mqtt.Publish, r *route) *pubOp {
	op := c.b.newOp()
	op.c, op.s, op.pid = c, c.sess, p.ID
	op.route, op.qos, op.late = r, p.QoS, p.QoS == 2
	op.kind, op.code = mqtt.PUBACK, c.success(p.QoS, r)
	if p.QoS == 2 {
		op.kind, op.hold = mqtt.PUBREC, true
	}
	return op
}

// success is the code that answers a publish that was routed.
func (c *conn) success(qos mqtt.QoS, r *route) mqtt.ReasonCode {
	if c.version == mqtt.V5 && r.empty() && (qos == 1 || !c.set.Terse) {
		return mqtt.NoMatchingSubscribers
	}
	return mqtt.Success
}

// volatile says of most messages that need nothing durable that they do not,
// before there is an op.
func (c *conn) volatile(p *mqtt.Publish, r *route) bool {
	if len(r.groups) > 0 || p.QoS == 2 && c.sess.keeps.Load() {
		return false
	}
	for i := range r.targets {
		if r.targets[i].s.keeps.Load() {
			return false
		}
	}
	return !p.Retain || c.b.opt().retainedClass(r.class, p.QoS == 0, false) == store.Memory
}

// routeVolatile routes a message nothing of which has to be durable. op is nil if
// nobody needed one yet.
func (c *conn) routeVolatile(t *turn, p *mqtt.Publish, r *route, op *pubOp) error {
	b, s := c.b, c.sess
	var in *inbound
	if p.QoS > 0 {
		in = c.inboundOf()
	}
	if p.QoS == 2 && !in.idle(mqtt.PUBREC) {
		// Earlier messages of QoS 2 wait for their receipts: keep the order.
		if op == nil {
			op = c.opOf(p, r)
		}
		op.msg = t.out.keep()
		s.mu.Lock()
		s.holds.put(p.ID, hold{state: holdPending, op: op, digest: digest(op.msg.Topic, p.Payload, p.Later)})
		s.mu.Unlock()
		in.count(1)
		in.enqueue(op)
		in.ready(t, op)
		return nil
	}
	b.settle(t, r, s)
	if op != nil {
		b.settleOthers(t, op.other)
	}
	switch {
	case p.QoS == 2:
		in.count(1) // until PUBREL
		s.mu.Lock()
		s.holds.put(p.ID, hold{state: holdDone, digest: digest(r.topic, p.Payload, p.Later)})
		c.answerLocked(t, mqtt.PUBREC, p.ID, c.success(2, r))
		s.mu.Unlock()
	case p.QoS == 1 && in.idle(mqtt.PUBACK):
		s.mu.Lock()
		c.answerLocked(t, mqtt.PUBACK, p.ID, c.success(1, r))
		s.mu.Unlock()
	case p.QoS == 1:
		if op == nil {
			op = c.opOf(p, r)
		}
		in.count(1)
		in.enqueue(op)
		in.ready(t, op)
		return nil
	}
	if op != nil {
		op.free()
	}
	return nil
}

// maxWindow bounds what one session has under way in either direction.
const maxWindow = store.MaxWindow

// quota enforces our Receive Maximum [MQTT-3.3.4-9]; what 3.x sends is bounded
// by not reading on.
func (c *conn) quota() error {
	n := c.in.pending()
	if c.version == mqtt.V5 {
		if n >= c.set.Rules.MaxInflight {
			return reasonError(mqtt.ReceiveMaximumExceeded, "more than %d messages under way", c.set.Rules.MaxInflight)
		}
		return nil
	}
	if n >= 65535 {
		return reasonError(mqtt.ReceiveMaximumExceeded, "too many messages under way")
	}
	return nil
}

// held says whether the packet id is held by this very message.
func (c *conn) held(p *mqtt.Publish, name string) bool {
	c.sess.mu.Lock()
	defer c.sess.mu.Unlock()
	h, held := c.sess.holds.get(p.ID)
	return held && (p.Dup || h.digest == digest(name, p.Payload, p.Later) || h.state != holdDone)
}

// repeated handles a PUBLISH under a packet id that is held: a repeat is
// answered as the original is, and not routed again [MQTT-4.3.3-10]. A message
// with DUP=0 and other content is new: the client has lost its memory.
func (c *conn) repeated(t *turn, p *mqtt.Publish, name string) (done bool, err error) {
	s := c.sess
	s.mu.Lock()
	h, held := s.holds.get(p.ID)
	if !held {
		n := s.holds.len()
		s.mu.Unlock()
		if n >= maxWindow { // of earlier connections too, and of 3.x, which has no Receive Maximum
			return false, reasonError(mqtt.ReceiveMaximumExceeded, "more than %d messages not released", maxWindow)
		}
		return false, nil
	}
	if !p.Dup && h.digest != digest(name, p.Payload, p.Later) && h.state == holdDone {
		// The new message's hold replaces this one, in the store too.
		s.holds.drop(p.ID)
		s.mu.Unlock()
		c.in.count(-1)
		return false, nil
	}
	op := c.b.newOp()
	op.c, op.s, op.pid, op.kind = c, s, p.ID, mqtt.PUBREC
	in := c.inboundOf()
	wait := h.state == holdPending && h.op != nil
	if wait {
		h.op.joins = append(h.op.joins, op)
	}
	in.enqueue(op)
	s.mu.Unlock()
	if !wait {
		in.ready(t, op)
	}
	return true, nil
}

// ackReceipt is what the receipt of a client's publish or release leads to.
func (t *turn) ackReceipt(op *pubOp) { op.list.ready(t, op) }

func codeOfStore(err error) mqtt.ReasonCode {
	switch {
	case err == nil:
		return mqtt.Success
	case errors.Is(err, store.ErrQuota):
		return mqtt.QuotaExceeded
	case errors.Is(err, store.ErrTooLarge):
		return mqtt.QuotaExceeded
	}
	return mqtt.UnspecifiedError
}

func storeError(err error) error {
	if err == nil {
		err = errors.New("refused")
	}
	return &mqtt.ReasonError{Code: codeOfStore(err), Err: err}
}

func reasonError(code mqtt.ReasonCode, format string, args ...any) error {
	return &mqtt.ReasonError{Code: code, Err: fmt.Errorf(format, args...)}
}

func protocolError(what string) error {
	return &mqtt.ReasonError{Code: mqtt.ProtocolError, Err: errors.New(what)}
}

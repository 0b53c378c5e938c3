package broker

import (
	"errors"

	"gatewayd/mqtt"
	"gatewayd/store"
)

// onPuback handles PUBACK: the client has the message [MQTT-4.3.2-3].
func (c *conn) onPuback(b []byte, t *turn) error {
	if err := t.ack.Decode(c.version, b); err != nil {
		return err
	}
	return c.sess.acked(t, t.ack.ID, false)
}

// acked finishes a QoS 1 delivery. With others to come, whoever calls it sends
// what the freed slots have room for.
func (s *session) acked(t *turn, pid mqtt.PacketID, others bool) error {
	s.mu.Lock()
	i := s.flow.findLocked(pid)
	if i < 0 || !s.flow.flight[i].wire {
		s.mu.Unlock()
		return nil // late, from before a restart or an expiry
	}
	if s.flow.flight[i].qos != 1 {
		s.mu.Unlock()
		return protocolError("PUBACK for a QoS 2 delivery")
	}
	s.finishLocked(t, i)
	s.nextLocked(t, others)
	return nil
}

// nextLocked is moreLocked unless others are to come, and unlocks.
func (s *session) nextLocked(t *turn, others bool) {
	if others {
		s.mu.Unlock()
		return
	}
	s.moreLocked(t)
}

// moreLocked sends what a freed slot of the window has room for, and unlocks.
func (s *session) moreLocked(t *turn) {
	f := s.flow
	if f != nil {
		s.sendIdleLocked(t)
		if f.queue.len() > 0 {
			s.pumpLocked(t, &t.out2)
		}
	}
	refill := s.wantsRefillLocked()
	replay := len(s.replay) > 0
	s.mu.Unlock()
	if refill {
		s.b.startRefill(s)
	}
	if replay {
		s.b.replay(t, s)
	}
}

// onPubrec handles PUBREC [MQTT-4.3.3-4].
func (c *conn) onPubrec(b []byte, t *turn) error {
	if err := t.rec.Decode(c.version, b); err != nil {
		return err
	}
	return c.received(t, t.rec.ID, t.rec.Code)
}

func (c *conn) received(t *turn, pid mqtt.PacketID, code mqtt.ReasonCode) error {
	s := c.sess
	s.fault("out.pubrec.received")
	s.mu.Lock()
	i := s.flow.findLocked(pid)
	if i < 0 {
		s.mu.Unlock()
		if code.Failed() {
			return nil
		}
		return c.answerRelease(t, pid, mqtt.PacketIDNotFound)
	}
	d := &s.flow.flight[i]
	switch {
	case d.qos != 2:
		s.mu.Unlock()
		return protocolError("PUBREC for a QoS 1 delivery")
	case d.state == binding || d.state == published && !d.wire:
		s.mu.Unlock()
		return nil // was not sent on this connection: it is, or will be
	case code.Failed(): // the client will not have it [MQTT5 4.3.3]
		s.finishLocked(t, i)
		s.moreLocked(t)
		return nil
	case d.state == releasing: // PUBREL is on its way
		s.mu.Unlock()
		return nil
	case d.state == released:
		s.mu.Unlock()
		return c.answerRelease(t, pid, mqtt.Success)
	case d.id == 0 && !s.durable():
		d.state = released
		s.flow.forgetMessageLocked(d)
		if c.inboundOf().idle(mqtt.PUBREL) {
			c.answerLocked(t, mqtt.PUBREL, pid, mqtt.Success)
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		return c.answerRelease(t, pid, mqtt.Success)
	}
	d.state = releasing
	s.flow.forgetMessageLocked(d)
	key := s.key
	s.mu.Unlock()
	op := c.b.newOp()
	op.c, op.s, op.pid, op.kind, op.fn = c, s, pid, mqtt.PUBREL, (*turn).ackReceipt
	op.batch.Released(key, uint16(pid))
	c.inboundOf().enqueue(op)
	c.b.submitOrRetry(op)
	s.fault("out.released.submitted")
	return nil
}

// answerRelease sends PUBREL in its order.
func (c *conn) answerRelease(t *turn, pid mqtt.PacketID, code mqtt.ReasonCode) error {
	in := c.inboundOf()
	if in.idle(mqtt.PUBREL) {
		c.sess.mu.Lock()
		if c.sess.conn == c {
			c.sess.sendAckLocked(t, mqtt.PUBREL, pid, code)
		}
		c.sess.mu.Unlock()
		return nil
	}
	op := c.b.newOp()
	op.c, op.s, op.pid, op.kind, op.code = c, c.sess, pid, mqtt.PUBREL, code
	in.enqueue(op)
	in.ready(t, op)
	return nil
}

// answerPubrel sends PUBREL once `released` is durable: after it the PUBLISH must
// never be repeated, not even after a power cut.
func (op *pubOp) answerPubrel(t *turn) {
	s := op.s
	if op.fn != nil { // it was submitted
		s.fault("out.released.durable")
	}
	if op.done != nil {
		defer op.done(op.err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.flow.findLocked(op.pid); i >= 0 && op.code == mqtt.Success {
		d := &s.flow.flight[i]
		if d.state == releasing {
			d.state = released
		}
		if !d.wire {
			s.sendIdleLocked(t)
		}
		// Whoever has come back since sends PUBREL again when it resumes.
	}
	if op.c != nil && s.conn == op.c && s.live && op.err == nil {
		s.sendAckLocked(t, mqtt.PUBREL, op.pid, op.code)
	}
}

// onPubcomp handles PUBCOMP: the delivery is complete.
func (c *conn) onPubcomp(b []byte, t *turn) error {
	if err := t.comp.Decode(c.version, b); err != nil {
		return err
	}
	return c.sess.completed(t, t.comp.ID, false)
}

// completed finishes a QoS 2 delivery, as acked does one of QoS 1.
func (s *session) completed(t *turn, pid mqtt.PacketID, others bool) error {
	s.fault("out.pubcomp.received")
	s.mu.Lock()
	i := s.flow.findLocked(pid)
	if i < 0 {
		s.mu.Unlock()
		return nil
	}
	if d := &s.flow.flight[i]; d.qos != 2 || d.state != released {
		qos, unanswered := d.qos, d.state == published && d.wire
		s.mu.Unlock()
		switch {
		case qos != 2:
			return protocolError("PUBCOMP for a QoS 1 delivery")
		case unanswered:
			return protocolError("PUBCOMP before PUBREC")
		}
		return nil
	}
	s.finishLocked(t, i)
	s.nextLocked(t, others)
	return nil
}

// onPubrel handles PUBREL: the packet id is free for the next message once
// PUBCOMP was sent [MQTT-4.3.3-11].
func (c *conn) onPubrel(b []byte, t *turn) error {
	if err := t.rel.Decode(c.version, b); err != nil {
		return err
	}
	pid, s, in := t.rel.ID, c.sess, c.inboundOf()
	s.fault("in.pubrel.received")
	s.mu.Lock()
	h, held := s.holds.get(pid)
	if held && h.state == holdPending {
		s.mu.Unlock()
		return protocolError("PUBREL before PUBREC")
	}
	code := mqtt.Success
	if !held && c.version == mqtt.V5 {
		code = mqtt.PacketIDNotFound
	}
	if !held || h.state == holdDone && !h.stored {
		s.holds.drop(pid)
		if in.idle(mqtt.PUBCOMP) {
			in.count(-1)
			c.answerLocked(t, mqtt.PUBCOMP, pid, code)
			s.mu.Unlock()
			return nil
		}
	}
	op := c.b.newOp()
	op.c, op.s, op.pid, op.kind, op.code = c, s, pid, mqtt.PUBCOMP, code
	switch {
	case held && h.state == holdReleasing:
		// Joins the receipt of the first PUBREL.
		h.op.joins = append(h.op.joins, op)
		in.enqueue(op)
		s.mu.Unlock()
		return nil
	case held && h.stored:
		h.state, h.op = holdReleasing, op
		s.holds.put(pid, h)
		op.hold = true
		op.batch.Release(s.key, uint16(pid))
		op.fn = (*turn).ackReceipt
		s.mu.Unlock()
		in.enqueue(op)
		c.b.submitOrRetry(op)
		s.fault("in.release.submitted")
		return nil
	}
	s.mu.Unlock()
	in.enqueue(op)
	in.ready(t, op)
	return nil
}

// submitOrRetry hands over an op that no one can be made to wait for. While the
// store is busy it is tried again after each round of receipts.
func (b *Broker) submitOrRetry(op *pubOp) {
	b.stuck.mu.Lock()
	waiting := len(b.stuck.ops) > 0
	if waiting {
		b.stuck.ops = append(b.stuck.ops, op)
	}
	b.stuck.mu.Unlock()
	if waiting {
		return
	}
	err := op.hand()
	switch {
	case err == nil:
	case errors.Is(err, store.ErrBusy):
		b.stuck.mu.Lock()
		b.stuck.ops = append(b.stuck.ops, op)
		b.stuck.mu.Unlock()
	default:
		b.receipts.add(op, store.Receipt{Err: err})
	}
}

// hand is submit for those who have nothing more to do with the op.
func (op *pubOp) hand() error { return op.b.store.TrySubmit(&op.batch, op.receipt) }

// retryStuck submits what was stuck while the store was busy.
func (b *Broker) retryStuck() {
	b.stuck.mu.Lock()
	ops := b.stuck.ops
	b.stuck.ops = nil
	b.stuck.mu.Unlock()
	for i, op := range ops {
		err := op.hand()
		if errors.Is(err, store.ErrBusy) {
			b.stuck.mu.Lock()
			b.stuck.ops = append(append([]*pubOp(nil), ops[i:]...), b.stuck.ops...)
			b.stuck.mu.Unlock()
			return
		}
		if err != nil {
			b.receipts.add(op, store.Receipt{Err: err})
		}
	}
}

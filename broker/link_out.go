package broker

import (
	"context"

	"gatewayd/mqtt"
)

// Resume starts the deliveries, from the beginning of what is under way: the
// remote is there. window is its Receive Maximum. What Next had ready before is
// dropped.
func (l *Link) Resume(window int) {
	s := l.s
	last := l.b.store.LastID()
	t := l.b.takeTurn()
	defer l.b.giveTurn(t)
	s.mu.Lock()
	if s.link != l {
		s.mu.Unlock()
		return
	}
	if f := s.flow; f != nil && f.lanes != nil {
		f.lanes.horizon = last
	}
	l.ready, l.qos0 = nil, 0
	s.flow.offlineLocked()
	s.window = uint16(min(max(window, 1), maxWindow))
	s.live = true
	s.moreLocked(t)
}

// Pause stops the deliveries: the remote is gone. What was handed out and not
// finished is handed out again after Resume.
func (l *Link) Pause() {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return
	}
	s.live = false
	l.ready, l.qos0 = nil, 0
	s.flow.offlineLocked()
}

// Next waits for the next step. One goroutine at a time may call it.
func (l *Link) Next(ctx context.Context) (Delivery, error) {
	for {
		d, ok, err := l.take()
		if ok || err != nil {
			return d, err
		}
		select {
		case <-ctx.Done():
			return Delivery{}, context.Cause(ctx)
		case <-l.wake:
		}
	}
}

// TryNext is Next that does not wait.
func (l *Link) TryNext() (Delivery, bool) {
	d, ok, _ := l.take()
	return d, ok
}

func (l *Link) take() (d Delivery, ok bool, err error) {
	l.s.mu.Lock()
	if len(l.ready) == 0 {
		if l.closed {
			err = ErrLinkClosed
		}
		l.s.mu.Unlock()
		return d, false, err
	}
	d = l.ready[0]
	l.ready[0] = Delivery{}
	l.ready = l.ready[1:]
	if d.QoS == 0 && !d.Release {
		l.qos0--
	}
	l.s.mu.Unlock()
	if d.received != 0 {
		d.Origin = l.origin(d.received)
		d.Retain = d.Retain && !l.stale(&d)
	}
	return d, true, nil
}

// pushLocked hands a delivery to Next. It reports false when it is dropped.
func (l *Link) pushLocked(m *message, d *delivery, now int64) bool {
	if d.qos == 0 {
		if l.qos0 >= l.opts.MaxQoS0 {
			l.drops.QoS0++
			return false
		}
		l.qos0++
	}
	x := Delivery{
		PacketID: d.pid, QoS: d.qos, Retain: d.opts&optRetain != 0, Dup: d.tried && d.qos > 0, Message: &m.Message,
		SubscriptionIDs: d.ids, Publisher: m.publisher, Received: d.opts&optReplay != 0,
		received: m.at,
	}
	if m.expires != 0 {
		x.HasExpiry, x.Expiry = true, remaining(m.expires, now)
	}
	l.ready = append(l.ready, x)
	l.signal()
	return true
}

// pushRelease asks for PUBREL. The caller holds the session's mutex.
func (l *Link) pushRelease(pid mqtt.PacketID) {
	l.ready = append(l.ready, Delivery{PacketID: pid, QoS: 2, Release: true})
	l.signal()
}

func (l *Link) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *Link) endLocked() {
	l.closed = true
	l.ready = nil
	l.signal()
}

// Ack finishes a QoS 1 delivery: PUBACK came. A failed code is an answer too.
func (l *Link) Ack(pid mqtt.PacketID, code mqtt.ReasonCode) error {
	t := l.b.takeTurn()
	defer l.b.giveTurn(t)
	return l.s.acked(t, pid, l.gathered.finished())
}

// Refused says that the other end had no room for a delivery, and so does not
// have it: on the next connection it goes out as new, behind those that the
// other end may have. After a restart everything in flight counts as sent, what
// was passed by live messages and never was sent too; a receiver that is full
// of the others would refuse it again and again if it went first. What is
// behind it on its topic stays behind it.
func (l *Link) Refused(pid mqtt.PacketID) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flow
	i := f.findLocked(pid)
	if i < 0 || f.flight[i].msg == nil {
		return
	}
	topic := f.flight[i].msg.Topic
	f.flight[i].tried = false
	for j := i; j < len(f.flight); j++ {
		d := &f.flight[j]
		if d.msg == nil || d.msg.Topic != topic {
			continue
		}
		d.later = true
		if f.lanes.inOrder() && !d.counted { // what comes on this topic does not pass
			f.lanes.waits(topic)
			d.counted = true
		}
	}
}

// Rec takes the PUBREC of a QoS 2 delivery. then runs once PUBREL may be sent;
// with ErrPacketID there is no such delivery. It does not run when code is a
// failure: that ends the delivery.
func (l *Link) Rec(pid mqtt.PacketID, code mqtt.ReasonCode, then func(error)) error {
	s := l.s
	s.fault("out.pubrec.received")
	t := l.b.takeTurn()
	defer l.b.giveTurn(t)
	s.mu.Lock()
	i := s.flow.findLocked(pid)
	if i < 0 {
		s.mu.Unlock()
		if !code.Failed() {
			then(ErrPacketID)
		}
		return nil
	}
	d := &s.flow.flight[i]
	switch {
	case d.qos != 2:
		s.mu.Unlock()
		return protocolError("PUBREC for a QoS 1 delivery")
	case code.Failed():
		s.finishLocked(t, i)
		s.moreLocked(t)
		return nil
	case d.state == released || d.id == 0 && !s.durable():
		d.state = released
		s.flow.forgetMessageLocked(d)
		s.mu.Unlock()
		then(nil)
		return nil
	case d.state == releasing:
		s.mu.Unlock() // the first one's then runs
		return nil
	}
	d.state = releasing
	s.flow.forgetMessageLocked(d)
	key := s.key
	s.mu.Unlock()
	op := l.b.newOp()
	op.s, op.pid, op.kind, op.fn, op.done = s, pid, mqtt.PUBREL, (*turn).releasedReceipt, then
	l.in.enqueue(op)
	l.release(op, key)
	return nil
}

// Comp finishes a QoS 2 delivery: PUBCOMP came.
func (l *Link) Comp(pid mqtt.PacketID) error {
	t := l.b.takeTurn()
	defer l.b.giveTurn(t)
	return l.s.completed(t, pid, l.gathered.finished())
}

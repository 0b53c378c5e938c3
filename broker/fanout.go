package broker

import (
	"gatewayd/mqtt"
	"gatewayd/store"
)

// recipient is one session a message goes to, with what its copy is to look
// like.
type recipient struct {
	s    *session
	qos  mqtt.QoS // of the delivery
	opts uint8
	ids  []uint32
	// Of durable sessions, set by reserve.
	stored bool
	sent   bool          // goes out now; else it waits in the queue
	pid    mqtt.PacketID // QoS 2 that is sent
	key    store.SessionID
	bound  store.MessageID // what pid is bound to, on a refill
	id     store.MessageID // of its copy, once submitted
	copies int             // of the message that its session has ahead of this one
	live   bool            // passes what waits
}

// effective is the QoS of a delivery [MQTT-3.8.4-8].
func effective(published, granted mqtt.QoS, upgrade bool) mqtt.QoS {
	if upgrade {
		return granted
	}
	return min(published, granted)
}

// fanOut delivers t.out to everyone a route names who needs nothing durable
// first: QoS 0 to all, QoS 1 and 2 to sessions that end with their connection.
// Durable recipients were taken care of by reserve.
func (b *Broker) fanOut(t *turn, r *route, from *session) {
	o := &t.out
	published, retain := o.view.QoS, o.view.Retain
	for i := range r.targets {
		tg := &r.targets[i]
		if tg.s == from && (!tg.local || tg.more != nil) {
			if tg = tg.more; tg == nil {
				continue // no local [MQTT-3.8.3-3]
			}
		}
		qos := effective(published, tg.qos, tg.upgrade)
		if qos > 0 && tg.s.keeps.Load() {
			continue
		}
		var opts uint8
		if retain && tg.rap { // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
			opts = optRetain
		}
		b.deliver(t, tg.s, qos, opts, tg.ids)
	}
}

// deliver hands t.out to a session without the store.
func (b *Broker) deliver(t *turn, s *session, qos mqtt.QoS, opts uint8, ids []uint32) {
	s.mu.Lock()
	if qos == 0 {
		s.send0Locked(t, &t.out, opts, ids)
	} else if !s.gone {
		d := delivery{qos: qos, opts: opts, ids: ids}
		s.offerVolatileLocked(t, &t.out, &d)
	}
	s.mu.Unlock()
}

// send0Locked sends at QoS 0, or drops.
func (s *session) send0Locked(t *turn, o *outgoing, opts uint8, ids []uint32) {
	if !s.onlineLocked() {
		return
	}
	if c := s.conn; c != nil && c.waiting+len(o.view.Payload) > s.rules.Load().MaxOutbox && c.waiting > 0 || s.b.memory.dropQoS0() {
		t.counts.dropped++
		return
	}
	d := delivery{opts: opts, ids: ids}
	if !s.sendLocked(t, o, &d) {
		t.counts.dropped++
	}
}

// offerVolatileLocked takes a QoS 1 or 2 delivery for a session whose queue is
// in memory.
func (s *session) offerVolatileLocked(t *turn, o *outgoing, d *delivery) {
	f := s.outLocked()
	if f.queue.len() == 0 && s.onlineLocked() && s.openLocked() && s.roomLocked() {
		s.launchLocked(t, o, d)
		return
	}
	if !s.makeRoomLocked(t, o.topic, d.ids, int64(len(o.view.Payload))) {
		return
	}
	d.msg = o.keep()
	f.queue.push(*d)
	s.heldLocked(d, 1)
}

// launchLocked sends a QoS 1 or 2 delivery that needs nothing durable first. The
// caller has seen that the window is open.
func (s *session) launchLocked(t *turn, o *outgoing, d *delivery) {
	f := s.outLocked()
	d.pid = f.packetIDLocked()
	if s.durable() {
		s.markLocked(t) // a retained message being replayed
	}
	if !s.sendLocked(t, o, d) {
		t.counts.dropped++
		return
	}
	if s.durable() || d.opts&optShared != 0 || s.rules.Load().MaxInflightBytes > 0 {
		d.msg = o.keep()
	} else {
		d.msg = nil // the session ends with the connection: never sent again
	}
	d.wire = true
	if d.from != nil {
		d.from.unacked++
	}
	f.addLocked(d)
}

// pumpLocked sends what waits in memory while the window is open. It uses o as
// scratch.
func (s *session) pumpLocked(t *turn, o *outgoing) {
	f := s.flow
	if f == nil || !s.onlineLocked() {
		return
	}
	for f.queue.len() > 0 && s.openLocked() && s.roomLocked() {
		d := f.queue.pop()
		if !s.unheldLocked(t, &d) {
			continue
		}
		o.setOwned(d.msg)
		if d.qos == 0 {
			s.send0Locked(t, o, d.opts, d.ids)
			continue
		}
		s.launchLocked(t, o, &d)
	}
}

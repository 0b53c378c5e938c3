package broker

import "gatewayd/mqtt"

// sendIdleLocked sends what is in flight but was not sent on this connection, in
// order, within the window. A live QoS 2 message that waits for its receipt is
// passed by: QoS 1 and QoS 2 have orders of their own [MQTT-4.6.0-6], and a
// button reaches a lamp without waiting for the card.
func (s *session) sendIdleLocked(t *turn) {
	f := s.flow
	if f == nil || f.idle == 0 || !s.onlineLocked() {
		return
	}
	if f.lanes != nil {
		s.sendLanesLocked(t)
		return
	}
	s.sendLaneLocked(t, anyLane)
}

// sendLaneLocked is sendIdleLocked for what is in one lane. It reports whether
// another lane may go on.
func (s *session) sendLaneLocked(t *turn, of lane) bool {
	f := s.flow
	wired := len(f.flight) - f.idle
	o := &t.out2
	for f.lead < len(f.flight) && f.flight[f.lead].wire {
		f.lead++
	}
	for i := f.lead; i < len(f.flight) && f.idle > 0; i++ {
		d := &f.flight[i]
		if of != anyLane && d.lane() != of {
			continue
		}
		if d.state == binding && d.id != 0 {
			return false // out of the queue, which keeps its order over all QoS
		}
		if d.state == releasing && !d.wire {
			return false // its PUBREL comes before those of what follows [MQTT-4.6.0-4]
		}
		if d.wire || d.state == binding || d.state == releasing {
			continue
		}
		if wired >= int(s.window) || !s.roomLocked() {
			return false
		}
		if d.state == released {
			s.sendAckLocked(t, mqtt.PUBREL, d.pid, mqtt.Success)
		} else {
			if d.msg.expired(t.now) && !d.tried || !s.sendFrameLocked(t, o, d) {
				// Too large for the client, or too old: as if delivered.
				t.counts.dropped++
				if d.qos > 0 {
					s.link.lostLocked(d.ids, lostExpired)
				}
				s.finishLocked(t, i)
				i--
				continue
			}
		}
		d.wire = true
		f.goneLocked(d)
		f.idle--
		wired++
		f.promoteLocked(i)
	}
	return true
}

// promoteLocked moves a delivery that has just been sent in front of those that
// were not, so that what is in flight stays in the order of sending
// [MQTT-4.6.0-1].
func (f *outflow) promoteLocked(i int) {
	at := i
	for at > 0 && !f.flight[at-1].wire {
		at--
	}
	if at < i {
		d := f.flight[i]
		copy(f.flight[at+1:i+1], f.flight[at:i])
		f.flight[at] = d
	}
}

// sendFrameLocked sends a delivery that carries its own message.
func (s *session) sendFrameLocked(t *turn, o *outgoing, d *delivery) bool {
	if o.owned != d.msg {
		o.setOwned(d.msg)
	}
	return s.sendLocked(t, o, d)
}

// finishLocked takes the i-th delivery out of flight and has the store forget
// it.
func (s *session) finishLocked(t *turn, i int) {
	f := s.flow
	d := &f.flight[i]
	if d.id != 0 {
		if d.qos == 2 && d.state != binding {
			t.done.DonePacket(s.key, uint16(d.pid), d.id)
		}
		t.done.Done(s.key, d.id)
		f.acked = append(f.acked, ackedDelivery{id: d.id})
		t.doneRefs = append(t.doneRefs, doneRef{s, d.id})
	}
	if d.from != nil {
		s.replayAckedLocked(d.from)
	}
	if !d.wire { // an answer to an earlier connection's packet, or too large
		f.idle--
	}
	f.dropLocked(i)
}

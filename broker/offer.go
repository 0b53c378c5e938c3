package broker

// settle delivers t.out to everyone who waits for nothing durable, and makes it
// the retained message. It is called once, after the decision.
func (b *Broker) settle(t *turn, r *route, from *session) {
	if t.out.view.Retain {
		b.retain(t)
	}
	b.fanOut(t, r, from)
}

// settleOthers delivers to the volatile members that shared subscriptions chose.
func (b *Broker) settleOthers(t *turn, others []recipient) {
	for i := range others {
		rc := &others[i]
		b.deliver(t, rc.s, rc.qos, rc.opts, rc.ids)
	}
}

// offerAll tells the durable recipients their message's place in the queue.
func (op *pubOp) offerAll(t *turn, late bool) {
	for i := range op.to {
		rc := &op.to[i]
		// QoS 2 goes out on the receipt, whatever it was published with; and what
		// was published with QoS 2 too.
		if (op.late || rc.qos == 2) != late {
			continue
		}
		op.b.offer(t, op, rc)
	}
}

// offer puts one reserved delivery where it belongs.
func (b *Broker) offer(t *turn, op *pubOp, rc *recipient) {
	s := rc.s
	s.mu.Lock()
	f := s.flow
	if s.gone || f == nil {
		s.mu.Unlock()
		return
	}
	f.unoffered--
	var start bool
	switch {
	case !rc.sent:
		if rc.id <= f.cursor {
			f.cursor, f.lowered = rc.id-1, true
		}
		f.backlog = true
	case rc.qos == 1:
		f.reserved--
		d := delivery{msg: op.msg, id: rc.id, ids: rc.ids, qos: 1, opts: rc.opts, pid: f.packetIDLocked(), live: rc.live}
		s.markLocked(t)
		s.putInFlightLocked(t, d)
	default:
		s.fault("out.bind.durable")
		i := f.findLocked(rc.pid)
		if i < 0 {
			break
		}
		d := &f.flight[i]
		d.state, d.id, d.msg = published, rc.id, op.msg
		f.bytes += op.msg.size()
		s.sendIdleLocked(t)
	}
	start = s.wantsRefillLocked()
	s.mu.Unlock()
	if start {
		b.startRefill(s)
	}
}

// putInFlightLocked adds a published delivery and sends it if the client is
// there.
func (s *session) putInFlightLocked(t *turn, d delivery) {
	f := s.flow
	f.addLocked(&d)
	f.idle++
	s.sendIdleLocked(t)
}

// lateDeliveries makes the deliveries that had to wait for the receipt.
func (t *turn) lateDeliveries(op *pubOp) {
	if op.late {
		t.out.setOwned(op.msg)
		var from *session
		if op.s != nil {
			from = op.s
		}
		op.b.settle(t, op.route, from)
		op.b.settleOthers(t, op.other)
	}
	op.offerAll(t, true)
}

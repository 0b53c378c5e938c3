package broker

import "gatewayd/store"

// origin is who publishes what is in t.out.
type origin struct {
	s      *session // nil inside the process
	client *Client
	lazy   bool // retained messages of any QoS are lazy
}

// prepare collects who needs t.out durably and what else is to be saved with
// it. It reserves places in the outflows of durable sessions; undo gives them
// back. Nothing is decided yet.
func (b *Broker) prepare(t *turn, op *pubOp, r *route, from origin) {
	o := &t.out
	op.route, op.qos = r, o.view.QoS
	op.late = op.qos == 2
	for i := range r.targets {
		tg := &r.targets[i]
		if tg.s == from.s && (!tg.local || tg.more != nil) {
			if tg = tg.more; tg == nil {
				continue
			}
		}
		if !tg.s.keeps.Load() {
			continue
		}
		qos := effective(o.view.QoS, tg.qos, tg.upgrade)
		if qos == 0 && !tg.queue0 {
			continue
		}
		rc := recipient{s: tg.s, qos: qos, ids: tg.ids}
		if o.view.Retain && tg.rap {
			rc.opts = optRetain
		}
		op.reserve(rc)
	}
	for _, g := range r.groups {
		if rc, ok := g.choose(b, o.topic, o.view.QoS); ok {
			if !o.view.Retain {
				rc.opts &^= optRetain
			}
			if rc.s.keeps.Load() && (rc.qos > 0 || rc.s.rules.Load().QueueQoS0) {
				for i := range op.to {
					if op.to[i].s == rc.s {
						rc.copies++
					}
				}
				op.reserve(rc)
			} else {
				op.other = append(op.other, rc)
			}
		}
	}
}

// reserve promises a durable recipient its copy.
func (op *pubOp) reserve(rc recipient) {
	s := rc.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || rc.qos == 0 && s.onlineLocked() {
		return // QoS 0 to a client that is there goes out directly
	}
	f := s.outLocked()
	f.unoffered++
	rc.key, rc.stored = s.key, true
	rc.live = s.passesLocked(op.topic(), rc.qos)
	switch {
	case !rc.live && (rc.qos == 0 || f.backlog || f.lanes.sorts() || !s.onlineLocked() || !s.openLocked() || !s.roomLocked()):
		f.backlog = true
		f.lanes.waits(op.topic())
	case rc.qos == 1:
		rc.sent = true
		f.reserved++
	default:
		rc.sent, rc.pid = true, f.packetIDLocked()
		f.addLocked(&delivery{pid: rc.pid, qos: 2, opts: rc.opts, ids: rc.ids, state: binding, live: rc.live, floor: store.MessageID(s.b.durable.Load())})
		f.idle++
	}
	op.to = append(op.to, rc)
}

// undo gives back what reserve promised: the store refused.
func (op *pubOp) undo() {
	for i := range op.to {
		rc := &op.to[i]
		rc.s.mu.Lock()
		f := rc.s.outLocked()
		f.unoffered--
		if rc.sent && rc.qos == 1 {
			f.reserved--
		} else if rc.sent {
			if j := f.findLocked(rc.pid); j >= 0 {
				f.dropLocked(j)
				f.idle--
			}
		} else {
			f.lanes.left(op.topic())
		}
		rc.s.mu.Unlock()
	}
	clear(op.to)
	op.to = op.to[:0]
}

// fill writes t.out and its recipients into the batch. It reports whether there
// is anything that must be durable.
func (op *pubOp) fill(t *turn, from origin) (durable bool) {
	o := &t.out
	if len(op.to) > 0 {
		kept := o.keep()
		m := kept.toStore(op.class(o.topic).Class, t.storedPublisher(kept))
		for i := 0; op.addCopy(t, m, i); i++ {
		}
		durable = true
	}
	if o.view.Retain && op.b.fillRetained(t, op, from) {
		durable = true
	}
	if op.hold && op.s.keeps.Load() {
		durable = true
	}
	if durable {
		op.msg = o.keep()
	}
	return durable
}

// addCopy adds the message for those who get their n-th copy of it: a session
// that wants a message for itself and through a shared subscription gets two,
// and the store keeps one copy under a message id. It reports whether there are
// more.
func (op *pubOp) addCopy(t *turn, m *store.Message, n int) (more bool) {
	t.recs = t.recs[:0]
	for i := range op.to {
		rc := &op.to[i]
		more = more || rc.copies > n
		if rc.copies != n {
			continue
		}
		t.recs = append(t.recs, store.Recipient{
			Session: rc.key, QoS: byte(rc.qos), Options: rc.opts, SubscriptionIDs: rc.ids, PacketID: uint16(rc.pid), Sent: rc.sent,
		})
	}
	op.batch.AddMessage(m, t.recs)
	return more
}

package broker

import (
	"context"
	"errors"

	"gatewayd/mqtt"
	"gatewayd/store"
	"gatewayd/topic"
)

// Receive routes a message from the remote, as one that this session publishes.
// done runs when it may be acknowledged: PUBACK, or PUBREC at QoS 2, where pid
// is held until Release and a repeat is not routed again. Receive waits while
// the store is busy.
func (l *Link) Receive(ctx context.Context, p Publication, pid mqtt.PacketID, dup bool, done func(error)) error {
	if err := topic.ValidName(p.Topic); err != nil {
		return err
	}
	if p.Publisher == "" {
		p.Publisher = l.s.id
	}
	for {
		t := l.b.takeTurn()
		err := l.receive(t, p, pid, dup, done)
		l.b.giveTurn(t)
		if !errors.Is(err, store.ErrBusy) {
			return err
		}
		if err := l.b.waitStore(ctx); err != nil {
			return err
		}
	}
}

func (l *Link) receive(t *turn, p Publication, pid mqtt.PacketID, dup bool, done func(error)) error {
	s := l.s
	op := l.b.newOp()
	op.s, op.pid, op.done = s, pid, done
	switch p.QoS {
	case 0:
		op.s = nil
		err := l.b.publishInside(t, op, p, origin{s: s, client: s.client, lazy: p.Lazy}, nil)
		if err != nil {
			op.free()
		}
		return err
	case 1:
		op.kind = mqtt.PUBACK
	default:
		op.kind, op.hold = mqtt.PUBREC, true
		s.fault("in.publish.received")
		sum := digest(p.Topic, p.Payload, 0)
		s.mu.Lock()
		if h, held := s.holds.get(pid); held && (dup || h.digest == sum || h.state != holdDone) {
			op.hold = false
			wait := h.state == holdPending && h.op != nil
			if wait {
				h.op.joins = append(h.op.joins, op)
			}
			l.in.enqueue(op)
			s.mu.Unlock()
			if !wait {
				l.in.ready(t, op)
			}
			return nil
		}
		h := hold{state: holdPending, digest: sum, op: op, stored: s.durable()}
		s.holds.put(pid, h)
		if h.stored {
			op.batch.Hold(s.key, uint16(pid), sum)
		}
		s.mu.Unlock()
	}
	err := l.b.publishInside(t, op, p, origin{s: s, client: s.client, lazy: p.Lazy}, &l.in)
	if err != nil {
		if op.hold {
			s.mu.Lock()
			s.holds.drop(pid)
			s.mu.Unlock()
		}
		op.free()
	}
	return err
}

// Release lets go of a held packet id: PUBREL came. done runs when PUBCOMP may
// be sent.
func (l *Link) Release(pid mqtt.PacketID, done func(error)) {
	s := l.s
	s.fault("in.pubrel.received")
	t := l.b.takeTurn()
	defer l.b.giveTurn(t)
	op := l.b.newOp()
	op.s, op.pid, op.kind, op.done = s, pid, mqtt.PUBCOMP, done
	s.mu.Lock()
	h, held := s.holds.get(pid)
	switch {
	case held && h.state == holdReleasing && h.op != nil:
		h.op.joins = append(h.op.joins, op)
		l.in.enqueue(op)
		s.mu.Unlock()
		return
	case held && h.stored:
		h.state, h.op = holdReleasing, op
		s.holds.put(pid, h)
		op.hold = true
		op.batch.Release(s.key, uint16(pid))
		op.fn = (*turn).ackReceipt
		l.in.enqueue(op)
		s.mu.Unlock()
		l.b.submitOrRetry(op)
		s.fault("in.release.submitted")
		return
	case held:
		s.holds.drop(pid)
	}
	l.in.enqueue(op)
	s.mu.Unlock()
	l.in.ready(t, op)
}

// ForgetHolds lets go of every held packet id: the remote has lost its session,
// so its packet ids mean new messages from now on.
func (l *Link) ForgetHolds() error {
	s := l.s
	var batch store.Batch
	s.mu.Lock()
	s.holds.each(func(pid mqtt.PacketID, h hold) {
		if h.stored {
			batch.Release(s.key, uint16(pid))
		}
	})
	s.holds = holds{}
	s.mu.Unlock()
	if batch.Len() == 0 {
		return nil
	}
	return l.b.save(&batch)
}

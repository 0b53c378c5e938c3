package broker

import (
	"errors"

	"gatewayd/mqtt"
	"gatewayd/store"
	"gatewayd/topic"
)

const moveAtOnce = 256 // messages looked at in one go

// moveShared hands what s got through the groups, and has not finished, to
// other members: QoS 1, and QoS 2 that was not sent yet. Those nobody can take
// stay where they are. It runs in the background: it reads the disk.
func (b *Broker) moveShared(s *session, groups []*shareGroup) {
	s.mu.Lock()
	f, key := s.flow, s.key
	inStore := s.inStore
	var volatile []delivery
	if f != nil && !inStore {
		volatile = s.takeSharedLocked(groups)
	}
	s.mu.Unlock()
	if len(volatile) > 0 {
		b.redeliver(s, volatile, groups)
	}
	if key == 0 || f == nil || !inStore {
		return
	}
	b.background.run(func() {
		for b.moveSome(s, key, groups) {
		}
	})
}

// moveThenDelete is moveShared for a durable session that has ended: the store
// forgets it afterwards.
func (b *Broker) moveThenDelete(s *session, key store.SessionID, groups []*shareGroup) {
	remove := func() {
		op := b.newOp()
		op.batch.DeleteSession(key)
		op.batch.Delete(awayKey(key))
		op.batch.Delete(cursorKey(key))
		b.submitOrRetry(op)
	}
	if !b.background.run(func() {
		for b.moveSome(s, key, groups) {
		}
		remove()
	}) {
		remove()
	}
}

// takeSharedLocked takes what is left of shared deliveries out of a session that
// keeps its queue in memory. Those in flight have no message any more: they were
// sent on a connection that is gone.
func (s *session) takeSharedLocked(groups []*shareGroup) (taken []delivery) {
	f := s.flow
	f.queue.keep(func(d *delivery) bool {
		moves := d.opts&optShared != 0 && groupOf(groups, d.msg.Topic) != nil
		if moves {
			taken = append(taken, *d)
		}
		return !moves
	})
	for i := 0; i < len(f.flight); i++ {
		d := f.flight[i]
		if d.opts&optShared == 0 || d.msg == nil || d.qos != 1 || groupOf(groups, d.msg.Topic) == nil {
			continue
		}
		taken = append(taken, d)
		f.dropLocked(i)
		i--
	}
	return taken
}

func groupOf(groups []*shareGroup, name string) *shareGroup {
	for _, g := range groups {
		if topic.Match(g.key.filter, name) {
			return g
		}
	}
	return nil
}

// redeliver gives volatile deliveries to other members.
func (b *Broker) redeliver(s *session, list []delivery, groups []*shareGroup) {
	t := b.takeTurn()
	defer b.giveTurn(t)
	for _, d := range list {
		g := groupOf(groups, d.msg.Topic)
		rc, ok := g.chooseNot(b, d.msg.Topic, d.qos, s)
		if !ok {
			t.counts.dropped++
			continue
		}
		t.out.setOwned(d.msg)
		op := b.newOp()
		if rc.s.keeps.Load() {
			op.reserve(rc)
		} else {
			b.deliver(t, rc.s, rc.qos, rc.opts&^optRetain|d.opts&optRetain, rc.ids)
		}
		if len(op.to) == 0 {
			op.free()
			continue
		}
		op.qos, op.fn = d.msg.QoS, (*turn).localReceipt
		op.fill(t, origin{})
		if err := op.submit(); err != nil {
			op.undo()
			op.free()
			t.counts.dropped++
			continue
		}
		op.offerAll(t, false)
		op.launched(t)
	}
}

// moveSome moves some of what the store has for s. It reports whether there may
// be more.
func (b *Broker) moveSome(s *session, key store.SessionID, groups []*shareGroup) bool {
	var after store.MessageID
	for {
		items, err := b.store.Queue(nil, key, after, moveAtOnce, refillBytes)
		if err != nil || len(items) == 0 {
			return false
		}
		if b.moveItems(s, key, items, groups) {
			return true // the queue has changed: from the start again
		}
		after = items[len(items)-1].ID
	}
}

// moveItems moves what it can and reports whether that was anything.
func (b *Broker) moveItems(s *session, key store.SessionID, items []store.Queued, groups []*shareGroup) bool {
	type move struct {
		rc  recipient
		q   *store.Queued
		pid mqtt.PacketID // it was bound to
	}
	var moves []move
	for i := range items {
		q := &items[i]
		g := groupOf(groups, q.Message.Topic)
		if q.Options&optShared == 0 || g == nil {
			continue
		}
		rc, ok := g.chooseNot(b, q.Message.Topic, mqtt.QoS(q.QoS), s)
		if !ok || !rc.s.keeps.Load() {
			if ok {
				// A member that ends with its connection: it takes the message over
				// from the store.
				if q.Message.Load() != nil {
					continue
				}
				if pid, claimed := b.claim(s, q.ID); claimed {
					t := b.takeTurn()
					t.out.setOwned(fromStore(q.Message))
					b.deliver(t, rc.s, rc.qos, rc.opts&^optRetain|q.Options&optRetain, rc.ids)
					t.done.Done(key, q.ID)
					if pid != 0 {
						t.done.DonePacket(key, uint16(pid), q.ID)
					}
					b.giveTurn(t)
					return true
				}
			}
			continue
		}
		if pid, claimed := b.claim(s, q.ID); claimed {
			moves = append(moves, move{rc: rc, q: q, pid: pid})
		}
	}
	if len(moves) == 0 {
		return false
	}
	t := b.takeTurn()
	defer b.giveTurn(t)
	for _, m := range moves {
		to := m.rc.s
		to.mu.Lock()
		if to.gone || to.key == 0 {
			to.mu.Unlock()
			continue
		}
		toKey := to.key
		to.outLocked().backlog = true
		to.flow.unoffered++
		to.mu.Unlock()
		op := b.newOp()
		op.batch.Move(key, toKey, []store.MessageID{m.q.ID})
		if m.pid != 0 {
			op.batch.DonePacket(key, uint16(m.pid), m.q.ID)
		}
		err := b.store.Submit(b.ctx, &op.batch, op.receipt)
		to.mu.Lock()
		to.flow.unoffered--
		if err == nil && m.q.ID <= to.flow.cursor {
			to.flow.cursor, to.flow.lowered = m.q.ID-1, true
		}
		start := to.wantsRefillLocked()
		to.mu.Unlock()
		if err != nil && !errors.Is(err, store.ErrBusy) {
			op.free()
			return false
		}
		if start {
			b.startRefill(to)
		}
	}
	return true
}

// claim takes a message away from a session it was to go to. It reports false
// when the session has to finish it: QoS 2 that was sent [MQTT-4.8.2-4]. pid is
// the packet id it was bound to, to be freed with the move; 0: none.
func (b *Broker) claim(s *session, id store.MessageID) (pid mqtt.PacketID, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flow
	if f == nil {
		return 0, true
	}
	if s.onlineLocked() && !s.gone {
		// It is there, and has merely unsubscribed: what is in flight stays its own.
		return 0, !f.hasLocked(id) && id > f.cursor
	}
	if f.reserved > 0 || f.hasUnnamedLocked() {
		return 0, false // it may be one of those whose place is not known yet
	}
	for i := range f.flight {
		d := &f.flight[i]
		if d.id != id {
			continue
		}
		if d.qos == 2 {
			if d.tried {
				return 0, false
			}
			pid = d.pid
		}
		if !d.wire {
			f.idle--
		}
		f.dropLocked(i)
		return pid, true
	}
	return 0, true
}

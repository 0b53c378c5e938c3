package broker

import (
	"errors"

	"gatewayd/mqtt"
	"gatewayd/store"
)

const (
	refillBytes = 1 << 20   // of messages read from the store in one go
	markAhead   = 16384     // packet ids between two marks: one small write for half as many messages
	firstMark   = markAhead // of a session that has never written one

	// A refill takes more than the window has room for, so that the next
	// messages have their packet ids bound when their turn comes: this many
	// times the window, and no more than these bytes.
	aheadWindows = 4
	aheadBytes   = 128 << 10
)

// wantsRefillLocked says whether a refill has to be started, and claims it.
func (s *session) wantsRefillLocked() bool {
	f := s.flow
	if f == nil || !f.backlog || !s.onlineLocked() || s.key == 0 {
		return false
	}
	if f.refilling {
		f.refill = true
		return false
	}
	if !s.mayRefillLocked() {
		return false
	}
	f.refilling = true
	return true
}

// mayRefillLocked says whether the queue can be read now. What was promised to
// go out directly must be in flight first: the queue shows it too, and only
// what is in flight can be told apart.
func (s *session) mayRefillLocked() bool {
	f := s.flow
	switch {
	case f.lanes != nil && f.lanes.resting:
		return false
	case f.lanes == nil && (f.reserved > 0 || f.idle > 0 && f.hasUnnamedLocked()):
		return false
	}
	// Reading for every freed slot would read each record many times.
	_, idle := f.crowdLocked()
	return idle <= s.aheadLocked()/2 && s.takesMoreLocked() && s.roomLocked()
}

// aheadLocked is how many messages may be in flight beyond the window, ready to
// be sent.
func (s *session) aheadLocked() int { return min(aheadWindows*int(s.window), 256) }

// takesMoreLocked says whether another message of the queue may be put in
// flight.
func (s *session) takesMoreLocked() bool {
	f := s.flow
	max := s.rules.Load().MaxInflightBytes
	flight, _ := f.crowdLocked()
	switch {
	case flight == 0:
		return true
	case flight >= int(s.window)+s.aheadLocked(), max > 0 && f.bytes >= max:
		return false
	}
	return flight < int(s.window) || f.bytes < aheadBytes
}

// hasUnnamedLocked says whether a delivery waits for its place in the queue.
func (f *outflow) hasUnnamedLocked() bool {
	for i := range f.flight {
		if f.flight[i].state == binding && f.flight[i].id == 0 {
			return true
		}
	}
	return false
}

// startRefill reads on in a session's queue on a goroutine of its own; at most
// one a session runs.
func (b *Broker) startRefill(s *session) {
	b.background.run(func() {
		for b.refill(s) {
		}
	})
}

// refill reads one piece of the queue and sends it. It reports whether to go on.
func (b *Broker) refill(s *session) bool {
	s.mu.Lock()
	f := s.flow
	if s.gone || !f.backlog || !s.onlineLocked() || !s.mayRefillLocked() {
		return s.stopRefillLocked()
	}
	kept := f.acked[:0]
	for _, a := range f.acked {
		if !a.submitted {
			kept = append(kept, a)
		}
	}
	f.acked = kept
	f.lowered, f.refill = false, false
	key, cursor, client, link := s.key, f.cursor, s.client, s.link != nil
	// Past what is in flight, too: that may stand between the cursor and the
	// next.
	limit := int(s.window) + s.aheadLocked()
	s.mu.Unlock()

	items, err := b.store.Queue(nil, key, cursor, limit, refillBytes)
	if err != nil {
		b.log.Error("queue cannot be read", "client", s.id, "err", err)
		s.mu.Lock()
		f.refill = false
		return s.stopRefillLocked()
	}
	if err := s.loadItems(items, link); errors.Is(err, store.ErrGone) {
		return true // it is not in the queue any more
	} else if err != nil {
		b.log.Error("queue cannot be read", "client", s.id, "err", err)
		s.mu.Lock()
		f.refill = false
		return s.stopRefillLocked()
	}
	denied := b.deniedItems(s, client, items)

	t := b.takeTurn()
	defer b.giveTurn(t)
	op := b.newOp()
	s.mu.Lock()
	if s.gone || f.lowered && f.cursor < cursor {
		again := !s.gone
		if !again {
			s.stopRefillLocked()
		} else {
			s.mu.Unlock()
		}
		op.free()
		return again
	}
	if len(items) == 0 {
		if f.unoffered == 0 && !f.lowered && !f.refill { // f.refill: a publish came while the queue was read
			f.backlog = false
			f.emptiedLocked()
		}
		op.free()
		return s.stopRefillLocked()
	}
	before := f.cursor
	view := f.viewLocked()
	for i := range items {
		if !s.sendQueuedLocked(t, op, &items[i], &view, denied != nil && denied[i]) {
			break
		}
		f.cursor = items[i].ID
	}
	stuck := f.cursor == before
	if len(op.to) > 0 {
		key := s.key
		for i := range op.to {
			op.batch.Bind(key, uint16(op.to[i].pid), op.to[i].bound)
		}
		op.s, op.fn = s, (*turn).boundReceipt
		s.mu.Unlock()
		if err := b.store.Submit(b.ctx, &op.batch, op.receipt); err != nil {
			b.receipts.add(op, store.Receipt{Err: err})
		}
		s.fault("out.refill.submitted")
		s.mu.Lock()
	} else {
		op.free()
	}
	if stuck {
		// The next one waits for a receipt, which starts the refill again.
		return s.stopRefillLocked()
	}
	s.mu.Unlock()
	return true
}

// stopRefillLocked ends the refill and unlocks, unless another was asked for
// meanwhile; it reports whether to go on.
func (s *session) stopRefillLocked() bool {
	f := s.flow
	again := f.refill && !s.gone && f.backlog && s.onlineLocked() && s.mayRefillLocked()
	f.refill = false
	f.refilling = again
	s.mu.Unlock()
	return again
}

// queueView is what a refill has to know of what is in flight to tell what of
// the queue waits. It holds as long as the session stays locked: what the refill
// itself puts in flight it does not see again.
type queueView struct {
	taken map[store.MessageID]bool // in flight or done, when they are many
	below store.MessageID          // see shownBelowLocked
}

// viewLocked looks at what is in flight once for a whole refill.
func (f *outflow) viewLocked() (v queueView) {
	v.below = f.shownBelowLocked()
	if len(f.flight)+len(f.acked) <= pidSetFrom {
		return v
	}
	v.taken = make(map[store.MessageID]bool, len(f.flight)+len(f.acked))
	for i := range f.flight {
		v.taken[f.flight[i].id] = true
	}
	for i := range f.acked {
		v.taken[f.acked[i].id] = true
	}
	return v
}

// takenLocked says whether a message of the queue is in flight, or done.
func (f *outflow) takenLocked(v *queueView, id store.MessageID) bool {
	if v.taken != nil {
		return v.taken[id]
	}
	return f.hasLocked(id)
}

// sendQueuedLocked sends one message of the queue. It reports false when that has to
// wait.
func (s *session) sendQueuedLocked(t *turn, op *pubOp, q *store.Queued, view *queueView, denied bool) bool {
	f, b := s.flow, s.b
	if f.takenLocked(view, q.ID) {
		return true
	}
	aged := s.limitsOfLocked(q.SubscriptionIDs).over(q.Message.Time, t.now) || b.store.TooOld(q.Message.Time, t.now)
	expired := aged || q.Message.Expires != 0 && t.now >= q.Message.Expires // [MQTT-3.3.2-5]
	if q.ID > view.below {
		return false // it may be what is being sent
	}
	counted := f.lanes.counted(q.ID)
	if denied || expired {
		if expired {
			t.counts.expired++
			s.link.lostLocked(q.SubscriptionIDs, tooOld(aged))
		}
		if counted {
			f.lanes.left(q.Message.Topic)
		}
		s.skipLocked(t, q.ID)
		return true
	}
	if !s.onlineLocked() || !s.takesMoreLocked() || !s.roomLocked() {
		return false
	}
	if q.Message.QoS == 2 && q.QoS < 2 && q.Message.Class == store.Commit && q.ID > store.MessageID(b.durable.Load()) {
		return false // its publisher's hold is not durable yet
	}
	if !s.paceLocked(q.ID) {
		return false
	}
	if !counted && f.lanes.inOrder() { // not surveyed: from now on it is known
		f.lanes.waits(q.Message.Topic)
		counted = true
	}
	m := fromStore(q.Message)
	d := delivery{msg: m, id: q.ID, ids: q.SubscriptionIDs, qos: mqtt.QoS(q.QoS), opts: q.Options, counted: counted}
	switch d.qos {
	case 0:
		f.goneLocked(&d)
		t.out2.setOwned(m)
		s.send0Locked(t, &t.out2, d.opts, d.ids)
		s.skipLocked(t, q.ID)
	case 1:
		d.pid = f.packetIDLocked()
		s.markLocked(t)
		s.putInFlightLocked(t, d)
	default:
		d.pid, d.state = f.packetIDLocked(), binding
		f.addLocked(&d)
		f.idle++
		op.to = append(op.to, recipient{s: s, pid: d.pid, bound: q.ID})
	}
	return true
}

// skipLocked has the store forget a message that is not sent.
func (s *session) skipLocked(t *turn, id store.MessageID) {
	t.done.Done(s.key, id)
	s.flow.acked = append(s.flow.acked, ackedDelivery{id: id})
	t.doneRefs = append(t.doneRefs, doneRef{s, id})
}

// loadItems reads the large messages that are needed in one piece: a link hands
// its messages on, and one of QoS 0 is done with before it is written.
func (s *session) loadItems(items []store.Queued, link bool) error {
	for i := range items {
		if !link && items[i].QoS > 0 {
			continue
		}
		if err := items[i].Message.Load(); err != nil {
			s.b.store.Lose(s.key, items[i].ID, err)
			return err
		}
	}
	return nil
}

// deniedItems asks whether the client may still receive what waits for it.
func (b *Broker) deniedItems(s *session, client *Client, items []store.Queued) []bool {
	if b.auth() == nil {
		return nil
	}
	denied := make([]bool, len(items))
	for i := range items {
		denied[i] = !b.mayDeliver(client, b.unmounted(s, items[i].Message.Topic))
	}
	return denied
}

// boundReceipt sends QoS 2 deliveries whose packet ids are durable now.
func (t *turn) boundReceipt(op *pubOp) {
	s := op.s
	s.fault("out.refill.durable")
	s.mu.Lock()
	f := s.flow
	for i := range op.to {
		j := f.findLocked(op.to[i].pid)
		if j < 0 || f.flight[j].id != op.to[i].bound || f.flight[j].state != binding {
			continue
		}
		if op.err != nil { // not bound: it stays in the queue
			f.cursor, f.lowered, f.backlog = min(f.cursor, f.flight[j].id-1), true, true
			f.returnedLocked(&f.flight[j])
			f.dropLocked(j)
			f.idle--
			continue
		}
		f.flight[j].state = published
	}
	s.sendIdleLocked(t)
	refill := op.err == nil && s.wantsRefillLocked()
	s.mu.Unlock()
	op.free()
	if refill {
		t.b.startRefill(s)
	}
}

// markLocked keeps the packet ids of QoS 1 from being used again after a crash:
// a late PUBACK must not hit another message.
func (s *session) markLocked(t *turn) {
	f := s.flow
	if s.key == 0 || f.mark-f.nextPID > markAhead/2 && f.mark-f.nextPID < 2*markAhead {
		return
	}
	f.mark = f.nextPID + markAhead
	if f.mark == 0 {
		f.mark = 1
	}
	t.done.Mark(s.key, uint16(f.mark))
}

// over says whether a message published at that time has waited for too long.
func (q *QueueLimits) over(at, now int64) bool {
	return q.Age > 0 && now-at > q.Age.Milliseconds()
}

// limitsLocked are the bounds of the session's queue.
func (s *session) limitsLocked() *QueueLimits {
	if s.link != nil && s.link.opts.Limits != nil {
		return s.link.opts.Limits
	}
	return &s.rules.Load().Queue
}

// toStore are the bounds as the store has them.
func (q QueueLimits) toStore() store.Limits {
	return store.Limits{Messages: q.Messages, Bytes: q.Bytes, Age: q.Age.Milliseconds(), OnFull: store.OnFull(q.OnFull)}
}

// limit gives the store the general bounds of a session's queue.
func (b *Broker) limit(key store.SessionID) { b.limitTo(key, b.opt().Queue) }

// limitTo gives the store the bounds of a session's queue.
func (b *Broker) limitTo(key store.SessionID, q QueueLimits) {
	if q == (QueueLimits{}) {
		return
	}
	b.store.SetLimits(key, q.toStore())
}

// leaveGroups hands what shared subscriptions had queued for s to other members:
// s has left them. QoS 2 that was sent does not move [MQTT-4.8.2-4].
func (b *Broker) leaveGroups(s *session, left []*subscription) {
	if groups := groupsOf(left); len(groups) > 0 {
		b.moveShared(s, groups)
	}
}

// groupsOf are the groups of the shared ones among subs.
func groupsOf(subs []*subscription) (groups []*shareGroup) {
	for _, sub := range subs {
		if sub.share != nil {
			groups = append(groups, sub.share)
		}
	}
	return groups
}

// groupsChanged is called when s came or went: what waits for members that are
// away moves to one that is there.
func (b *Broker) groupsChanged(t *turn, s *session) {
	if b.stats.shared.Load() == 0 {
		return
	}
	s.mu.Lock()
	online := s.onlineLocked()
	groups := groupsOf(s.subs)
	s.mu.Unlock()
	if len(groups) == 0 {
		return
	}
	if !online {
		b.moveShared(s, groups)
		return
	}
	for _, g := range groups {
		for _, m := range *g.members.Load() {
			if m.s == s {
				continue
			}
			m.s.mu.Lock()
			away := !m.s.onlineLocked() && m.s.durable()
			m.s.mu.Unlock()
			if away {
				b.moveShared(m.s, []*shareGroup{g})
			}
		}
	}
}

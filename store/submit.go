package store

import (
	"context"
	"time"
)

// TrySubmit hands over a batch. With an error nothing has happened: ErrBusy,
// ErrQuota, ErrFailed, ErrTooLarge, ErrClosed. Otherwise done, if not nil, runs
// once on the deliverer; it must not block and not submit. Batches that are
// written get their receipts in order of submission; one that cancels out
// (Receipt.Elided), or has nothing to write, gets it at that moment, ahead of
// those still being written.
func (s *Store) TrySubmit(b *Batch, done func(Receipt)) error {
	sub := b.take()
	if sub.err != nil {
		return sub.err
	}
	for i := range sub.msgs {
		if n := int(sub.msgs[i].size); n > s.opts.MaxMessage+messageOverhead+maxNames {
			return ErrTooLarge
		}
	}
	now := s.since()
	s.mu.Lock()
	if err := s.admitLocked(sub); err != nil {
		s.mu.Unlock()
		return err
	}
	sub.done = done
	b.sub = nil
	wake := s.acceptLocked(b, sub, now)
	deliver := len(s.completions) > 0
	s.mu.Unlock()
	if wake {
		s.poke(s.wake)
	}
	if deliver {
		s.poke(s.deliver)
	}
	return nil
}

// maxNames is what a topic and a publisher's name may add to a message's size.
const maxNames = 2 << 16

// Submit is TrySubmit that waits while too much is pending. The caller must
// hold no lock.
func (s *Store) Submit(ctx context.Context, b *Batch, done func(Receipt)) error {
	err := s.TrySubmit(b, done)
	if err != ErrBusy {
		return err
	}
	s.mu.Lock()
	s.waiters++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.waiters--
		more := s.waiters > 0
		s.mu.Unlock()
		if more {
			s.poke(s.room) // the next one in line
		}
	}()
	for {
		if err := s.TrySubmit(b, done); err != ErrBusy {
			return err
		}
		select {
		case <-s.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// admitLocked says whether the batch may come in. It changes nothing.
func (s *Store) admitLocked(sub *submission) error {
	adds, frees := len(sub.msgs) > 0, true
	for i := range sub.ops {
		switch sub.ops[i].kind {
		case opDone, opDeleteSession, opDeleteSubscription, opDeleteWill, opDeleteRetained,
			opRelease, opReleased, opDonePacket, opDelete, opMark:
		case opPut, opPutLazy, opPutRetained, opPart:
			adds, frees = true, false
		case opDropParts:
		default:
			frees = false
		}
	}
	frees = frees && len(sub.msgs) == 0
	switch {
	case s.state == stateClosed:
		return ErrClosed
	case s.state == stateFailed:
		return ErrFailed
	case !s.streamsLocked(sub):
		return ErrFailed
	case s.full && !frees:
		s.meter.rejected++
		return ErrQuota
	case adds && s.pendingBytes > 0 && s.pendingBytes+sub.bytes > s.opts.MaxPending:
		return ErrBusy // acknowledgements always come in: the clients' windows bound them
	case len(sub.rcpt) > 0 && s.opts.MaxMessages > 0 && s.messages+len(sub.rcpt) > s.opts.MaxMessages,
		len(sub.rcpt) > 0 && s.opts.MaxBytes > 0 && s.bodies+int64(s.pendingBytes+sub.bytes) > s.opts.MaxBytes:
		s.meter.rejected++
		return ErrQuota
	}
	for i := range sub.msgs {
		m := &sub.msgs[i]
		for j := m.from; j < m.to; j++ {
			r := &sub.rcpt[j]
			r.ss = s.sessions[r.session]
			if r.ss != nil && !r.sent && r.ss.refuses(r.subs, m.size) {
				s.meter.rejected++
				return r.ss.refusal(r.subs)
			}
		}
	}
	return nil
}

// acceptLocked applies a batch to memory and queues it; it says whether the
// committer has to be woken.
func (s *Store) acceptLocked(b *Batch, sub *submission, now time.Duration) (wake bool) {
	s.seq++
	s.meter.submitted++
	sub.seq = s.seq
	sub.first = MessageID(s.nextMessage)
	s.nextMessage += uint64(len(sub.msgs))
	b.first = sub.first
	for i := range sub.ops {
		s.applyLocked(sub, &sub.ops[i], now)
	}
	worth := !sub.must && s.opts.CommitDelay > 0 // waiting for acknowledgements
	lazy := !sub.must
	var wait time.Duration
	sub.live++ // until it is complete: a message of it may push out an earlier one
	for i := range sub.msgs {
		m := &sub.msgs[i]
		id := sub.first + MessageID(i)
		lazy = lazy && m.msg.Class == Lazy
		if m.msg.Class == Memory {
			s.keepInMemoryLocked(sub, m, id, now)
			continue
		}
		for j := m.from; j < m.to; j++ {
			r := &sub.rcpt[j]
			ss := s.sessions[r.session] // again: an operation of this batch may have changed it
			if r.ss = ss; ss == nil || !s.roomLocked(ss, r, id, m) {
				r.gone = true
				continue
			}
			m.live++
			sub.refs++
			ss.pend = append(ss.pend, pendRef{id: id, sub: sub, m: int32(i), r: j})
			s.countLocked(ss, id, m.size, r.subs)
			if r.pid != 0 {
				ss.bind(r.pid, id)
				sub.flight, sub.must = true, true
			}
			if r.sent {
				ss.lend(id, m.size, r.subs)
				wait = max(wait, s.sentLocked(ss, id, now))
			} else {
				worth = false
			}
		}
		if m.live > 0 {
			sub.live++
		} else {
			sub.bytes -= int(m.held)
		}
		if int(m.size) > s.tune.largeMessage {
			sub.large += len(m.msg.Payload)
		}
		if m.msg.Body != nil {
			sub.must = true // its parts are on the disk: somebody has to own or delete them
			delete(s.streams, m.msg.Body.id)
		}
	}
	sub.live--
	worth = worth && !sub.must
	if sub.live == 0 && !sub.must {
		if len(sub.msgs) > 0 {
			s.meter.elided++
		}
		s.completeLocked(sub, Receipt{Elided: len(sub.msgs) > 0})
		sub.recycle()
		return len(s.marks) > 0 || s.nextChoreLocked() < s.sleepUntil || len(s.lazy) > 0 && s.lazyDue < s.sleepUntil
	}
	due := now
	switch {
	case lazy && !sub.must:
		s.completeLocked(sub, Receipt{Lazy: true})
		sub.over = false // still to be written
		due = now + s.opts.LazyInterval
	case worth && wait <= s.opts.CommitDelay:
		due = now + wait
	case sub.done == nil && sub.settles():
		due = now + settleDelay
	}
	due = max(due, now+s.commitDelayLocked()) // to keep to the write budget
	sub.due = int64(due)
	sub.refs++
	s.pending = append(s.pending, sub)
	s.pendingBytes += sub.bytes
	return due < s.sleepUntil || len(s.marks) > 0 || s.pendingBytes > s.opts.MaxPending/2
}

// settleDelay is how long a batch that only says what is done waits for another
// to go with. Nobody waits for it, and a power cut costs a PUBREL that is sent
// again; while the next commit waits for one that nobody needs.
const settleDelay = 10 * time.Millisecond

// settles says whether all of the batch is what somebody is done with.
func (sub *submission) settles() bool {
	for i := range sub.ops {
		switch sub.ops[i].kind {
		case opDone, opDonePacket, opNone:
		default:
			return false
		}
	}
	return len(sub.msgs) == 0
}

// applyLocked applies one operation to memory. What it leaves as opNone needs
// no write with this batch.
func (s *Store) applyLocked(sub *submission, o *op, now time.Duration) {
	switch o.kind {
	case opPart:
	case opDropParts:
		delete(s.streams, uint64(o.id))
	case opPutSession:
		if o.ss = s.sessions[o.session]; o.ss == nil {
			o.ss = &session{id: o.session}
			s.sessions[o.session] = o.ss
			s.nextSession = max(s.nextSession, uint64(o.session)+1)
		}
	case opPutRetained, opDeleteRetained, opPut, opPutLazy, opDelete:
		if s.lazyLocked(o, now) {
			o.kind = opNone
			return
		}
	default:
		if o.ss = s.sessions[o.session]; o.ss == nil {
			o.kind = opNone
			return
		}
	}
	switch o.kind {
	case opDeleteSession:
		s.deleteSessionLocked(o.ss, now)
	case opDone:
		s.doneLocked(sub, o, now)
		return
	case opBind:
		o.ss.bind(o.pid, o.id)
		sub.flight = true
	case opReleased:
		i := o.ss.flight(o.pid)
		if i < 0 {
			o.kind = opNone
			return
		}
		o.ss.flights[i].released = true
		s.removeLocked(o.ss, o.ss.flights[i].id, true, now)
		sub.flight = true
	case opDonePacket:
		i := o.ss.flight(o.pid)
		if i < 0 || o.ss.flights[i].id != o.id {
			o.kind = opNone
			return
		}
		if f := o.ss.flights[i]; !f.released {
			s.removeLocked(o.ss, f.id, true, now)
		}
		o.ss.unbind(i)
		sub.flight = true
	case opMark:
		o.ss.mark = o.pid
		s.marks = append(s.marks, o.ss)
		o.kind = opNone
		return
	case opMove:
		s.moveLocked(o, now)
	}
	sub.must = true
}

// doneLocked takes a message out of a queue; written behind, unless a packet id
// was bound to it.
func (s *Store) doneLocked(sub *submission, o *op, now time.Duration) {
	ss := o.ss
	ss.acknowledged(o.id, now)
	bound := false
	for i := range ss.flights {
		if ss.flights[i].id == o.id && !ss.flights[i].released {
			ss.unbind(i)
			bound = true
			break
		}
	}
	s.removeLocked(ss, o.id, bound, now)
	if bound {
		sub.flight, sub.must = true, true
		return
	}
	o.kind = opNone
}

// deleteSessionLocked forgets a session; its queue records go with the chores.
func (s *Store) deleteSessionLocked(ss *session, now time.Duration) {
	pend := ss.pend
	ss.pend, ss.gaps = nil, 0
	for _, p := range pend {
		if p.sub != nil && !s.dropLocked(p) {
			p.sub.refs-- // being written: nobody will come back for it
		}
	}
	for i := range ss.qs {
		g := &ss.qs[i]
		if !g.dirty {
			s.chores = append(s.chores, chore{kind: choreQueue, session: ss.id, group: g.gid, at: now})
		}
		s.derefLocked(g.gid, now)
	}
	for i := range ss.memq {
		if ss.memq[i].m != nil {
			s.memBytes -= int64(ss.memq[i].e.size)
		}
	}
	s.messages -= ss.messages
	s.bytes -= ss.bytes
	ss.messages, ss.bytes, ss.waiting, ss.waitBits = 0, 0, 0, 0
	ss.qs, ss.memq, ss.flights, ss.pids = nil, nil, nil, nil
	ss.dead = true
	delete(s.sessions, ss.id)
}

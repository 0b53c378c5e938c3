package store

import "time"

// removeLocked takes a message out of a session's queue, wherever it is: not
// yet written (its body cancels out with the last recipient), being written, on
// disk, or in memory. exact says that the queue record must be in the next
// transaction; otherwise it is written behind.
func (s *Store) removeLocked(ss *session, id MessageID, exact bool, now time.Duration) bool {
	if i := ss.findPend(id); i >= 0 {
		p := ss.pend[i]
		r := p.rcpt()
		if r.late {
			return false
		}
		s.uncountLocked(ss, id, p.sub.msgs[p.m].size, r.subs)
		if exact && p.sub.writing {
			r.exact = true
		}
		if s.dropLocked(p) {
			ss.leave(i)
		}
		return true
	}
	if i := ss.group(id); i >= 0 {
		if e, ok := ss.qs[i].remove(id); ok {
			s.uncountLocked(ss, id, e.size, e.subs)
			s.changedLocked(ss, i, exact, now)
			return true
		}
	}
	if i := ss.findMem(id); i >= 0 {
		e := ss.memq[i].e
		ss.memq[i].m = nil
		ss.trimMem()
		s.memBytes -= int64(e.size)
		s.uncountLocked(ss, id, e.size, e.subs)
		return true
	}
	return false
}

// dropLocked takes one recipient from a message that is not on disk yet; false
// means that it is being written, and the recipient is taken out afterwards.
func (s *Store) dropLocked(p pendRef) bool {
	r, m := p.rcpt(), &p.sub.msgs[p.m]
	if p.sub.writing {
		r.late = true
		return false
	}
	r.gone = true
	m.live--
	p.sub.refs--
	if m.live > 0 {
		return true
	}
	sub := p.sub
	sub.live--
	size := int(m.held)
	sub.bytes -= size
	if sub.seq <= s.cutSeq || sub.due == 0 {
		return true // not among those that wait
	}
	s.pendingBytes -= size
	if sub.live == 0 && !sub.must {
		s.meter.elided++
		s.completeLocked(sub, Receipt{Elided: true})
		s.overLocked()
	}
	return true
}

// overLocked takes what has cancelled out from the list of pending submissions:
// from its head, and from everywhere once it prevails.
func (s *Store) overLocked() {
	s.pendingOver++
	for s.pendingHead < len(s.pending) && s.pending[s.pendingHead].over {
		s.unpendLocked(s.pending[s.pendingHead])
		s.pending[s.pendingHead] = nil
		s.pendingHead++
		s.pendingOver--
	}
	if live := len(s.pending) - s.pendingHead; s.pendingOver > 64 && s.pendingOver > live/2 {
		kept := s.pending[:0]
		for _, sub := range s.pending[s.pendingHead:] {
			if sub.over {
				s.unpendLocked(sub)
			} else {
				kept = append(kept, sub)
			}
		}
		clear(s.pending[len(kept):])
		s.pending, s.pendingHead, s.pendingOver = kept, 0, 0
	}
	if s.pendingHead == len(s.pending) {
		s.pending, s.pendingHead = s.pending[:0], 0
	} else if s.pendingHead > 1024 && s.pendingHead > len(s.pending)/2 {
		n := copy(s.pending, s.pending[s.pendingHead:])
		clear(s.pending[n:])
		s.pending, s.pendingHead = s.pending[:n], 0
	}
	if s.waiters > 0 {
		s.poke(s.room)
	}
}

// unpendLocked is called when a submission leaves the list of pending ones.
func (s *Store) unpendLocked(sub *submission) {
	if sub.over {
		s.pendingBytes -= sub.bytes
	}
	s.releaseLocked(sub)
}

func (s *Store) releaseLocked(sub *submission) {
	sub.refs--
	if sub.refs == 0 {
		sub.recycle()
	}
}

// changedLocked is called when something of a committed qgroup is gone. The
// group itself goes with the last session that needs it.
func (s *Store) changedLocked(ss *session, i int, exact bool, now time.Duration) {
	g := &ss.qs[i]
	gid := g.gid
	if exact {
		s.exact = append(s.exact, queueRef{ss.id, gid})
	}
	if !g.dirty {
		g.dirty = true
		s.chores = append(s.chores, chore{kind: choreQueue, session: ss.id, group: gid, at: now})
	}
	if g.n > 0 {
		return
	}
	if i == 0 {
		ss.qs[0] = qgroup{}
		ss.qs = ss.qs[1:]
	} else {
		ss.qs = append(ss.qs[:i], ss.qs[i+1:]...)
	}
	s.derefLocked(gid, now)
}

// derefLocked is called when a session needs nothing more of a group.
func (s *Store) derefLocked(gid uint64, now time.Duration) {
	g, ok := s.groups[gid]
	if !ok {
		return
	}
	g.refs--
	if g.refs > 0 {
		s.groups[gid] = g
		return
	}
	s.buryLocked(gid, g, now)
}

// buryLocked has a group's records deleted, after the queue records that named
// it: chores are done in order.
func (s *Store) buryLocked(gid uint64, g group, now time.Duration) {
	delete(s.groups, gid)
	s.bodies -= int64(g.bytes)
	s.deadBytes += int64(g.bytes)
	s.chores = append(s.chores, chore{kind: choreGroup, group: gid, at: now})
	if g.chunks {
		s.chores = append(s.chores, chore{kind: choreChunks, group: gid, at: now})
	}
}

func (s *Store) countLocked(ss *session, id MessageID, size uint32, subs []uint32) {
	ss.count(id, size, subs)
	s.messages++
	s.bytes += int64(size)
}

func (s *Store) uncountLocked(ss *session, id MessageID, size uint32, subs []uint32) {
	ss.uncount(id, size, subs)
	s.messages--
	s.bytes -= int64(size)
}

// keepInMemoryLocked queues a message of class Memory.
func (s *Store) keepInMemoryLocked(sub *submission, m *pendingMessage, id MessageID, now time.Duration) {
	for j := m.from; j < m.to; j++ {
		r := &sub.rcpt[j]
		r.gone = true
		ss := s.sessions[r.session]
		if ss == nil || !s.roomLocked(ss, r, id, m) {
			continue
		}
		if s.memBytes+int64(m.size) > int64(s.opts.MaxMemory) {
			s.meter.droppedNewest++
			ss.lost(ss.part(r.subs), dropsNewest)
			continue
		}
		e := entry{id: id, size: m.size, qos: r.qos, options: r.options, subs: append([]uint32(nil), r.subs...)}
		ss.memq = append(ss.memq, memRef{id: id, m: m.msg, e: e})
		s.memBytes += int64(m.size)
		s.countLocked(ss, id, m.size, r.subs)
		if r.sent {
			ss.lend(id, m.size, r.subs)
			s.sentLocked(ss, id, now)
		}
	}
	sub.bytes -= int(m.held)
}

// waitSlack is how much longer than usual an acknowledgement is waited for. A
// moment in which the processor was elsewhere should not cost a write, which on
// a card takes as long.
const waitSlack = 20 * time.Millisecond

// sentLocked starts timing an acknowledgement and says how long it is worth to
// wait for it: a little longer than the session's acknowledgements usually take
// but no longer than the cap, never when they usually take about as long as the
// cap or when the session seems to have gone silent.
func (s *Store) sentLocked(ss *session, id MessageID, now time.Duration) time.Duration {
	if ss.probe == 0 || now-ss.probed > silentFor {
		ss.probe, ss.probed = id, now
	}
	if ss.rtt == 0 {
		return s.opts.CommitDelay
	}
	wait := ss.rtt + 4*ss.rttvar + waitSlack
	if now-ss.probed > 4*wait || ss.rtt+ss.rtt/4 > s.opts.CommitDelay {
		return never
	}
	return min(wait, s.opts.CommitDelay)
}

// silentFor is how long a timed acknowledgement may fail to come before another
// message is timed: a message may have left the queue some other way.
const silentFor = 10 * time.Second

// acknowledged ends the timing when the timed message, or a later one, is done.
// The mean and the mean deviation are smoothed as TCP does it (RFC 6298).
func (ss *session) acknowledged(id MessageID, now time.Duration) {
	if ss.probe == 0 || id < ss.probe {
		return
	}
	took := max(now-ss.probed, time.Microsecond)
	ss.probe = 0
	if ss.rtt == 0 {
		ss.rtt, ss.rttvar = took, took/2
		return
	}
	ss.rttvar += ((took - ss.rtt).Abs() - ss.rttvar) / 4
	ss.rtt += (took - ss.rtt) / 8
}

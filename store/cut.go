package store

import "time"

// chore is something written behind: a queue record that has changed or gone,
// a group that nobody needs. They are done in order, so that a group is deleted
// after the records that name it.
type chore struct {
	kind    choreKind
	session SessionID
	group   uint64
	at      time.Duration
}

type choreKind uint8

const (
	choreQueue choreKind = iota + 1
	choreGroup
	choreChunks
)

type queueRef struct {
	session SessionID
	group   uint64
}

// choreDelay is how long progress waits to be written: what is done within it
// costs one transaction, and one record a group. With the committer's own pause
// it keeps to a second.
const choreDelay = 500 * time.Millisecond

// choreShare bounds the chores that ride along with live traffic, so that the
// deletions after a large drain do not hold up acknowledgements.
const choreShare = 64

// cut is one group on its way to the disk. The committer owns it.
type cut struct {
	subs    []*submission
	upto    MessageID
	seq     uint64
	w       writes    // what was encoded under the lock: QoS 2 state out, queue records
	lazies  []lazyOut // due
	chunks  []uint64  // groups whose chunks are to be deleted
	ids     *idsRecord
	full    writes // the whole transaction
	built   []built
	touched []*session
	holds   []*session
	pack    packer
	scratch entryWriter
}

func (c *cut) empty() bool {
	return len(c.subs) == 0 && len(c.w.list) == 0 && len(c.lazies) == 0 && len(c.chunks) == 0
}

// cutLocked takes what is due: pending submissions up to the last that is due
// and as far as one transaction reaches, and a share of the chores. With force
// everything is due.
func (s *Store) cutLocked(c *cut, now time.Duration, force bool) {
	c.reset()
	s.cutNo++
	force = force || len(s.flushes) > 0
	s.takeLocked(c, now, force)
	budget := s.tune.txn - c.w.size
	for _, sub := range c.subs {
		budget -= sub.bytes - sub.large + 40*sub.entries
	}
	for _, sub := range c.subs {
		if sub.flight {
			s.flightsLocked(c, sub)
		}
	}
	for _, ss := range s.marks {
		s.flightLocked(c, ss)
	}
	clear(s.marks)
	s.marks = s.marks[:0]
	for _, q := range s.exact { // not bounded by the share: QoS 2 depends on it
		s.queueRecordLocked(c, q, true)
	}
	s.exact = s.exact[:0]
	share := choreShare
	if len(c.subs) == 0 {
		share = s.tune.entries
	}
	s.choresLocked(c, now, force, share, budget)
	s.lazyDueLocked(c, now, force, budget-c.w.size)
	if s.nextMessage > s.keptMessages || s.nextSession > s.keptSessions {
		c.ids = &idsRecord{Version: recordVersion, Messages: s.nextMessage + 1<<24, Sessions: s.nextSession + 1<<16}
	}
}

// takeLocked moves pending submissions into the cut.
func (s *Store) takeLocked(c *cut, now time.Duration, force bool) {
	force = force || s.pendingBytes > s.opts.MaxPending/2
	last := -1
	for i := len(s.pending) - 1; i >= s.pendingHead; i-- {
		if sub := s.pending[i]; !sub.over && (force || time.Duration(sub.due) <= now) {
			last = i
			break
		}
	}
	size, entries, i := 0, 0, s.pendingHead
	for ; i <= last; i++ {
		sub := s.pending[i]
		s.pending[i] = nil
		if sub.over {
			s.pendingOver--
			s.unpendLocked(sub)
			continue
		}
		cost := sub.bytes - sub.large + 40*sub.entries
		if len(c.subs) > 0 && (size+cost > s.tune.txn*7/8 || entries+sub.entries > s.tune.entries*7/8) {
			s.pending[i] = sub
			break
		}
		size, entries = size+cost, entries+sub.entries
		sub.writing = true
		c.subs = append(c.subs, sub)
		c.seq = sub.seq
		if n := len(sub.msgs); n > 0 {
			s.upto = sub.first + MessageID(n) - 1
		}
	}
	for ; i < len(s.pending) && s.pending[i].over; i++ { // behind the last that is due
		s.pendingOver--
		s.unpendLocked(s.pending[i])
		s.pending[i] = nil
	}
	s.pendingHead = i
	if s.pendingHead >= len(s.pending) {
		s.pending, s.pendingHead = s.pending[:0], 0
		c.seq = s.seq
	}
	c.upto = s.upto
	s.cutSeq = max(s.cutSeq, c.seq)
}

// flightsLocked encodes the QoS 2 state out of the sessions a submission
// touches, once a cut.
func (s *Store) flightsLocked(c *cut, sub *submission) {
	for i := range sub.ops {
		switch o := &sub.ops[i]; o.kind {
		case opBind, opReleased, opDonePacket, opDone:
			s.flightLocked(c, o.ss)
		}
	}
	for i := range sub.rcpt {
		if sub.rcpt[i].pid != 0 {
			s.flightLocked(c, sub.rcpt[i].ss)
		}
	}
}

// flightLocked encodes one session's QoS 2 state out, and its mark.
func (s *Store) flightLocked(c *cut, ss *session) {
	if ss == nil || ss.dead || ss.flightCut == s.cutNo {
		return
	}
	ss.flightCut = s.cutNo
	key := c.w.key(prefixFlight, uint64(ss.id))
	at := len(c.w.arena)
	if v := ss.flightRecord(c.w.arena, c.upto); v != nil {
		c.w.arena = v
		c.w.put(key, v[at:len(v):len(v)])
	} else {
		c.w.delete(key)
	}
}

// queueRecordLocked writes a queue record as it is now, or deletes it.
func (s *Store) queueRecordLocked(c *cut, q queueRef, always bool) {
	ss := s.sessions[q.session]
	if ss != nil {
		if i := ss.group(MessageID(q.group)); i >= 0 && ss.qs[i].gid == q.group {
			g := &ss.qs[i]
			if !g.dirty && !always {
				return
			}
			g.repack(&c.scratch)
			g.dirty = false
			key := c.w.key(prefixQueue, uint64(ss.id), g.gid)
			at := len(c.w.arena)
			c.w.arena = g.record(c.w.arena)
			c.w.put(key, c.w.arena[at:len(c.w.arena):len(c.w.arena)])
			return
		}
	}
	c.w.delete(c.w.key(prefixQueue, uint64(q.session), q.group))
}

func (s *Store) choresLocked(c *cut, now time.Duration, force bool, share, budget int) {
	delay := choreDelay
	if len(c.subs) > 0 {
		delay /= 2 // spares a transaction of their own
	}
	if !force && len(s.chores) > 0 && now-s.chores[0].at < delay {
		share = 0
	}
	n := 0
	for n < len(s.chores) && n < share && c.w.size < budget {
		ch := s.chores[n]
		switch ch.kind {
		case choreQueue:
			s.queueRecordLocked(c, queueRef{ch.session, ch.group}, false)
		case choreGroup:
			s.dead = append(s.dead, ch.group)
		case choreChunks:
			c.chunks = append(c.chunks, ch.group)
		}
		n++
	}
	s.deadLocked(c, force, budget)
	if n == len(s.chores) {
		s.chores = s.chores[:0]
		if cap(s.chores) > 4096 {
			s.chores = nil
		}
	} else {
		s.chores = s.chores[n:]
	}
}

// deadLocked deletes bodies that nobody needs. Their tombstones reach down into
// the backlog and make the next compaction rewrite it, so while there is one they
// wait until they are a quarter of it; a restart finds them again.
func (s *Store) deadLocked(c *cut, force bool, budget int) {
	if !force && s.deadBytes < max(4*s.tune.memtable, s.bodies/4) && s.bodies > 0 {
		return
	}
	n := 0
	for ; n < len(s.dead) && c.w.size < budget; n++ {
		c.w.delete(c.w.key(prefixGroup, s.dead[n]))
	}
	if n > 0 {
		bytes := s.deadBytes * int64(n) / int64(len(s.dead))
		s.freed += bytes
		s.deadBytes -= bytes
		s.freedAt = s.since()
	}
	if s.dead = s.dead[n:]; len(s.dead) == 0 {
		s.dead, s.deadBytes = nil, 0
	}
}

// nextChoreLocked is when the first chore is due.
func (s *Store) nextChoreLocked() time.Duration {
	if len(s.chores) == 0 {
		return never
	}
	return s.chores[0].at + choreDelay
}

func (c *cut) reset() {
	clear(c.subs)
	clear(c.built)
	clear(c.touched)
	clear(c.holds)
	clear(c.lazies)
	c.subs, c.built, c.touched, c.holds = c.subs[:0], c.built[:0], c.touched[:0], c.holds[:0]
	c.lazies, c.chunks, c.ids, c.seq = c.lazies[:0], c.chunks[:0], nil, 0
	c.w.reset()
	c.full.reset()
}

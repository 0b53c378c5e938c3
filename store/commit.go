package store

import (
	"context"
	"math"
	"time"
)

const never = time.Duration(math.MaxInt64)

// sweepEvery is how often whole groups are looked through for age and expiry.
const sweepEvery = 10 * time.Second

// runCommitter takes what waits, commits it in one transaction, and repeats,
// until ctx is done and nothing waits.
func (s *Store) runCommitter(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var c cut
	for ctx.Err() == nil {
		s.turns.Add(1)
		if !s.healthy(ctx) {
			continue
		}
		if s.starved {
			select {
			case <-ctx.Done():
			case <-time.After(spaceEvery):
			}
			continue
		}
		s.mu.Lock()
		s.cutLocked(&c, s.since(), false)
		idle := c.empty()
		var pause time.Duration
		if idle {
			pause = s.pauseLocked()
		}
		s.mu.Unlock()
		if !idle {
			s.commit(&c)
			if now := s.since(); now >= s.cleanAt {
				s.cleanAt = s.clean()
			}
			continue
		}
		if pause > 0 {
			timer.Reset(pause)
			select {
			case <-s.wake:
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		s.periodic()
		if s.since() >= s.cleanAt {
			s.cleanAt = s.clean()
		}
	}
	s.drain()
}

// pauseLocked answers who waits in Flush and says how long the committer may
// sleep.
func (s *Store) pauseLocked() time.Duration {
	now := s.since()
	if s.pendingHead == len(s.pending) {
		s.publishedSeq = s.seq
	}
	if s.flushedLocked() {
		s.sleepUntil = now
		return 0
	}
	until := min(now+time.Minute, s.nextChoreLocked(), s.swept+sweepEvery, s.cleanAt)
	if s.freed > 0 {
		until = min(until, now+reclaimPause/2)
	}
	if s.full {
		until = min(until, now+spaceEvery)
	}
	if len(s.lazy) > 0 {
		until = min(until, s.lazyDue)
	}
	for _, sub := range s.pending[s.pendingHead:] {
		if !sub.over {
			until = min(until, time.Duration(sub.due))
		}
	}
	s.sleepUntil = until
	return max(until-now, time.Microsecond)
}

// flushedLocked answers the flushes that are done, and says whether others wait.
func (s *Store) flushedLocked() (more bool) {
	kept := s.flushes[:0]
	for _, f := range s.flushes {
		if !f.published && f.seq <= s.publishedSeq {
			f.published, f.at = true, s.since() // what publishing left to do belongs to it
		}
		done := f.published && (len(s.chores) == 0 || s.chores[0].at > f.at) && len(s.lazy) == 0 && len(s.dead) == 0
		if done || s.state != stateOpen {
			f.done <- s.stateErrLocked()
			continue
		}
		kept = append(kept, f)
	}
	s.flushes = kept
	return len(kept) > 0
}

// periodic does what needs no transaction of its own.
func (s *Store) periodic() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.since(); now-s.swept >= sweepEvery {
		s.swept = now
		s.sweepLocked(now)
	}
	s.watchWearLocked(s.since())
	if s.reclaimDueLocked(s.since()) {
		s.reclaimLocked()
	}
}

// drain commits everything there is.
func (s *Store) drain() {
	var c cut
	for {
		s.watchSpace()
		s.mu.Lock()
		if s.starved && s.state == stateOpen { // writing would be the end of the process
			s.refuseLocked(ErrQuota)
			s.mu.Unlock()
			return
		}
		if s.state != stateOpen {
			s.flushedLocked()
			s.mu.Unlock()
			return
		}
		s.cutLocked(&c, s.since(), true)
		if c.empty() {
			s.publishedSeq = s.seq
			s.flushedLocked()
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		s.commit(&c)
	}
}

// commit writes a cut and answers its submissions.
func (s *Store) commit(c *cut) {
	began := s.since()
	err := s.writeCut(c)
	if err == nil && s.dir != "" {
		s.spaceUsed += int64(c.full.size)
	}
	took := s.since() - began
	s.mu.Lock()
	if err != nil {
		s.failLocked(c, err)
	} else {
		s.meter.committed(c, took)
		s.publishLocked(c, s.since())
	}
	if len(s.flushes) > 0 {
		s.flushedLocked()
	}
	deliver, room := len(s.completions) > 0, s.waiters > 0
	s.mu.Unlock()
	if deliver {
		s.poke(s.deliver)
	}
	if room {
		s.poke(s.room)
	}
}

// writeCut encodes what was not encoded under the lock, and writes it all. The
// order matters only when it is too large for one transaction: bodies before
// what refers to them, QoS 2 state last.
func (s *Store) writeCut(c *cut) error {
	if c.ids != nil {
		// Alone and first: parts of large bodies are written before the rest, and
		// an id that is on disk must never be given again.
		v, _ := c.ids.MarshalMsg(nil)
		c.full.put([]byte(keyIDs), v)
		if err := s.be.write(&c.full); err != nil {
			return err
		}
		c.full.reset()
	}
	if err := s.packMessages(c); err != nil {
		return err
	}
	for _, sub := range c.subs {
		if err := s.encodeOps(c, sub); err != nil {
			return err
		}
	}
	if err := s.encodeLazies(c); err != nil { // newer than any operation on their keys
		return err
	}
	s.finishRetained(c)
	for _, ss := range c.holds {
		if ss.buried {
			continue
		}
		key := c.full.key(prefixHold, uint64(ss.id))
		if v := ss.holdRecord(nil); v != nil {
			c.full.put(key, v)
		} else {
			c.full.delete(key)
		}
	}
	c.full.list = append(c.full.list, c.w.list...)
	c.full.size += c.w.size
	if len(c.full.list) > 0 {
		if err := s.be.write(&c.full); err != nil {
			return err
		}
	}
	for _, gid := range c.chunks {
		if err := s.deleteChunks(gid); err != nil {
			return err
		}
	}
	return nil
}

// publishLocked puts what is now on disk into memory and answers.
func (s *Store) publishLocked(c *cut, now time.Duration) {
	if c.ids != nil {
		s.keptMessages, s.keptSessions = c.ids.Messages, c.ids.Sessions
	}
	for i := range c.built {
		b := &c.built[i]
		g := s.groups[b.g.gid]
		if g.bytes == 0 {
			g.bytes, g.chunks = b.g.body, b.g.chunked
			s.bodies += int64(b.g.body)
		}
		g.refs++
		s.groups[b.g.gid] = g
	}
	for i := range c.built {
		if b := &c.built[i]; !b.ss.dead {
			b.ss.qs = append(b.ss.qs, b.g)
		}
	}
	for _, sub := range c.subs {
		if len(sub.moved) > 0 {
			s.settleMovedLocked(c, sub, now)
		}
	}
	for i := range c.built {
		b := &c.built[i]
		if b.ss.dead {
			s.chores = append(s.chores, chore{kind: choreQueue, session: b.ss.id, group: b.g.gid, at: now})
			s.derefLocked(b.g.gid, now)
		} else {
			s.settleLocked(b, now)
		}
	}
	s.publishedSeq = max(s.publishedSeq, c.seq)
	s.publishedMessage = c.upto
	for _, sub := range c.subs {
		sub.writing = false
		s.pendingBytes -= sub.bytes
		s.completeLocked(sub, Receipt{})
		s.releaseLocked(sub)
	}
}

// settleLocked takes the messages of a group that was written from a session's
// pending list, and out of its queue those it was done with meanwhile.
func (s *Store) settleLocked(b *built, now time.Duration) {
	ss := b.ss
	at := ss.group(MessageID(b.g.gid))
	n, exact, changed := 0, false, false
	for ; n < len(ss.pend) && ss.pend[n].id <= b.upto; n++ {
		p := ss.pend[n]
		if p.sub == nil {
			ss.gaps--
			continue
		}
		if r := p.rcpt(); r.late {
			ss.qs[at].remove(p.id)
			changed, exact = true, exact || r.exact
		}
		s.releaseLocked(p.sub)
	}
	ss.pend = ss.pend[:copy(ss.pend, ss.pend[n:])]
	if changed {
		s.changedLocked(ss, at, exact, now)
	}
}

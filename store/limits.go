package store

import (
	"maps"
	"time"
)

// OnFull is the answer of a session's queue that is at its bound.
type OnFull uint8

const (
	Reject         OnFull = iota // the whole batch is refused with ErrQuota
	DropOldest                   // the oldest message not yet handed out makes room
	DropNewest                   // the new message is not queued for this session
	LatestPerTopic               // an older message of the same topic makes room, else the oldest
	Close                        // Reject with ErrQuotaClose: the publisher is to be disconnected
)

// Limits bound one session's queue. Zero means no bound.
type Limits struct {
	Messages int
	Bytes    int64
	Age      int64 // ms
	OnFull   OnFull
}

// Drops is what a session's queue has lost to its bounds since the process
// started, by reason.
type Drops struct {
	Oldest  uint64 // made room
	Newest  uint64 // found none
	Topic   uint64 // replaced by a later one of its topic
	Age     uint64 // over Limits.Age
	Expired uint64 // its own life was over
}

// Drops returns a session's.
func (s *Store) Drops(id SessionID) Drops {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ss := s.sessions[id]; ss != nil {
		return ss.drops
	}
	return Drops{}
}

// SetLimits bounds a session's queue, and by themselves the messages of some of
// its subscriptions. It holds until the next SetLimits; a restart forgets it.
// Messages handed out by Queue or sent at once are not
// counted. With LatestPerTopic, a message queued before SetLimits is not known
// by its topic and leaves as the oldest does.
func (s *Store) SetLimits(id SessionID, l Limits, list ...Part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ss := s.sessions[id]
	if ss == nil {
		return
	}
	ss.limits = l
	ss.setParts(list)
	latest := l.OnFull == LatestPerTopic
	for _, c := range list {
		latest = latest || c.Limits != nil && c.Limits.OnFull == LatestPerTopic
	}
	if !latest {
		ss.topics = nil
	} else if ss.topics == nil {
		ss.topics = make(map[string][]MessageID)
	}
}

// refuses says whether the publisher of one more message is to be rejected.
func (ss *session) refuses(subs []uint32, size uint32) bool {
	c := ss.part(subs)
	policy := ss.limitsOf(c).OnFull
	return (policy == Reject || policy == Close) && ss.over(c, size)
}

// roomLocked makes room for a message as the session's limits say; false means
// that it is not to be queued. Reject was answered before.
func (s *Store) roomLocked(ss *session, r *pendingRecipient, id MessageID, m *pendingMessage) bool {
	if r.sent {
		return true
	}
	c := ss.part(r.subs)
	policy := ss.limitsOf(c).OnFull
	if policy == LatestPerTopic {
		defer ss.remember(m.msg.Topic, id)
	}
	for ss.over(c, m.size) {
		switch policy {
		case DropNewest, Reject, Close: // rejected: several messages of one batch for this session
			s.meter.droppedNewest++
			ss.lost(c, dropsNewest)
			return false
		case LatestPerTopic:
			if s.replaceLocked(ss, m.msg.Topic) {
				s.meter.droppedTopic++
				ss.lost(c, dropsTopic)
				continue
			}
		}
		old, ok := ss.oldest(c)
		if !ok {
			s.meter.droppedNewest++
			ss.lost(c, dropsNewest)
			return false
		}
		victim := ss.partAt(old)
		if !s.removeLocked(ss, old, false, s.since()) {
			s.meter.droppedNewest++
			ss.lost(c, dropsNewest)
			return false
		}
		s.meter.droppedOldest++
		ss.lost(victim, dropsOldest)
	}
	return true
}

// remember keeps which messages of a topic wait, oldest first.
func (ss *session) remember(topic string, id MessageID) {
	if len(ss.topics) > 2*ss.waiting+64 { // what was handed out needs no memory
		maps.DeleteFunc(ss.topics, func(_ string, ids []MessageID) bool { return ids[len(ids)-1] <= ss.handed })
	}
	ids := ss.topics[topic]
	for len(ids) > 0 && ids[0] <= ss.handed {
		ids = ids[1:]
	}
	ss.topics[topic] = append(ids, id)
}

// replaceLocked takes the oldest waiting message of a topic out of the queue.
func (s *Store) replaceLocked(ss *session, topic string) bool {
	ids := ss.topics[topic]
	for len(ids) > 0 {
		id := ids[0]
		ids = ids[1:]
		if id > ss.handed && !ss.lent(id) && s.removeLocked(ss, id, false, s.since()) {
			ss.topics[topic] = ids
			return true
		}
	}
	delete(ss.topics, topic)
	return false
}

// next is the first live message with a greater id.
func (ss *session) next(after MessageID) (MessageID, bool) {
	best, found := MessageID(0), false
	for i := max(ss.group(after), 0); i < len(ss.qs); i++ {
		g := &ss.qs[i]
		g.unpack() // it is about to change
		if e, ok := g.after(after); ok {
			best, found = e.id, true
			break
		}
	}
	if !found {
		for i := range ss.pend {
			p := &ss.pend[i]
			if p.id > after && p.sub != nil && !p.rcpt().late {
				best, found = p.id, true
				break
			}
		}
	}
	for i := range ss.memq {
		m := &ss.memq[i]
		if m.id > after && m.m != nil {
			if !found || m.id < best {
				best, found = m.id, true
			}
			break
		}
	}
	return best, found
}

// refusal is the error for a publisher that refuses turned away.
func (ss *session) refusal(subs []uint32) error {
	if ss.limitsOf(ss.part(subs)).OnFull == Close {
		return ErrQuotaClose
	}
	return ErrQuota
}

// TooOld says whether a message has waited for longer than Options.MaxAge; the
// times are the broker's, in ms.
func (s *Store) TooOld(at, now int64) bool { return s.tooOld(now - at) }

func (s *Store) tooOld(waited int64) bool { return s.opts.MaxAge > 0 && waited > s.opts.MaxAge }

// sweepLocked drops what is over age or expired in groups as a whole; single
// messages are the broker's to judge when it reads them.
func (s *Store) sweepLocked(now time.Duration) {
	clock := s.opts.Now()
	for _, ss := range s.sessions {
		for i := 0; i < len(ss.qs); i++ {
			g := &ss.qs[i]
			expired := g.expires > 0 && g.expires <= clock
			if !expired && (g.newest == 0 || !ss.aged(clock-g.newest) && !s.tooOld(clock-g.newest)) {
				continue
			}
			type old struct {
				id MessageID
				c  *part
			}
			var gone []old
			g.walk(0, func(e entry) bool {
				c := ss.part(e.subs)
				if age := ss.limitsOf(c).Age; !expired && (age == 0 || clock-g.newest <= age) && !s.tooOld(clock-g.newest) {
					return true
				}
				if e.id > ss.handed && !ss.lent(e.id) && !ss.bound(e.id) {
					gone = append(gone, old{e.id, c})
				}
				return true
			})
			before := len(ss.qs)
			for _, m := range gone {
				if s.removeLocked(ss, m.id, false, now) {
					if expired {
						s.meter.droppedExpired++
						ss.lost(m.c, dropsExpired)
					} else {
						s.meter.droppedAge++
						ss.lost(m.c, dropsAge)
					}
				}
			}
			i -= before - len(ss.qs)
		}
	}
}

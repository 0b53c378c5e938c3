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

// SetLimits bounds a session's queue. It holds until the next SetLimits; a
// restart forgets it. Messages handed out by Queue or sent at once are not
// counted. With LatestPerTopic, a message queued before SetLimits is not known
// by its topic and leaves as the oldest does.
func (s *Store) SetLimits(id SessionID, l Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ss := s.sessions[id]
	if ss == nil {
		return
	}
	ss.limits = l
	if l.OnFull != LatestPerTopic {
		ss.topics = nil
	} else if ss.topics == nil {
		ss.topics = make(map[string][]MessageID)
	}
}

// over says whether one more message would break the session's bound.
func (ss *session) over(size uint32) bool {
	l := &ss.limits
	return l.Messages > 0 && ss.waiting+1 > l.Messages ||
		l.Bytes > 0 && ss.waitBits+int64(size) > l.Bytes
}

// roomLocked makes room for a message as the session's limits say; false means
// that it is not to be queued. Reject was answered before.
func (s *Store) roomLocked(ss *session, sent bool, id MessageID, m *pendingMessage) bool {
	if sent {
		return true
	}
	if ss.topics != nil {
		defer ss.remember(m.msg.Topic, id)
	}
	for ss.over(m.size) {
		switch ss.limits.OnFull {
		case DropNewest, Reject: // Reject: several messages of one batch for this session
			s.meter.droppedNewest++
			ss.drops.Newest++
			return false
		case LatestPerTopic:
			if s.replaceLocked(ss, m.msg.Topic) {
				s.meter.droppedTopic++
				ss.drops.Topic++
				continue
			}
		}
		old, ok := ss.next(ss.handed)
		for ok && ss.lent(old) {
			old, ok = ss.next(old)
		}
		if !ok || !s.removeLocked(ss, old, false, s.since()) {
			s.meter.droppedNewest++
			ss.drops.Newest++
			return false
		}
		s.meter.droppedOldest++
		ss.drops.Oldest++
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

// sweepLocked drops what is over age or expired in groups as a whole; single
// messages are the broker's to judge when it reads them.
func (s *Store) sweepLocked(now time.Duration) {
	clock := s.opts.Now()
	for _, ss := range s.sessions {
		for i := 0; i < len(ss.qs); i++ {
			g := &ss.qs[i]
			aged := ss.limits.Age > 0 && g.newest > 0 && g.newest < clock-ss.limits.Age
			expired := g.expires > 0 && g.expires <= clock
			if !aged && !expired {
				continue
			}
			var ids []MessageID
			g.walk(0, func(e entry) bool {
				if e.id > ss.handed && !ss.lent(e.id) && !ss.bound(e.id) {
					ids = append(ids, e.id)
				}
				return true
			})
			before := len(ss.qs)
			for _, id := range ids {
				if s.removeLocked(ss, id, false, now) {
					if expired {
						s.meter.droppedExpired++
						ss.drops.Expired++
					} else {
						s.meter.droppedAge++
						ss.drops.Age++
					}
				}
			}
			i -= before - len(ss.qs)
		}
	}
}

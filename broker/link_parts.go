package broker

import (
	"slices"

	"gatewayd/store"
)

// QueuePart bounds the messages of a Link's queue that are queued under a
// subscription id; the first part whose id a message has is its own.
type QueuePart struct {
	SubscriptionID uint32
	Limits         *QueueLimits // nil: counted with the rest of the queue, only its drops are told apart
}

// PartState is what waits of a part of a Link's queue, and what it has lost
// since the process started.
type PartState struct {
	Messages int
	Bytes    int64
	Drops    LinkDrops
}

// linkPart is the state of one part, as far as the store does not have it.
type linkPart struct {
	drops    LinkDrops
	messages int // waiting in memory: the session is volatile
	bytes    int64
}

// Parts are the states of LinkOptions.Parts.
func (l *Link) Parts() []PartState {
	list := make([]PartState, len(l.opts.Parts))
	l.s.mu.Lock()
	for i := range list {
		p := &l.parts[i]
		list[i] = PartState{p.messages, p.bytes, p.drops}
	}
	key := l.s.key
	l.s.mu.Unlock()
	if key == 0 || len(list) == 0 {
		return list
	}
	for i, p := range l.b.store.Parts(key) {
		if i >= len(list) {
			break
		}
		x := &list[i]
		x.Messages, x.Bytes = x.Messages+p.Messages, x.Bytes+p.Bytes
		x.Drops.add(p.Drops)
	}
	return list
}

func (d *LinkDrops) add(s store.Drops) {
	d.Oldest += s.Oldest
	d.Newest += s.Newest
	d.Topic += s.Topic
	d.Age += s.Age
	d.Expired += s.Expired
}

// partOf is the part of a message that was queued under these ids; -1: none.
func (l *Link) partOf(ids []uint32) int {
	if l == nil || len(ids) == 0 {
		return -1
	}
	return slices.IndexFunc(l.opts.Parts, func(p QueuePart) bool { return slices.Contains(ids, p.SubscriptionID) })
}

// ownPart is partOf for parts with bounds of their own.
func (l *Link) ownPart(ids []uint32) int {
	i := l.partOf(ids)
	if i >= 0 && l.opts.Parts[i].Limits == nil {
		return -1
	}
	return i
}

// lostLocked counts messages that were lost. The caller holds the session's
// mutex.
func (l *Link) lostLocked(ids []uint32, which store.Drops) {
	if l == nil {
		return
	}
	l.drops.add(which)
	if i := l.partOf(ids); i >= 0 {
		l.parts[i].drops.add(which)
	}
}

var (
	lostOldest  = store.Drops{Oldest: 1}
	lostNewest  = store.Drops{Newest: 1}
	lostTopic   = store.Drops{Topic: 1}
	lostAge     = store.Drops{Age: 1}
	lostExpired = store.Drops{Expired: 1}
)

// tooOld is the counter of a message that was over age, or else at the end of
// its own life.
func tooOld(age bool) store.Drops {
	if age {
		return lostAge
	}
	return lostExpired
}

// limitsOfLocked are the bounds of a message that was queued under these ids.
func (s *session) limitsOfLocked(ids []uint32) *QueueLimits {
	if i := s.link.ownPart(ids); i >= 0 {
		return s.link.opts.Parts[i].Limits
	}
	return s.limitsLocked()
}

// heldLocked counts n deliveries like d that begin, or cease, to wait in memory,
// for their part.
func (s *session) heldLocked(d *delivery, n int) {
	if i := s.link.partOf(d.ids); i >= 0 {
		s.link.parts[i].messages += n
		s.link.parts[i].bytes += int64(n * len(d.msg.Payload))
	}
}

// fullLocked says whether one more message in memory would break its bound: that
// of its part or of the session, or what memory has for all of them.
func (s *session) fullLocked(l *QueueLimits, part int, size int64) bool {
	messages, bytes := s.flow.queue.len(), s.flow.queue.bytes
	if part >= 0 {
		messages, bytes = s.link.parts[part].messages, s.link.parts[part].bytes
	} else if s.link != nil {
		for i := range s.link.parts {
			if s.link.opts.Parts[i].Limits != nil {
				messages, bytes = messages-s.link.parts[i].messages, bytes-s.link.parts[i].bytes
			}
		}
	}
	return l.Messages > 0 && messages >= l.Messages || l.Bytes > 0 && bytes+size > l.Bytes ||
		s.flow.queue.fills(s.b.opt().maxVolatile(), l.Bytes > 0, size)
}

// makeRoomLocked makes room in memory for a message as its bounds say; false
// means that it is dropped.
func (s *session) makeRoomLocked(t *turn, topic string, ids []uint32, size int64) bool {
	f, limits, part := s.flow, s.limitsOfLocked(ids), s.link.ownPart(ids)
	if s.fullLocked(limits, part, size) && t.now-f.swept >= sweepPause {
		f.swept = t.now
		t.counts.expired += uint64(s.dropExpiredLocked(t.now))
	}
	for s.fullLocked(limits, part, size) {
		t.counts.dropped++
		gone, why := -1, lostOldest
		if limits.OnFull == LatestPerTopic {
			if gone = f.queue.find(func(d *delivery) bool { return d.msg.Topic == topic }); gone >= 0 {
				why = lostTopic
			}
		}
		if gone < 0 && (limits.OnFull == DropOldest || limits.OnFull == LatestPerTopic) {
			gone = f.queue.find(func(d *delivery) bool { return s.link.ownPart(d.ids) == part })
		}
		if gone < 0 {
			s.link.lostLocked(ids, lostNewest)
			return false
		}
		d := f.queue.at(gone)
		s.link.lostLocked(d.ids, why)
		s.heldLocked(d, -1)
		f.queue.remove(gone)
	}
	return true
}

// sweepPause is how often a full queue in memory is looked through for messages
// whose life is over, in milliseconds: not for every message that meets it full.
const sweepPause = 1000

// dropExpiredLocked forgets messages waiting in memory whose life is over, and
// returns how many.
func (s *session) dropExpiredLocked(now int64) (n int) {
	s.flow.queue.keep(func(d *delivery) bool {
		aged := s.limitsOfLocked(d.ids).over(d.msg.at, now)
		if !aged && !d.msg.expired(now) {
			return true
		}
		s.link.lostLocked(d.ids, tooOld(aged))
		s.heldLocked(d, -1)
		n++
		return false
	})
	return n
}

// unheldLocked is called when a message waiting in memory goes out, or is too
// old to.
func (s *session) unheldLocked(t *turn, d *delivery) (goes bool) {
	s.heldLocked(d, -1)
	aged := s.limitsOfLocked(d.ids).over(d.msg.at, t.now)
	if aged || d.msg.expired(t.now) {
		t.counts.expired++
		s.link.lostLocked(d.ids, tooOld(aged))
		return false
	}
	return true
}

// partsToStore are the bounds of parts as the store has them.
func partsToStore(parts []QueuePart) (list []store.Part) {
	for _, p := range parts {
		x := store.Part{SubscriptionID: p.SubscriptionID}
		if p.Limits != nil {
			l := p.Limits.toStore()
			x.Limits = &l
		}
		list = append(list, x)
	}
	return list
}

// PartID is a subscription id for the messages that a filter matches: the same
// after a restart and whatever other filters there are, as long as none of taken
// has it.
func PartID(filter string, taken map[uint32]bool) uint32 {
	h := uint32(2166136261) // FNV-1a
	for i := range len(filter) {
		h = (h ^ uint32(filter[i])) * 16777619
	}
	id := h%(1<<14-1) + 1 // two bytes with each message that waits
	for taken[id] {
		id = id%(1<<14-1) + 1
	}
	taken[id] = true
	return id
}

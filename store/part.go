package store

import (
	"slices"
	"sort"
)

// Part bounds the messages of one subscription of a session by themselves. A
// message belongs to the first part whose id it was queued
// under; one of no part is counted with what the session's own bounds count.
type Part struct {
	SubscriptionID uint32
	Limits         *Limits // nil: counted with the session's own, only its drops are told apart
}

// PartState is what waits of a part, and what it has lost since the process
// started.
type PartState struct {
	Messages int // those that Limits count
	Bytes    int64
	Drops    Drops
}

// parts are a session's, in their order. Store.mu guards them.
type parts struct {
	list []part
	from MessageID // of what is counted together nothing up to here waits
}

type part struct {
	id      uint32
	own     bool // limits are its own
	limits  Limits
	waiting int
	bits    int64
	from    MessageID // of a part of its own nothing up to here waits
	drops   Drops
}

// Parts returns the state of a session's parts, in the order of SetLimits.
func (s *Store) Parts(id SessionID) []PartState {
	s.mu.Lock()
	defer s.mu.Unlock()
	ss := s.sessions[id]
	if ss == nil || ss.parts == nil {
		return nil
	}
	list := make([]PartState, len(ss.parts.list))
	for i := range ss.parts.list {
		c := &ss.parts.list[i]
		list[i] = PartState{c.waiting, c.bits, c.drops}
	}
	return list
}

// setParts takes new parts over; what a part of the same id has lost stays
// known. Every message that waits is looked at once.
func (ss *session) setParts(list []Part) {
	was := ss.parts
	ss.parts = nil
	if len(list) == 0 {
		return
	}
	ss.parts = &parts{list: make([]part, len(list))}
	for i, c := range list {
		n := &ss.parts.list[i]
		n.id, n.own = c.SubscriptionID, c.Limits != nil
		if n.own {
			n.limits = *c.Limits
		}
		if was != nil {
			if j := slices.IndexFunc(was.list, func(o part) bool { return o.id == n.id }); j >= 0 {
				n.drops = was.list[j].drops
			}
		}
	}
	ss.recount()
}

// recount counts what waits of every part.
func (ss *session) recount() {
	if ss.parts == nil {
		return
	}
	for i := range ss.parts.list {
		c := &ss.parts.list[i]
		c.waiting, c.bits, c.from = 0, 0, 0
	}
	ss.parts.from = 0
	ss.walk(ss.handed, func(e entry) bool {
		if c := ss.part(e.subs); c != nil && !ss.lent(e.id) {
			c.waiting++
			c.bits += int64(e.size)
		}
		return true
	})
}

// part is the one that a message queued under these ids belongs to; nil: none.
func (ss *session) part(subs []uint32) *part {
	if ss.parts == nil || len(subs) == 0 {
		return nil
	}
	for i := range ss.parts.list {
		if c := &ss.parts.list[i]; slices.Contains(subs, c.id) {
			return c
		}
	}
	return nil
}

// waits keeps the counters of a message's part.
func (ss *session) waits(subs []uint32, messages int, bytes int64) {
	ss.waiting += messages
	ss.waitBits += bytes
	if c := ss.part(subs); c != nil {
		c.waiting += messages
		c.bits += bytes
	}
}

// limitsOf are the bounds that hold for messages of a part.
func (ss *session) limitsOf(c *part) *Limits {
	if c != nil && c.own {
		return &c.limits
	}
	return &ss.limits
}

// counted is what those bounds count.
func (ss *session) counted(c *part) (messages int, bytes int64) {
	if c != nil && c.own {
		return c.waiting, c.bits
	}
	messages, bytes = ss.waiting, ss.waitBits
	if ss.parts != nil {
		for i := range ss.parts.list {
			if o := &ss.parts.list[i]; o.own {
				messages, bytes = messages-o.waiting, bytes-o.bits
			}
		}
	}
	return messages, bytes
}

// over says whether one more message would break its bound.
func (ss *session) over(c *part, size uint32) bool {
	l := ss.limitsOf(c)
	if l.Messages <= 0 && l.Bytes <= 0 {
		return false
	}
	messages, bytes := ss.counted(c)
	return l.Messages > 0 && messages+1 > l.Messages || l.Bytes > 0 && bytes+int64(size) > l.Bytes
}

// lost counts a message that a session has lost in one of its counters.
func (ss *session) lost(c *part, which func(*Drops) *uint64) {
	*which(&ss.drops)++
	if c != nil {
		*which(&c.drops)++
	}
}

func dropsOldest(d *Drops) *uint64  { return &d.Oldest }
func dropsNewest(d *Drops) *uint64  { return &d.Newest }
func dropsTopic(d *Drops) *uint64   { return &d.Topic }
func dropsAge(d *Drops) *uint64     { return &d.Age }
func dropsExpired(d *Drops) *uint64 { return &d.Expired }

// oldest is the first message waiting that is counted with those of a part.
func (ss *session) oldest(c *part) (MessageID, bool) {
	if ss.parts == nil {
		id, ok := ss.next(ss.handed)
		for ok && ss.lent(id) {
			id, ok = ss.next(id)
		}
		return id, ok
	}
	from := &ss.parts.from
	if c != nil && c.own {
		from = &c.from
	} else {
		c = nil
	}
	var found MessageID
	look := func(e entry) bool {
		has := ss.part(e.subs)
		if has != nil && !has.own {
			has = nil
		}
		if has == c && !ss.lent(e.id) && (found == 0 || e.id < found) {
			found = e.id
			return false
		}
		return true
	}
	ss.walkDurable(max(*from, ss.handed), look)
	if found != 0 {
		*from = found - 1
	}
	ss.walkMemory(ss.handed, look)
	return found, found != 0
}

// walk calls f for the live messages with a greater id.
func (ss *session) walk(after MessageID, f func(entry) bool) {
	ss.walkDurable(after, f)
	ss.walkMemory(after, f)
}

func (ss *session) walkDurable(after MessageID, f func(entry) bool) {
	for i := max(ss.group(after), 0); i < len(ss.qs); i++ {
		if !ss.qs[i].walk(after, f) {
			return
		}
	}
	from := sort.Search(len(ss.pend), func(i int) bool { return ss.pend[i].id > after })
	for _, p := range ss.pend[from:] {
		if p.sub == nil || p.rcpt().late {
			continue
		}
		if !f(entry{id: p.id, size: p.sub.msgs[p.m].size, subs: p.rcpt().subs}) {
			return
		}
	}
}

func (ss *session) walkMemory(after MessageID, f func(entry) bool) {
	for i := range ss.memq {
		if m := &ss.memq[i]; m.id > after && m.m != nil && !f(m.e) {
			return
		}
	}
}

// partAt is the part of a message that waits.
func (ss *session) partAt(id MessageID) (c *part) {
	if ss.parts == nil {
		return nil
	}
	ss.walk(id-1, func(e entry) bool {
		if e.id == id {
			c = ss.part(e.subs)
		}
		return e.id < id
	})
	return c
}

// aged says whether a message that has waited so long, in ms, may be over the
// bound of some part.
func (ss *session) aged(waited int64) bool {
	if ss.limits.Age > 0 && waited > ss.limits.Age {
		return true
	}
	if ss.parts == nil {
		return false
	}
	return slices.ContainsFunc(ss.parts.list, func(c part) bool { return c.own && c.limits.Age > 0 && waited > c.limits.Age })
}

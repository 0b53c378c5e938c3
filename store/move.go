package store

import (
	"slices"
	"sort"
	"time"
)

// moveLocked hands messages to another session.
func (s *Store) moveLocked(o *op, now time.Duration) {
	from, to := o.ss, s.sessions[o.to]
	for _, id := range o.ids {
		if to == nil {
			s.removeLocked(from, id, true, now)
		} else if to != from {
			s.moveOneLocked(from, to, id, now)
		}
	}
}

func (s *Store) moveOneLocked(from, to *session, id MessageID, now time.Duration) {
	if i := from.findPend(id); i >= 0 {
		s.movePendingLocked(from, to, i, now)
		return
	}
	if i := from.group(id); i >= 0 {
		g := &from.qs[i]
		e, ok := g.remove(id)
		if ok {
			s.uncountLocked(from, id, e.size, e.subs)
			s.insertLocked(to, *g, e, now)
			s.changedLocked(from, i, true, now)
			return
		}
	}
	if i := from.findMem(id); i >= 0 {
		m := from.memq[i]
		from.memq[i].m = nil
		from.trimMem()
		s.uncountLocked(from, id, m.e.size, m.e.subs)
		at := sort.Search(len(to.memq), func(i int) bool { return to.memq[i].id >= id })
		to.memq = slices.Insert(to.memq, at, m)
		s.countLocked(to, id, m.e.size, m.e.subs)
	}
}

// movePendingLocked moves a message that is not on disk yet. If it is being
// written, it is taken from the one and given to the other when it has been.
func (s *Store) movePendingLocked(from, to *session, i int, now time.Duration) {
	p := from.pend[i]
	id, r := p.id, *p.rcpt()
	if r.late {
		return
	}
	if j := to.findPend(id); j >= 0 {
		if has := to.pend[j].rcpt(); has.late { // it was done with it, but it is being written
			has.late = false
			s.countLocked(to, id, to.pend[j].sub.msgs[to.pend[j].m].size, has.subs)
		}
		s.removeLocked(from, id, true, now)
		return
	}
	size := p.sub.msgs[p.m].size
	r.session, r.ss = to.id, to
	if p.sub.writing {
		s.removeLocked(from, id, true, now)
		p.sub.moved = append(p.sub.moved, r)
		p.sub.movedIDs = append(p.sub.movedIDs, id)
		p.sub.refs++
		p.r = int32(-len(p.sub.moved))
	} else {
		*p.rcpt() = r
		s.uncountLocked(from, id, size, r.subs)
		from.leave(i)
	}
	at := sort.Search(len(to.pend), func(i int) bool { return to.pend[i].id >= id })
	if at < len(to.pend) && to.pend[at].id == id { // it was there before
		to.pend[at] = p
		to.gaps--
	} else {
		to.pend = slices.Insert(to.pend, at, p)
	}
	s.countLocked(to, id, size, r.subs)
}

// settleMovedLocked puts the messages that were moved while they were written
// into the queues they were moved to.
func (s *Store) settleMovedLocked(c *cut, sub *submission, now time.Duration) {
	for k := range sub.moved {
		r, id := &sub.moved[k], sub.movedIDs[k]
		to := r.ss
		if to.dead {
			continue
		}
		if at := sort.Search(len(to.pend), func(i int) bool { return to.pend[i].id >= id }); at < len(to.pend) &&
			to.pend[at].sub == sub && to.pend[at].r == int32(-1-k) {
			to.leave(at)
			s.releaseLocked(sub)
		}
		if r.late {
			continue
		}
		for i := range c.built {
			b := &c.built[i]
			if MessageID(b.g.gid) <= id && id <= b.upto {
				m := &sub.msgs[id-sub.first]
				s.uncountLocked(to, id, m.size, r.subs) // insertLocked counts
				s.insertLocked(to, b.g, entry{id: id, size: m.size, qos: r.qos, options: r.options, subs: slices.Clone(r.subs)}, now)
				break
			}
		}
	}
}

// insertLocked adds a committed message to a session's queue; like is the
// qgroup it comes from.
func (s *Store) insertLocked(ss *session, like qgroup, e entry, now time.Duration) {
	i := sort.Search(len(ss.qs), func(i int) bool { return ss.qs[i].gid >= like.gid })
	if i == len(ss.qs) || ss.qs[i].gid != like.gid {
		g := qgroup{gid: like.gid, oldest: like.oldest, newest: like.newest, expires: like.expires, body: like.body, chunked: like.chunked}
		ss.qs = slices.Insert(ss.qs, i, g)
		gr := s.groups[like.gid]
		gr.refs++
		s.groups[like.gid] = gr
	}
	g := &ss.qs[i]
	if !g.insert(e) {
		return
	}
	g.oldest, g.newest = min(g.oldest, like.oldest), max(g.newest, like.newest)
	if g.expires != 0 && (like.expires == 0 || like.expires > g.expires) {
		g.expires = like.expires
	}
	s.countLocked(ss, e.id, e.size, e.subs)
	s.changedLocked(ss, i, true, now)
}

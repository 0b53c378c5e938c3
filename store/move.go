package store

import (
	"slices"
	"sort"
	"time"
)

// moveLocked hands messages to another session. What is being written at the
// moment is moved when it has been.
func (s *Store) moveLocked(o *op, now time.Duration) {
	from, to := o.ss, s.sessions[o.to]
	var later []MessageID
	for _, id := range o.ids {
		if to == nil {
			s.removeLocked(from, id, true, now)
		} else if s.moveOneLocked(from, to, id, now) {
			later = append(later, id)
		}
	}
	if later != nil {
		s.moves = append(s.moves, op{kind: opMove, ss: from, session: from.id, to: to.id, ids: later})
	}
}

// moveOneLocked says whether the message has to be moved later.
func (s *Store) moveOneLocked(from, to *session, id MessageID, now time.Duration) (later bool) {
	if i := from.findPend(id); i >= 0 {
		p := from.pend[i]
		if p.sub.writing {
			return !p.sub.rcpt[p.r].late
		}
		size := p.sub.msgs[p.m].size
		if to.findPend(id) >= 0 {
			s.removeLocked(from, id, true, now)
			return false
		}
		s.uncountLocked(from, id, size)
		from.leave(i)
		r := &p.sub.rcpt[p.r]
		r.session, r.ss = to.id, to
		at := sort.Search(len(to.pend), func(i int) bool { return to.pend[i].id >= id })
		to.pend = slices.Insert(to.pend, at, p)
		s.countLocked(to, id, size)
		return false
	}
	if i := from.group(id); i >= 0 {
		g := &from.qs[i]
		e, ok := g.remove(id)
		if ok {
			s.uncountLocked(from, id, e.size)
			s.insertLocked(to, *g, e, now)
			s.changedLocked(from, i, true, now)
			return false
		}
	}
	if i := from.findMem(id); i >= 0 {
		m := from.memq[i]
		from.memq[i].m = nil
		from.trimMem()
		s.uncountLocked(from, id, m.e.size)
		at := sort.Search(len(to.memq), func(i int) bool { return to.memq[i].id >= id })
		to.memq = slices.Insert(to.memq, at, m)
		s.countLocked(to, id, m.e.size)
	}
	return false
}

// insertLocked adds a committed message to a session's queue; like is the
// qgroup it comes from.
func (s *Store) insertLocked(ss *session, like qgroup, e entry, now time.Duration) {
	i := sort.Search(len(ss.qs), func(i int) bool { return ss.qs[i].gid >= like.gid })
	if i == len(ss.qs) || ss.qs[i].gid != like.gid {
		g := qgroup{gid: like.gid, oldest: like.oldest, newest: like.newest, expires: like.expires}
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
	s.countLocked(ss, e.id, e.size)
	s.changedLocked(ss, i, true, now)
}

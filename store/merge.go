package store

import (
	"bytes"
	"slices"
)

// merge writes what was gathered as one group, in one transaction with what the
// sessions need of it. The committer calls it, so no other transaction is under
// way; sessions go on being done with messages, and moving them.
func (s *Store) merge(g gathered) error {
	if len(g.body.IDs) == 0 {
		return nil
	}
	first, run := g.run[0], g.run
	value, _ := g.body.MarshalMsg(nil)
	var w writes
	w.put(w.key(prefixGroup, first), value)
	for _, gid := range run[1:] {
		w.delete(w.key(prefixGroup, gid))
	}
	s.mu.Lock()
	// Once nobody needs the first group its deletion is on the way, and would take
	// the merged one along. After a failure everything was read anew.
	was, ok := s.groups[first]
	if !ok || s.state != stateOpen || s.be != g.be {
		s.mu.Unlock()
		return nil
	}
	wrote := s.mergedRecordsLocked(&w, run, int32(len(value)))
	if w.size > s.tune.txn || len(w.list) > s.tune.entries {
		s.mu.Unlock()
		if len(run) > 2 { // in halves then
			s.cleaner.runs = append(s.cleaner.runs, run[:len(run)/2], run[len(run)/2:])
		}
		return nil
	}
	s.merging = true
	s.mu.Unlock()
	err := g.be.write(&w)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.merging = false
	if err != nil {
		s.failLocked(&cut{}, err)
		return err
	}
	s.meter.written[wroteMerges] += uint64(w.bytes())
	s.meter.merged += uint64(len(run))
	s.mergedLocked(run, wrote, was, int32(len(value)))
	return nil
}

// mergedRecordsLocked adds the sessions' records as they will be, and gives what
// each says is needed.
func (s *Store) mergedRecordsLocked(w *writes, run []uint64, size int32) map[SessionID][]byte {
	owners := make(map[SessionID][]byte)
	var ew entryWriter
	for id, ss := range s.sessions {
		parts := ss.within(run)
		if len(parts) == 0 {
			continue
		}
		g := joined(run[0], parts, &ew, size)
		owners[id] = g.rec
		w.put(w.key(prefixQueue, uint64(id), run[0]), g.record(nil))
		for i := range parts {
			if parts[i].gid != run[0] {
				w.delete(w.key(prefixQueue, uint64(id), parts[i].gid))
			}
		}
	}
	// Records whose deletion is still to be written name bodies that the merge
	// leaves out, and would lie between the ids of the merged group: also those of
	// groups that are gone and so not in the run.
	for _, ch := range s.chores {
		if ch.kind != choreQueue {
			continue
		}
		if ch.group < run[0] || ch.group > run[len(run)-1] {
			continue
		}
		if _, has := owners[ch.session]; !has || ch.group != run[0] {
			w.delete(w.key(prefixQueue, uint64(ch.session), ch.group))
		}
	}
	return owners
}

// joined is one qgroup of several.
func joined(gid uint64, parts []qgroup, w *entryWriter, size int32) qgroup {
	g := qgroup{gid: gid, body: size, oldest: parts[0].oldest, newest: parts[0].newest, expires: parts[0].expires}
	w.reset(gid)
	for i := range parts {
		p := &parts[i]
		g.oldest, g.newest = min(g.oldest, p.oldest), max(g.newest, p.newest)
		if p.expires == 0 || g.expires == 0 {
			g.expires = 0
		} else {
			g.expires = max(g.expires, p.expires)
		}
		p.walk(0, func(e entry) bool {
			w.add(e)
			g.bytes += int64(e.size)
			return true
		})
	}
	g.n, g.rec = int32(w.n), slices.Clone(w.buf)
	return g
}

// mergedLocked puts the merged group into memory. What sessions were done with,
// or got, while it was written goes with the next transaction, since that may be
// what a receipt promises.
func (s *Store) mergedLocked(run []uint64, owners map[SessionID][]byte, was group, size int32) {
	now := s.since()
	var ew entryWriter
	var refs int32
	for id, ss := range s.sessions {
		parts := ss.within(run)
		if len(parts) == 0 {
			continue
		}
		g := joined(run[0], parts, &ew, size)
		from := slices.IndexFunc(ss.qs, func(q qgroup) bool { return q.gid == parts[0].gid })
		if wrote, ok := owners[id]; !ok || !bytes.Equal(wrote, g.rec) { // one may have gone and another come
			g.dirty = true
			s.exact = append(s.exact, queueRef{id, run[0]})
			s.chores = append(s.chores, chore{kind: choreQueue, session: id, group: run[0], at: now})
		}
		delete(owners, id)
		ss.qs = slices.Replace(ss.qs, from, from+len(parts), g)
		refs++
	}
	for id := range owners { // nothing left for them meanwhile, or gone
		s.exact = append(s.exact, queueRef{id, run[0]})
		s.chores = append(s.chores, chore{kind: choreQueue, session: id, group: run[0], at: now})
	}
	// The first group may have lost its last session while it was written; its
	// record is the merged one now.
	if _, ok := s.groups[run[0]]; !ok {
		s.deadBytes -= int64(was.bytes)
		s.chores = slices.DeleteFunc(s.chores, func(ch chore) bool { return ch.kind == choreGroup && ch.group == run[0] })
	}
	for _, gid := range run {
		if g, ok := s.groups[gid]; ok {
			s.bodies -= int64(g.bytes)
			s.freed += int64(g.bytes)
			delete(s.groups, gid)
		}
	}
	s.freedAt = now
	s.bodies += int64(size)
	g := group{refs: refs, bytes: size}
	if refs == 0 {
		s.buryLocked(run[0], g, now)
		return
	}
	s.groups[run[0]] = g
}

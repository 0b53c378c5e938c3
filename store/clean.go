package store

import (
	"errors"
	"hash/crc32"
	"maps"
	"slices"
	"time"
)

// A message that one session still needs keeps its whole group on disk, and
// slow traffic makes groups of a single message. The cleaner copies what is left
// of neighbouring groups together, under the id of the first of them. The order
// of a queue is the order of ids, and a group holds the ids from its own up to
// the next one's, so only groups with none in between are merged; the messages'
// ids stay as they are.

const (
	cleanEvery = 30 * time.Second
	// cleanPause keeps merges from holding up live traffic.
	cleanPause = 20 * time.Millisecond
	// cleanFewest is how many small groups are worth a merge.
	cleanFewest = 16
	// cleanMost bounds the groups of one merge.
	cleanMost = 256
)

// cleaner is the committer's own.
type cleaner struct {
	planned time.Duration
	last    time.Duration
	runs    [][]uint64 // neighbouring groups to be merged
}

// clean merges one run of groups, if there is one and it is time; it says when it
// wants to be called again. It does nothing without Options.Merge.
func (s *Store) clean() time.Duration {
	c, now := &s.cleaner, s.since()
	if !s.opts.Merge && !s.opts.eager {
		return now + cleanEvery
	}
	if len(c.runs) == 0 {
		if now-c.planned < cleanEvery && !s.opts.eager {
			return c.planned + cleanEvery
		}
		c.planned = now
		s.mu.Lock()
		c.runs = s.planLocked()
		s.mu.Unlock()
		if s.opts.eager {
			return now + time.Millisecond
		}
		if len(c.runs) == 0 {
			return now + cleanEvery
		}
	}
	if now-c.last < cleanPause && !s.opts.eager {
		return c.last + cleanPause
	}
	run := c.runs[0]
	c.runs = c.runs[1:]
	if err := s.merge(run); err != nil {
		c.runs = nil
		s.opts.Log.Warn("old groups could not be merged", "err", err)
	}
	c.last = s.since()
	return c.last + cleanPause
}

// planLocked finds runs of neighbouring groups that are worth a merge: many small
// ones, or ones of which little is left.
func (s *Store) planLocked() (runs [][]uint64) {
	fewest := cleanFewest
	if s.opts.eager {
		fewest = 2
	}
	if len(s.groups) < fewest && s.bodies < 4*int64(s.tune.record) || s.full || s.state != stateOpen || s.wear.stretch() > 1 {
		return nil
	}
	live := make(map[uint64]int64, len(s.groups)) // at most this much of each is left
	for _, ss := range s.sessions {
		for i := range ss.qs {
			live[ss.qs[i].gid] += ss.qs[i].bytes
		}
	}
	var run []uint64
	var left, whole int64
	end := func() {
		spare := whole - left
		if len(run) >= fewest || len(run) > 1 && spare > int64(s.tune.record) && whole > 3*left {
			runs = append(runs, run)
		}
		run, left, whole = nil, 0, 0
	}
	for _, gid := range slices.Sorted(maps.Keys(s.groups)) {
		g := s.groups[gid]
		l := min(live[gid], int64(g.bytes))
		if g.chunks || l > int64(s.tune.record)/4 {
			end()
			continue
		}
		if left+l > int64(s.tune.record)/2 || len(run) == cleanMost {
			end()
		}
		run, left, whole = append(run, gid), left+l, whole+int64(g.bytes)
	}
	end()
	return runs
}

var errMergeLarge = errors.New("store: too much for one merge")

// merge copies what is left of the groups into the first of them.
func (s *Store) merge(run []uint64) error {
	needed, run := s.neededOf(run)
	if len(run) < 2 || len(needed) == 0 {
		return nil
	}
	gid := run[0]
	body, err := s.gather(run, needed)
	if err != nil {
		return err
	}
	value, _ := body.MarshalMsg(nil)
	var w writes
	w.put(w.key(prefixGroup, gid), value)
	for _, g := range run[1:] {
		w.delete(w.key(prefixGroup, g))
	}
	s.mu.Lock()
	owners := s.mergedRecordsLocked(&w, run, int32(len(value)))
	be := s.be
	s.merging = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.merging = false
		s.mu.Unlock()
	}()
	if be == nil {
		return ErrFailed
	}
	if w.size > s.tune.txn || len(w.list) > s.tune.entries {
		if len(run) > 2 { // in halves then
			s.cleaner.runs = append(s.cleaner.runs, run[:len(run)/2], run[len(run)/2:])
			return nil
		}
		return errMergeLarge
	}
	if err := be.write(&w); err != nil {
		s.mu.Lock()
		s.failLocked(&cut{}, err)
		s.mu.Unlock()
		return err
	}
	s.mu.Lock()
	s.meter.wrote(&w)
	s.meter.merged += uint64(len(run))
	s.mergedLocked(run, owners, int32(len(value)))
	s.merging = false
	s.mu.Unlock()
	return nil
}

// neededOf lists the messages of the groups that somebody needs, and the groups
// that are still there.
func (s *Store) neededOf(run []uint64) (needed map[MessageID]bool, left []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, gid := range run {
		if _, ok := s.groups[gid]; ok {
			left = append(left, gid)
		}
	}
	needed = make(map[MessageID]bool)
	for _, ss := range s.sessions {
		for _, g := range ss.within(left) {
			g.walk(0, func(e entry) bool {
				needed[e.id] = true
				return true
			})
		}
	}
	return needed, left
}

// within is the part of the queue that lies in neighbouring groups.
func (ss *session) within(run []uint64) []qgroup {
	if len(run) == 0 {
		return nil
	}
	at := func(gid uint64) int {
		i, _ := slices.BinarySearchFunc(ss.qs, gid, func(g qgroup, gid uint64) int {
			if g.gid < gid {
				return -1
			}
			if g.gid > gid {
				return 1
			}
			return 0
		})
		return i
	}
	return ss.qs[at(run[0]):at(run[len(run)-1]+1)]
}

// gather reads the needed bodies.
func (s *Store) gather(run []uint64, needed map[MessageID]bool) (body bodyRecord, err error) {
	body.Version = recordVersion
	for _, gid := range run {
		err := s.be.get(appendKey(nil, prefixGroup, gid), func(v []byte) error {
			r, err := readBodies(gid, v)
			if err != nil {
				return err
			}
			for {
				id, b, ok, err := r.next()
				if !ok || err != nil {
					return err
				}
				if !needed[id] {
					continue
				}
				body.IDs = append(body.IDs, uint64(id)-run[0])
				body.Bodies = append(body.Bodies, b...)
				body.Ends = append(body.Ends, uint32(len(body.Bodies)))
			}
		})
		if err != nil {
			return body, err
		}
		if len(body.Bodies) > s.tune.record {
			return body, errMergeLarge
		}
	}
	body.Sum = crc32.Checksum(body.Bodies, castagnoli)
	return body, nil
}

// mergedRecordsLocked adds the sessions' records as they will be, and gives the
// number of messages in each.
func (s *Store) mergedRecordsLocked(w *writes, run []uint64, size int32) map[SessionID]int32 {
	owners := make(map[SessionID]int32)
	var ew entryWriter
	for id, ss := range s.sessions {
		parts := ss.within(run)
		if len(parts) == 0 {
			continue
		}
		g := joined(run[0], parts, &ew, size)
		owners[id] = g.n
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
// or got, while it was written goes with the next transaction.
func (s *Store) mergedLocked(run []uint64, owners map[SessionID]int32, size int32) {
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
		if wrote, ok := owners[id]; !ok || wrote != g.n {
			g.dirty = true
			s.exact = append(s.exact, queueRef{id, run[0]})
			s.chores = append(s.chores, chore{kind: choreQueue, session: id, group: run[0], at: now})
		}
		delete(owners, id)
		ss.qs = slices.Replace(ss.qs, from, from+len(parts), g)
		refs++
	}
	for id := range owners { // nothing left for them meanwhile, or gone
		s.chores = append(s.chores, chore{kind: choreQueue, session: id, group: run[0], at: now})
	}
	// The first group may have lost its last session while it was written; its
	// record is the merged one now.
	s.chores = slices.DeleteFunc(s.chores, func(ch chore) bool { return ch.kind == choreGroup && ch.group == run[0] })
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

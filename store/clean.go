package store

import (
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
	next    time.Duration // not before this
	runs    [][]uint64    // neighbouring groups to be merged
	reading bool          // gather is at work, and will put into got
	got     chan gathered
}

// gathered is what is to become one group.
type gathered struct {
	be     backend // it was read from
	run    []uint64
	body   bodyRecord
	took   time.Duration
	failed error
}

// clean merges one run of groups, if there is one and it is time; it says when it
// wants to be called again. The reading is done beside the committer, which only
// writes.
func (s *Store) clean() time.Duration {
	c, now := &s.cleaner, s.since()
	if c.reading {
		select {
		case g := <-c.got:
			c.reading = false
			err := g.failed
			if err == nil {
				err = s.merge(g)
			}
			if err != nil {
				s.opts.Log.Warn("old groups could not be merged", "err", err)
			}
			c.next = s.since() + max(cleanPause, g.took)
		default:
			return now + cleanPause/4
		}
	}
	if s.opts.eager {
		c.next = 0
	}
	if now < c.next {
		return c.next
	}
	if len(c.runs) == 0 {
		if now-c.planned < cleanEvery && !s.opts.eager {
			return c.planned + cleanEvery
		}
		c.planned = now
		s.mu.Lock()
		c.runs = s.planLocked()
		s.mu.Unlock()
		if len(c.runs) == 0 {
			if s.opts.eager {
				return now + time.Millisecond
			}
			return now + cleanEvery
		}
	}
	run := c.runs[0]
	c.runs = c.runs[1:]
	if c.got == nil {
		c.got = make(chan gathered, 1)
	}
	c.reading = true
	s.background.Go(func() {
		began := s.since()
		g := s.gather(run)
		g.took = s.since() - began
		c.got <- g
	})
	return now + cleanPause/4
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
	records := 0 // a merge is one transaction
	end := func() {
		spare := whole - left
		if len(run) >= fewest || len(run) > 1 && spare > int64(s.tune.record) && whole > 3*left {
			runs = append(runs, run)
		}
		run, left, whole, records = nil, 0, 0, 0
	}
	for _, gid := range slices.Sorted(maps.Keys(s.groups)) {
		g := s.groups[gid]
		l := min(live[gid], int64(g.bytes))
		entries := 2*int(g.refs) + 1
		if g.chunks || l > int64(s.tune.record)/4 || entries > s.tune.entries/8 {
			end()
			continue
		}
		if left+l > int64(s.tune.record)/2 || len(run) == cleanMost || records+entries > s.tune.entries/2 {
			end()
		}
		records += entries
		run, left, whole = append(run, gid), left+l, whole+int64(g.bytes)
	}
	end()
	return runs
}

// gather reads what is left of the groups.
func (s *Store) gather(run []uint64) (g gathered) {
	var needed map[MessageID]bool
	g.be, needed, g.run = s.neededOf(run)
	if g.be == nil || len(g.run) < 2 || len(needed) == 0 {
		return gathered{}
	}
	g.body.Version = recordVersion
	for _, gid := range g.run {
		err := g.be.get(appendKey(nil, prefixGroup, gid), func(v []byte) error {
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
				g.body.IDs = append(g.body.IDs, uint64(id)-g.run[0])
				g.body.Bodies = append(g.body.Bodies, b...)
				g.body.Ends = append(g.body.Ends, uint32(len(g.body.Bodies)))
			}
		})
		if err != nil && err != errNotFound { // deleted since: nobody needs it any more
			return gathered{failed: err}
		}
		if len(g.body.Bodies) > s.tune.record {
			return gathered{}
		}
	}
	g.body.Sum = crc32.Checksum(g.body.Bodies, castagnoli)
	return g
}

// neededOf lists the messages of the groups that somebody needs, and the groups
// that are still there; be is nil when the disk has failed.
func (s *Store) neededOf(run []uint64) (be backend, needed map[MessageID]bool, left []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateOpen {
		return nil, nil, nil
	}
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
	return s.be, needed, left
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

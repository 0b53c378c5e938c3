package store

import (
	"context"
	"time"
)

// A start reads the queue records only; bodies that nobody needs, and parts of
// bodies that were never finished, are looked for afterwards, a few at a time,
// since the keys lie among the bodies and looking costs reading.

const (
	orphanPage  = 64
	orphanPause = 20 * time.Millisecond
)

// sweepOrphans has deleted what a crash left without an owner. pause lies
// between its looks; it ends early with ctx.
func (s *Store) sweepOrphans(ctx context.Context, pause time.Duration) error {
	start := []byte(prefixGroup)
	named, err := s.sweepParts()
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		s.mu.Lock()
		be := s.be
		done := s.orphansSwept
		s.mu.Unlock()
		if be == nil || done {
			return nil
		}
		type found struct {
			id   uint64
			part bool
			size int
		}
		var page []found
		err := be.scan([]byte(prefixGroup), start, true, func(key []byte, _ []byte, size int) error {
			if id, ok := keyID(key, 0); ok {
				page = append(page, found{id, isPart(key), size})
			}
			start = append(append(start[:0], key...), 0)
			if len(page) == orphanPage {
				return errStop
			}
			return nil
		})
		if err != nil {
			return err
		}
		s.mu.Lock()
		now := s.since()
		var last uint64
		for _, f := range page {
			_, owned := s.groups[f.id]
			switch {
			case owned || f.id >= s.bound || f.part && (named[f.id] || s.retainsLocked(f.id)):
			case !f.part:
				s.deadBytes += int64(f.size)
				s.chores = append(s.chores, chore{kind: choreGroup, group: f.id, at: now})
			case f.id != last:
				s.chores = append(s.chores, chore{kind: choreChunks, group: f.id, at: now})
				last = f.id
			}
		}
		s.orphansSwept = len(page) < orphanPage
		s.mu.Unlock()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	return nil
}

// sweepParts reads which ids a p/ record names, and has those of groups that are
// not there deleted.
func (s *Store) sweepParts() (named map[uint64]bool, err error) {
	s.mu.Lock()
	be := s.be
	done := s.orphansSwept
	s.mu.Unlock()
	if be == nil || done {
		return nil, nil
	}
	var gids []uint64
	named = make(map[uint64]bool)
	err = eachParts(be, func(gid, id uint64) {
		gids = append(gids, gid)
		named[id] = true
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, gid := range gids {
		if _, owned := s.groups[gid]; !owned && gid < s.bound {
			s.chores = append(s.chores, chore{kind: choreChunks, group: gid, at: s.since()})
		}
	}
	return named, err
}

// retainsLocked says whether the parts belong to a retained message that was
// there when the store was opened.
func (s *Store) retainsLocked(id uint64) bool {
	_, ok := s.restoredChunks[id]
	return ok
}

// loseMissing takes out of the queues what has no body, after a salvage.
func (s *Store) loseMissing() error {
	has := make(map[uint64]bool)
	err := s.be.scan([]byte(prefixGroup), nil, true, func(key, _ []byte, _ int) error {
		if id, ok := keyID(key, 0); ok && !isPart(key) {
			has[id] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ss := range s.sessions {
		var lost []MessageID
		for i := range ss.qs {
			if !has[ss.qs[i].gid] {
				ss.qs[i].walk(0, func(e entry) bool {
					lost = append(lost, e.id)
					return true
				})
			}
		}
		for _, id := range lost {
			s.removeLocked(ss, id, false, s.since())
		}
		s.meter.lost += uint64(len(lost))
	}
	return nil
}

package store

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// badger maps its logs into memory and dies of SIGBUS, which nothing catches,
// when the disk has no room for a page of one. So the store looks at the free
// space before it writes and refuses messages while less than the reserve is
// left. Should others take half of that too, it stops writing; once they have
// stopped it gives up the ballast, a file that occupies space and holds nothing,
// and goes on with what is acknowledged and deleted.

const ballastFile = "ballast"

// spaceEvery bounds how long the store writes without looking.
const spaceEvery = 200 * time.Millisecond

// reserve is what must be free: the logs of all memtables, twice their tables,
// and what compactions need before they delete what they read.
func (t tuning) reserve() int64 {
	return 4*t.memtable*int64(t.memtables+1) + 8*t.table
}

func (t tuning) ballast() int64 { return 2*t.memtable + 2*t.table }

func freeSpace(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// boundBytes gives the store its default bound: half of the disk that is free or
// already the store's.
func (s *Store) boundBytes() {
	if s.opts.MaxBytes != 0 || s.dir == "" {
		return
	}
	if free, err := s.opts.free(s.dir); err == nil {
		s.opts.MaxBytes = max((free+s.bodies)/2, 1)
	}
}

// watchSpace looks at the disk now and then, at the latest when a quarter of the
// reserve may have been written. Called by the committer.
func (s *Store) watchSpace() {
	if s.dir == "" {
		return
	}
	now := s.since()
	near := s.lastFree < 2*s.opts.Reserve
	if !near && s.spaceUsed < s.opts.Reserve/4 && now-s.spaceSeen < spaceEvery && s.spaceSeen != 0 {
		return
	}
	s.spaceSeen, s.spaceUsed = now, 0
	free, err := s.opts.free(s.dir)
	if err != nil {
		s.opts.Log.Warn("free disk space is not known", "err", err)
		return
	}
	full := free < s.opts.Reserve
	// Below half of the reserve nothing is written any more: what waits, waits
	// longer. The ballast is given up once nobody takes more, not to be taken too.
	least := s.opts.Reserve / 2
	if !s.ballast { // given up: this is what it was for
		least = s.tune.ballast() / 4
	}
	s.starved = free < least
	settled := free >= s.lastFree && now-s.settledAt > time.Second
	if free < s.lastFree || s.settledAt == 0 {
		s.settledAt = now
	}
	s.lastFree = free
	switch {
	case s.starved && s.ballast && settled:
		os.Remove(filepath.Join(s.dir, ballastFile))
		s.ballast = false
	case !full && !s.ballast && free > s.opts.Reserve+2*s.tune.ballast():
		s.ballast = s.layBallast() == nil
	}
	if s.full { // a little more than the bound, so that it does not flutter
		full = free < s.opts.Reserve+s.opts.Reserve/8
	}
	s.mu.Lock()
	changed := full != s.full
	s.full = full
	s.free = free
	s.mu.Unlock()
	if !changed {
		return
	}
	if full {
		s.opts.Log.Error("the disk is full, messages that must be kept are refused", "free", free, "reserve", s.opts.Reserve)
	} else {
		s.opts.Log.Info("the disk has space again", "free", free)
	}
}

// layBallast makes the ballast file, if it is not there, of real blocks.
func (s *Store) layBallast() error {
	name := filepath.Join(s.dir, ballastFile)
	if st, err := os.Stat(name); err == nil && st.Size() == s.tune.ballast() {
		return nil
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("store: ballast: %w", err)
	}
	defer f.Close()
	if err := allocate(f, s.tune.ballast()); err != nil {
		os.Remove(name)
		return fmt.Errorf("store: ballast: %w", err)
	}
	return nil
}

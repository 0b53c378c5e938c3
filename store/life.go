package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The life of a card is estimated from how fast it is written and from how often
// it can be written over as a whole. Makers of cards seldom say the latter: a cell
// of the usual kind (TLC) takes a thousand writes, and the card itself makes about
// three of one that is small, which leaves three hundred. Options.CardWrites has
// it where the maker says more (TBW divided by the size).
const cardWrites = 300

// lifeAfter is how long the rate of writing is watched before it is believed.
const lifeAfter = 10 * time.Minute

// lifeLocked fills in how fast the disk is written and how long it takes that.
// What the kernel counted for the whole device goes before what it counted for
// this process: a card wears out by everyone's writing.
func (s *Store) lifeLocked(st *Stats, now time.Duration) {
	written := max(st.DeviceWritten, st.DiskWritten)
	if now < lifeAfter || written == 0 {
		return
	}
	st.BytesPerDay = uint64(float64(written) / now.Hours() * 24)
	writes := s.opts.CardWrites
	if writes == 0 {
		writes = cardWrites
	}
	if st.DiskSize > 0 {
		st.CardYears = float64(st.DiskSize) * float64(writes) / float64(max(st.BytesPerDay, 1)) / 365
	}
}

// deviceSize is the size of the whole block device that dir lies on, or of its
// file system where there is no such device.
func deviceSize(dir string) int64 {
	if major, minor, err := deviceOf(dir); err == nil {
		sys := fmt.Sprintf("/sys/dev/block/%d:%d", major, minor)
		if _, err := os.Stat(filepath.Join(sys, "partition")); err == nil {
			if whole, err := filepath.EvalSymlinks(sys); err == nil {
				sys = filepath.Dir(whole)
			}
		}
		if b, err := os.ReadFile(filepath.Join(sys, "size")); err == nil {
			if sectors, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil {
				return sectors * 512
			}
		}
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0
	}
	return int64(fs.Blocks) * int64(fs.Bsize)
}

// deviceOf is the number of the block device that dir lies on.
func deviceOf(dir string) (major, minor uint64, err error) {
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		return 0, 0, err
	}
	dev := uint64(st.Dev)
	return dev>>8&0xfff | dev>>32&^0xfff, dev&0xff | dev>>12&^0xff, nil
}

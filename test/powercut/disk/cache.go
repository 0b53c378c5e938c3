// Package disk is a block device with a volatile write cache, served by the
// NBD protocol: a written block is safe only after a flush (or a write with
// "force unit access"). When the power goes, each block that was not flushed
// is kept, lost or torn, as a seed decides, as on a memory card.
package disk

import (
	"fmt"
	"io"
	"math/rand/v2"
	"sort"
	"sync"
)

// Sizes of what is kept or lost as one, and of what can tear.
const (
	BlockSize  = 4096
	SectorSize = 512
)

// maxVersions bounds the versions kept of a block that is written again and
// again without a flush; the older ones are forgotten, as if never in the cache.
const maxVersions = 8

// Medium is what lies under the cache.
type Medium interface {
	io.ReaderAt
	io.WriterAt
}

// Cache is a medium behind a volatile write cache.
type Cache struct {
	medium Medium
	size   int64

	mu    sync.Mutex         // guards the fields below, and the medium
	dirty map[int64][][]byte // block number: its versions since the last flush, oldest first
	stats Stats
}

// Stats counts what happened to the disk.
type Stats struct {
	Writes, Flushes, Bytes int64
	Kept, Lost, Torn       int64 // blocks not flushed, at cuts
}

// NewCache returns a cache over size bytes of medium; size is a multiple of
// BlockSize.
func NewCache(medium Medium, size int64) *Cache {
	return &Cache{medium: medium, size: size, dirty: map[int64][][]byte{}}
}

// Size is the disk's size in bytes.
func (c *Cache) Size() int64 { return c.size }

// Stats is a copy of the counters.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// Dirty is the number of blocks that are not safe now.
func (c *Cache) Dirty() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.dirty)
}

// ReadAt reads what was last written, safe or not.
func (c *Cache) ReadAt(b []byte, at int64) (int, error) {
	if err := c.within(len(b), at); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.medium.ReadAt(b, at); err != nil {
		return 0, err
	}
	c.each(len(b), at, func(block int64, inBlock, inData, n int) {
		if v := c.dirty[block]; v != nil {
			copy(b[inData:inData+n], v[len(v)-1][inBlock:])
		}
	})
	return len(b), nil
}

// WriteAt writes into the cache.
func (c *Cache) WriteAt(b []byte, at int64) (int, error) {
	if err := c.within(len(b), at); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Writes++
	c.stats.Bytes += int64(len(b))
	var failed error
	c.each(len(b), at, func(block int64, inBlock, inData, n int) {
		next := make([]byte, BlockSize)
		v := c.dirty[block]
		if v != nil {
			copy(next, v[len(v)-1])
		} else if n < BlockSize {
			if _, err := c.medium.ReadAt(next, block*BlockSize); err != nil {
				failed = err
				return
			}
		}
		copy(next[inBlock:], b[inData:inData+n])
		if len(v) == maxVersions {
			v = append(v[:0], v[1:]...)
		}
		c.dirty[block] = append(v, next)
	})
	return len(b), failed
}

// Flush makes every write safe.
func (c *Cache) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Flushes++
	for block, v := range c.dirty {
		if err := c.writeLocked(block, v[len(v)-1]); err != nil {
			return err
		}
	}
	clear(c.dirty)
	return nil
}

// Secure makes the blocks that touch the range safe: a write with "force unit
// access".
func (c *Cache) Secure(n int, at int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var failed error
	c.each(n, at, func(block int64, _, _, _ int) {
		if v := c.dirty[block]; v != nil && failed == nil {
			failed = c.writeLocked(block, v[len(v)-1])
			delete(c.dirty, block)
		}
	})
	return failed
}

// Cut is the loss of power: each unsafe block is kept as it was last written
// (or as at some moment since the flush), lost, or torn: each of its sectors
// comes from one of its versions. The seed and the writes alone decide.
func (c *Cache) Cut(rng *rand.Rand) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	blocks := make([]int64, 0, len(c.dirty))
	for b := range c.dirty {
		blocks = append(blocks, b)
	}
	sort.Slice(blocks, func(i, j int) bool { return blocks[i] < blocks[j] }) // a map's order is no seed
	for _, block := range blocks {
		versions := c.dirty[block]
		switch rng.IntN(3) {
		case 0:
			c.stats.Lost++
		case 1:
			c.stats.Kept++
			if err := c.writeLocked(block, versions[rng.IntN(len(versions))]); err != nil {
				return err
			}
		case 2:
			c.stats.Torn++
			for s := 0; s < BlockSize; s += SectorSize {
				i := rng.IntN(len(versions)+1) - 1
				if i < 0 {
					continue // this sector never reached the medium
				}
				if _, err := c.medium.WriteAt(versions[i][s:s+SectorSize], block*BlockSize+int64(s)); err != nil {
					return err
				}
			}
		}
	}
	clear(c.dirty)
	return nil
}

func (c *Cache) writeLocked(block int64, b []byte) error {
	_, err := c.medium.WriteAt(b, block*BlockSize)
	return err
}

func (c *Cache) within(n int, at int64) error {
	if at < 0 || at > c.size || int64(n) > c.size-at {
		return fmt.Errorf("%d bytes at %d are beyond the disk's end at %d", n, at, c.size)
	}
	return nil
}

// each splits n bytes at a place into what falls into each block.
func (c *Cache) each(n int, at int64, do func(block int64, inBlock, inData, n int)) {
	for done := 0; done < n; {
		inBlock := int((at + int64(done)) % BlockSize)
		k := min(n-done, BlockSize-inBlock)
		do((at+int64(done))/BlockSize, inBlock, done, k)
		done += k
	}
}

package disk

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// memory is a medium in memory.
type memory []byte

func (m memory) ReadAt(b []byte, at int64) (int, error)  { return copy(b, m[at:]), nil }
func (m memory) WriteAt(b []byte, at int64) (int, error) { return copy(m[at:], b), nil }

func fill(n int, with byte) []byte { return bytes.Repeat([]byte{with}, n) }

func write(t *testing.T, c *Cache, b []byte, at int64) {
	t.Helper()
	if _, err := c.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func TestReadsWhatWasWritten(t *testing.T) {
	medium := memory(fill(4*BlockSize, '.'))
	c := NewCache(medium, int64(len(medium)))
	write(t, c, fill(BlockSize, 'a'), 1000) // across two blocks
	got := make([]byte, BlockSize+2)
	if _, err := c.ReadAt(got, 999); err != nil {
		t.Fatal(err)
	}
	if want := "." + string(fill(BlockSize, 'a')) + "."; string(got) != want {
		t.Error("the read differs from the write")
	}
	if medium[1000] != '.' {
		t.Error("the medium changed without a flush")
	}
	if _, err := c.WriteAt([]byte{1, 2}, int64(len(medium))-1); err == nil {
		t.Error("a write beyond the end succeeded")
	}
}

func TestFlushedBlocksSurviveACut(t *testing.T) {
	medium := memory(fill(8*BlockSize, '.'))
	c := NewCache(medium, int64(len(medium)))
	write(t, c, fill(2*BlockSize, 'a'), 0)
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	write(t, c, fill(BlockSize, 'b'), 3*BlockSize)
	if err := c.Secure(BlockSize, 3*BlockSize); err != nil {
		t.Fatal(err)
	}
	if err := c.Cut(rand.New(rand.NewPCG(1, 1))); err != nil {
		t.Fatal(err)
	}
	want := string(fill(2*BlockSize, 'a')) + string(fill(BlockSize, '.')) + string(fill(BlockSize, 'b')) + string(fill(4*BlockSize, '.'))
	if string(medium) != want {
		t.Error("a flushed block changed at the cut")
	}
}

func TestUnflushedBlocksAreKeptLostOrTorn(t *testing.T) {
	const blocks = 300
	after := func(seed uint64) memory {
		medium := memory(fill(blocks*BlockSize, '.'))
		c := NewCache(medium, int64(len(medium)))
		for i := range int64(blocks) {
			write(t, c, fill(BlockSize, 'a'), i*BlockSize)
		}
		if err := c.Cut(rand.New(rand.NewPCG(seed, 1))); err != nil {
			t.Fatal(err)
		}
		if s := c.Stats(); s.Kept+s.Lost+s.Torn != blocks {
			t.Errorf("%+v do not add up to %d blocks", s, blocks)
		}
		return medium
	}
	medium := after(1)
	kept, lost, torn := 0, 0, 0
	for i := 0; i < len(medium); i += BlockSize {
		switch n := bytes.Count(medium[i:i+BlockSize], []byte{'a'}); {
		case n == BlockSize:
			kept++
		case n == 0:
			lost++
		case n%SectorSize == 0:
			torn++
		default:
			t.Fatalf("block %d: a sector is torn", i/BlockSize)
		}
	}
	if kept < blocks/5 || lost < blocks/5 || torn < blocks/5 {
		t.Errorf("kept %d, lost %d, torn %d of %d", kept, lost, torn, blocks)
	}
	if !bytes.Equal(medium, after(1)) {
		t.Error("the same seed tears differently")
	}
	if bytes.Equal(medium, after(2)) {
		t.Error("another seed tears the same")
	}
}

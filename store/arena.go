package store

import (
	"errors"
	"strconv"
	"unsafe"

	"github.com/dgraph-io/ristretto/v2/z"
)

var errArena = errors.New("store: this 32-bit program was built without the correction for badger and would corrupt its data; build it with make, which applies scripts/badger-overlay.sh")

// checkArena refuses to write with a badger that would corrupt its tables. On
// 32-bit machines the allocator its table builder uses hands out its first
// buffer twice, a shift in ristretto that overflows; our 32-bit builds are made
// with that line corrected (scripts/badger-overlay.sh).
func checkArena() error {
	if strconv.IntSize != 32 {
		return nil
	}
	a := z.NewAllocator(1024, "self-check")
	defer a.Release()
	first := a.Allocate(16)
	for range 4 { // well into the second buffer
		if b := a.Allocate(768); unsafe.SliceData(b) == unsafe.SliceData(first) {
			return errArena
		}
	}
	return nil
}

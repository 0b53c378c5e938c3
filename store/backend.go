package store

import "errors"

var errNotFound = errors.New("store: no such record")

// backend is where records lie: badger, or memory.
type backend interface {
	// write makes the writes durable, in one transaction as long as they fit,
	// else in several, in order.
	write(w *writes) error
	// get calls f with the value, which is valid during the call.
	get(key []byte, f func(value []byte) error) error
	// scan calls f for the keys with the prefix from start on, in order; value
	// is nil with keysOnly, size is the value's in any case.
	scan(prefix, start []byte, keysOnly bool, f func(key, value []byte, size int) error) error
	reclaim() error // gives space back that deletions left
	close() error
}

// errStop ends a scan early without an error.
var errStop = errors.New("stop")

// writes is the content of one transaction. Keys and values stay valid until
// reset.
type writes struct {
	list  []write
	arena []byte // backs keys and small values
	size  int
}

type write struct {
	key, value []byte // value nil: delete
}

func (w *writes) reset() {
	clear(w.list)
	w.list, w.arena, w.size = w.list[:0], w.arena[:0], 0
	if cap(w.arena) > 8<<20 {
		w.arena = nil
	}
}

// key makes a key in the arena.
func (w *writes) key(prefix string, ids ...uint64) []byte {
	at := len(w.arena)
	w.arena = appendKey(w.arena, prefix, ids...)
	return w.arena[at:len(w.arena):len(w.arena)]
}

func (w *writes) put(key, value []byte) {
	w.list = append(w.list, write{key, value})
	w.size += entryCost(len(key), len(value))
}

func (w *writes) delete(key []byte) {
	w.list = append(w.list, write{key, nil})
	w.size += entryCost(len(key), 0)
}

// entryCost is what badger counts for an entry, with something to spare.
func entryCost(key, value int) int { return key + value + 32 }

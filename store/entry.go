package store

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

var errCorrupt = errors.New("store: corrupt record")

// entry is what a queue record says of one message.
type entry struct {
	id      MessageID
	size    uint32 // what the message counts for, Message.size
	qos     byte
	options byte
	subs    []uint32
}

// entryWriter packs entries in order of ids. Each is a varint of the distance
// to the id before, shifted over two bits that say whether the size, and
// whether the options, differ from the entry before; what differs follows. The
// usual entry takes one byte, or two.
type entryWriter struct {
	buf  []byte
	prev entry
	n    int
}

const (
	entrySize    = 1 << 0
	entryOptions = 1 << 1
)

func (w *entryWriter) reset(group uint64) {
	w.buf, w.n = w.buf[:0], 0
	w.prev = entry{id: MessageID(group)}
}

func (w *entryWriter) add(e entry) {
	head := uint64(e.id-w.prev.id) << 2
	if e.size != w.prev.size {
		head |= entrySize
	}
	if e.qos != w.prev.qos || e.options != w.prev.options || !slices.Equal(e.subs, w.prev.subs) {
		head |= entryOptions
	}
	w.buf = binary.AppendUvarint(w.buf, head)
	if head&entrySize != 0 {
		w.buf = binary.AppendUvarint(w.buf, uint64(e.size))
	}
	if head&entryOptions != 0 {
		w.buf = append(w.buf, e.qos, e.options)
		w.buf = binary.AppendUvarint(w.buf, uint64(len(e.subs)))
		for _, id := range e.subs {
			w.buf = binary.AppendUvarint(w.buf, uint64(id))
		}
	}
	w.prev = e
	w.n++
}

// entryReader walks packed entries. The first bad byte ends it and sets err.
type entryReader struct {
	b   []byte
	e   entry
	err error
}

func readEntries(group uint64, b []byte) entryReader {
	return entryReader{b: b, e: entry{id: MessageID(group)}}
}

func (r *entryReader) next() bool {
	if len(r.b) == 0 || r.err != nil {
		return false
	}
	head := r.uvarint()
	r.e.id += MessageID(head >> 2)
	if head&entrySize != 0 {
		r.e.size = uint32(min(r.uvarint(), math.MaxUint32))
	}
	if head&entryOptions != 0 {
		if len(r.b) < 3 {
			r.fail()
			return false
		}
		r.e.qos, r.e.options = r.b[0], r.b[1]
		r.b = r.b[2:]
		n := r.uvarint()
		if n > uint64(len(r.b)) {
			r.fail()
			return false
		}
		r.e.subs = nil
		if n > 0 {
			r.e.subs = make([]uint32, n)
			for i := range r.e.subs {
				r.e.subs[i] = uint32(r.uvarint())
			}
		}
	}
	return r.err == nil
}

func (r *entryReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *entryReader) fail() {
	if r.err == nil {
		r.err, r.b = errCorrupt, nil
	}
}

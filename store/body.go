package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Body is a payload that is in the store and not in memory: Queue gives large
// messages one, and so does a Stream. It can be read from anywhere, but not on
// an event loop: that reads the disk.
type Body struct {
	s     *Store
	gid   uint64 // the group of the message; its p/ record may name id
	id    uint64 // of the parts; 0: not looked up yet
	size  int
	parts uint32
}

// Len is the payload's length; 0 for none.
func (b *Body) Len() int {
	if b == nil {
		return 0
	}
	return b.size
}

// Parts is how many parts the payload is in.
func (b *Body) Parts() int { return int(b.parts) }

// Part reads the i-th part into dst's memory. The error is ErrGone once nobody
// needs the message any more.
func (b *Body) Part(i int, dst []byte) ([]byte, error) {
	b.s.mu.Lock()
	be := b.s.be
	b.s.mu.Unlock()
	if be == nil {
		return nil, b.s.unusable()
	}
	if b.id == 0 {
		id, err := partsID(be, b.gid)
		if err != nil {
			return nil, err
		}
		b.id = id
	}
	err := be.get(appendChunkKey(nil, b.id, i), func(v []byte) error {
		dst = append(dst[:0], v...)
		return nil
	})
	if err == errNotFound {
		return nil, ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("store: part %d of message %d: %w", i, b.gid, err)
	}
	return dst, nil
}

// ErrGone means that a message was done with while it was read.
var ErrGone = errors.New("store: the message is gone")

// Load reads the whole payload into memory: for those who need it in one piece.
// The message must not be shared yet.
func (m *Message) Load() error {
	b := m.Body
	if b == nil {
		return nil
	}
	payload, part := make([]byte, 0, b.size), []byte(nil)
	for i := range b.Parts() {
		var err error
		if part, err = b.Part(i, part); err != nil {
			return err
		}
		payload = append(payload, part...)
	}
	if len(payload) != b.size {
		return fmt.Errorf("store: message %d has %d bytes instead of %d: %w", b.gid, len(payload), b.size, errCorrupt)
	}
	m.Payload, m.Body = payload, nil
	return nil
}

// partsID is the id under which the parts of a group's one body lie.
func partsID(be backend, gid uint64) (uint64, error) {
	id := gid
	err := be.get(appendKey(nil, prefixParts, gid), func(v []byte) error {
		if len(v) != 8 {
			return errCorrupt
		}
		id = binary.BigEndian.Uint64(v)
		return nil
	})
	if err == errNotFound {
		err = nil
	}
	return id, err
}

// eachParts calls f for every p/ record.
func eachParts(be backend, f func(gid, id uint64)) error {
	return be.scan([]byte(prefixParts), nil, false, func(key, v []byte, _ int) error {
		gid, ok := keyID(key, 0)
		if !ok || len(v) != 8 {
			return errCorrupt
		}
		f(gid, binary.BigEndian.Uint64(v))
		return nil
	})
}

// deleteChunks deletes the parts of a group's body, or those with that id. Two
// groups may name the same parts: then they stay until both are gone.
func (s *Store) deleteChunks(gid uint64) error {
	id, err := partsID(s.be, gid)
	if err != nil {
		return err
	}
	var w writes
	if id != gid {
		w.delete(appendKey(nil, prefixParts, gid))
	}
	shared := false
	err = eachParts(s.be, func(other, parts uint64) { shared = shared || parts == id && other != gid })
	if err != nil {
		return err
	}
	if !shared {
		err = s.be.scan(appendKey(nil, prefixGroup, id), nil, true, func(key, _ []byte, _ int) error {
			if isPart(key) {
				w.delete(slices.Clone(key))
			}
			return nil
		})
	}
	if err != nil || len(w.list) == 0 {
		return err
	}
	s.meter.wrote(&w)
	return s.be.write(&w)
}

package store

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// A payload too large for a group lies in parts of one record each, written
// before the transaction that refers to them and deleted after the one that
// ends it. What a crash leaves between is swept when the store is opened. They
// lie under the group's id, or, when they came as a Stream, under the one that the
// group's p/ record names.

func appendChunkKey(dst []byte, id uint64, part int) []byte {
	return binary.BigEndian.AppendUint32(appendKey(dst, prefixGroup, id), uint32(part))
}

// writeChunks writes a payload in parts, transaction by transaction.
func (s *Store) writeChunks(id uint64, payload []byte) (parts uint32, err error) {
	var w writes
	for part := range slices.Chunk(payload, s.tune.record) {
		if w.size > 0 && w.size+len(part) > s.tune.txn {
			if err := s.be.write(&w); err != nil {
				return 0, err
			}
			s.meter.wrote(&w)
			w.reset()
		}
		w.put(appendChunkKey(nil, id, int(parts)), part)
		parts++
	}
	if len(w.list) > 0 {
		if err := s.be.write(&w); err != nil {
			return 0, err
		}
		s.meter.wrote(&w)
	}
	return parts, nil
}

// readChunks puts the payload of a group's one body together again.
func readChunks(be backend, gid uint64, r *messageRecord) ([]byte, error) {
	id, err := partsID(be, gid)
	if err != nil {
		return nil, err
	}
	payload := make([]byte, 0, r.Size)
	var key []byte
	for part := range int(r.Chunks) {
		key = appendChunkKey(key[:0], id, part)
		err := be.get(key, func(v []byte) error {
			payload = append(payload, v...)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("store: part %d of message %d: %w", part, gid, err)
		}
	}
	if len(payload) != int(r.Size) {
		return nil, fmt.Errorf("store: message %d has %d bytes instead of %d: %w", gid, len(payload), r.Size, errCorrupt)
	}
	return payload, nil
}

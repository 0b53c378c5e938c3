package store

import (
	"fmt"
	"time"

	"github.com/tinylib/msgp/msgp"
)

// restore reads the index of what is on disk into memory: sessions, what of
// which group they need, QoS 2 state. Bodies stay where they are. What a crash
// left without an owner becomes a chore.
func (s *Store) restore() error {
	if err := s.restoreFormat(); err != nil {
		return err
	}
	err := s.be.scan([]byte(prefixSession), nil, true, func(key, _ []byte, _ int) error {
		id, ok := keyID(key, 0)
		if !ok {
			return errCorrupt
		}
		s.sessions[SessionID(id)] = &session{id: SessionID(id)}
		s.nextSession = max(s.nextSession, id+1)
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.restoreGroups(); err != nil {
		return err
	}
	if err := s.restoreState(); err != nil {
		return err
	}
	if err := s.restoreRetained(); err != nil {
		return err
	}
	if err := s.restoreChunks(); err != nil {
		return err
	}
	if err := s.migrateRetained(); err != nil {
		return err
	}
	s.upto = MessageID(s.nextMessage - 1)
	s.publishedMessage = s.upto
	s.bound = s.nextMessage
	return nil
}

func (s *Store) restoreFormat() error {
	var f formatRecord
	err := s.be.get([]byte(keyFormat), func(v []byte) error {
		_, err := f.UnmarshalMsg(v)
		return err
	})
	if err == errNotFound {
		f = formatRecord{Version: formatVersion, Created: time.Now().UnixMilli()}
		var w writes
		v, _ := f.MarshalMsg(nil)
		w.put([]byte(keyFormat), v)
		return s.be.write(&w)
	}
	if err != nil {
		return fmt.Errorf("store: read its format: %w", err)
	}
	if f.Version > formatVersion {
		return &VersionError{Found: int(f.Version)}
	}
	if f.Version < formatVersion { // first: an older program would not see what is written from now on
		f.Version = formatVersion
		var w writes
		v, _ := f.MarshalMsg(nil)
		w.put([]byte(keyFormat), v)
		if err := s.be.write(&w); err != nil {
			return err
		}
	}
	var ids idsRecord
	err = s.be.get([]byte(keyIDs), func(v []byte) error {
		_, err := ids.UnmarshalMsg(v)
		return err
	})
	if err != nil && err != errNotFound {
		return fmt.Errorf("store: read its ids: %w", err)
	}
	s.nextMessage, s.keptMessages = max(s.nextMessage, ids.Messages), ids.Messages
	s.nextSession, s.keptSessions = max(s.nextSession, ids.Sessions), ids.Sessions
	return nil
}

// VersionError says that the store was written by a newer program.
type VersionError struct{ Found int }

func (e *VersionError) Error() string {
	return fmt.Sprintf("store: the data is of format %d, this program knows up to %d: install the newer gatewayd again, or give another data directory", e.Found, formatVersion)
}

func (s *Store) restoreGroups() error {
	return s.be.scan([]byte(prefixQueue), nil, false, func(key, value []byte, _ int) error {
		id, _ := keyID(key, 0)
		gid, ok := keyID(key, 1)
		if !ok {
			return errCorrupt
		}
		ss := s.sessions[SessionID(id)]
		g, err := readQgroup(gid, value)
		if err != nil {
			return fmt.Errorf("store: queue record of session %d, group %d: %w", id, gid, err)
		}
		s.nextMessage = max(s.nextMessage, gid+1)
		if ss == nil || g.n == 0 {
			s.chores = append(s.chores, chore{kind: choreQueue, session: SessionID(id), group: gid})
			return nil
		}
		gr, has := s.groups[gid]
		if !has {
			gr = group{bytes: g.body, chunks: g.chunked}
			s.bodies += int64(g.body)
		}
		gr.refs++
		s.groups[gid] = gr
		ss.qs = append(ss.qs, g)
		ss.messages += int(g.n)
		ss.bytes += g.bytes
		ss.waiting, ss.waitBits = ss.messages, ss.bytes
		s.messages += int(g.n)
		s.bytes += g.bytes
		return nil
	})
}

func (s *Store) restoreState() error {
	err := s.be.scan([]byte(prefixFlight), nil, false, func(key, value []byte, _ int) error {
		id, _ := keyID(key, 0)
		ss := s.sessions[SessionID(id)]
		var r flightRecord
		if _, err := r.UnmarshalMsg(value); err != nil {
			return fmt.Errorf("store: QoS 2 state of session %d: %w", id, err)
		}
		if len(r.Messages) != len(r.Packets) || len(r.Released) != len(r.Packets) {
			return fmt.Errorf("store: QoS 2 state of session %d: %w", id, errCorrupt)
		}
		if ss == nil {
			return nil
		}
		ss.mark = r.Mark
		for i, pid := range r.Packets {
			f := flight{pid: pid, id: MessageID(r.Messages[i]), released: r.Released[i] != 0}
			// A message leaves the queue when PUBREC came: without it the
			// delivery is released, whatever the record says.
			if g := ss.group(f.id); !f.released && (g < 0 || ss.qs[g].unpack().find(f.id) < 0) {
				f.released = true
			}
			ss.flights = append(ss.flights, f)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.be.scan([]byte(prefixHold), nil, false, func(key, value []byte, _ int) error {
		id, _ := keyID(key, 0)
		ss := s.sessions[SessionID(id)]
		var r holdRecord
		if _, err := r.UnmarshalMsg(value); err != nil || len(r.Digests) != len(r.Packets) {
			return fmt.Errorf("store: held packet ids of session %d: %w", id, errCorrupt)
		}
		if ss == nil {
			return nil
		}
		for i, pid := range r.Packets {
			ss.holds = append(ss.holds, hold{pid, r.Digests[i]})
		}
		return nil
	})
}

// restoreChunks finds the retained messages that lie in parts.
func (s *Store) restoreChunks() error {
	s.retainedChunks = make(map[string]uint64)
	s.restoredChunks = make(map[uint64]struct{})
	return s.be.scan([]byte(prefixRetained), nil, false, func(key, value []byte, _ int) error {
		id, err := chunkID(value)
		if err != nil {
			return fmt.Errorf("store: retained message: %w", err)
		}
		if id != 0 {
			s.retainedChunks[string(key)] = id
			s.restoredChunks[id] = struct{}{}
			s.nextMessage = max(s.nextMessage, id+1)
		}
		return nil
	})
}

// chunkID reads ChunkID, and no more, of a retainedRecord.
func chunkID(b []byte) (uint64, error) {
	_, b, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil {
		return 0, err
	}
	v, b, err := msgp.ReadUint8Bytes(b)
	if err != nil {
		return 0, err
	}
	if v != recordVersion {
		return 0, badVersion("retained", v)
	}
	id, _, err := msgp.ReadUint64Bytes(b)
	return id, err
}

package store

import (
	"fmt"
	"maps"
	"slices"
)

// Loader receives what the store held when it was opened. Nil members are
// skipped; an error ends Load with it. Sessions come before what they own.
type Loader struct {
	Session      func(s Session, packetIDMark uint16) error
	Subscription func(SessionID, Subscription) error
	Will         func(SessionID, Will) error
	Hold         func(id SessionID, pid uint16, digest uint64) error
	Flight       func(SessionID, Flight) error // in order of sending
	Retained     func(*Message) error
	Value        func(key string, value []byte) error
}

// Load hands out what was stored. Call it before the first Submit; the store may
// run already.
func (s *Store) Load(l Loader) error {
	for _, step := range []func(Loader) error{s.loadSessions, s.loadSubscriptions, s.loadWills, s.loadQoS2, s.loadRetained, s.loadValues} {
		if err := step(l); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) loadSessions(l Loader) error {
	if l.Session == nil {
		return nil
	}
	return s.be.scan([]byte(prefixSession), nil, false, func(key, value []byte, _ int) error {
		id, _ := keyID(key, 0)
		var r sessionRecord
		if _, err := r.UnmarshalMsg(value); err != nil {
			return fmt.Errorf("store: session %d: %w", id, err)
		}
		var mark uint16
		s.mu.Lock()
		if ss := s.sessions[SessionID(id)]; ss != nil {
			mark = ss.mark
		}
		s.mu.Unlock()
		return l.Session(Session{
			ID: SessionID(id), ClientID: r.ClientID, User: r.User, Version: r.Protocol,
			ExpiryInterval: r.ExpiryInterval, DisconnectedAt: r.DisconnectedAt, Data: r.Data,
		}, mark)
	})
}

func (s *Store) loadSubscriptions(l Loader) error {
	if l.Subscription == nil {
		return nil
	}
	return s.be.scan([]byte(prefixSubscription), nil, false, func(key, value []byte, _ int) error {
		id, _ := keyID(key, 0)
		if !s.hasSession(id) {
			return nil
		}
		var r subscriptionRecord
		if _, err := r.UnmarshalMsg(value); err != nil {
			return fmt.Errorf("store: subscription of session %d: %w", id, err)
		}
		return l.Subscription(SessionID(id), Subscription{Filter: r.Filter, Options: r.Options, ID: r.ID, Data: r.Data})
	})
}

func (s *Store) loadWills(l Loader) error {
	if l.Will == nil {
		return nil
	}
	return s.be.scan([]byte(prefixWill), nil, false, func(key, value []byte, _ int) error {
		id, _ := keyID(key, 0)
		if !s.hasSession(id) {
			return nil
		}
		var r willRecord
		if _, err := r.UnmarshalMsg(value); err != nil {
			return fmt.Errorf("store: will of session %d: %w", id, err)
		}
		return l.Will(SessionID(id), Will{Message: r.Message.message(), Delay: r.Delay, Due: r.Due})
	})
}

func (s *Store) hasSession(id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[SessionID(id)] != nil
}

func (s *Store) loadQoS2(l Loader) error {
	s.mu.Lock()
	ids := slices.Sorted(maps.Keys(s.sessions))
	s.mu.Unlock()
	for _, id := range ids {
		s.mu.Lock()
		ss := s.sessions[id]
		holds, flights := slices.Clone(ss.holds), slices.Clone(ss.flights)
		s.mu.Unlock()
		if l.Hold != nil {
			for _, h := range holds {
				if err := l.Hold(id, h.pid, h.digest); err != nil {
					return err
				}
			}
		}
		if l.Flight == nil {
			continue
		}
		for _, f := range flights {
			fl := Flight{PacketID: f.pid, Released: f.released, Queued: Queued{ID: f.id}}
			if !f.released {
				q, err := s.queued(id, f.id)
				if err != nil {
					return fmt.Errorf("store: message %d, sent to session %d: %w", f.id, id, err)
				}
				fl.Queued = q
			}
			if err := l.Flight(id, fl); err != nil {
				return err
			}
		}
	}
	return nil
}

// queued reads one message of a session. Its group may be merged with others
// between the look at the index and the read: then it lies elsewhere.
func (s *Store) queued(id SessionID, m MessageID) (Queued, error) {
	for try := 0; ; try++ {
		s.mu.Lock()
		be, ss := s.be, s.sessions[id]
		var items []queueItem
		if ss != nil {
			items = ss.page(m-1, 1, 1)
		}
		s.mu.Unlock()
		if be == nil {
			return Queued{}, s.unusable()
		}
		if len(items) == 0 || items[0].id != m {
			return Queued{}, errNotFound
		}
		q, err := s.readItems(be, nil, items)
		if err != nil {
			return Queued{}, err
		}
		if len(q) > 0 {
			return q[0], nil
		}
		if try > 100 || !s.relocated(id, items) { // a damaged record may name a message of another group for ever
			return Queued{}, errNotFound
		}
	}
}

func (s *Store) loadRetained(l Loader) error {
	if l.Retained == nil {
		return nil
	}
	if err := s.loadRetainedGroups(l.Retained); err != nil {
		return err
	}
	return s.be.scan([]byte(prefixRetained), nil, false, func(_, value []byte, _ int) error {
		m, err := s.readRetained(value)
		if err != nil {
			return err
		}
		return l.Retained(m)
	})
}

func (s *Store) readRetained(value []byte) (*Message, error) {
	var r retainedRecord
	if _, err := r.UnmarshalMsg(value); err != nil {
		return nil, fmt.Errorf("store: retained message: %w", err)
	}
	if r.Message.Chunks > 0 {
		p, err := readChunks(s.be, r.ChunkID, &r.Message)
		if err != nil {
			return nil, err
		}
		r.Message.Payload = p
	}
	m := r.Message.message()
	return &m, nil
}

func (s *Store) loadValues(l Loader) error {
	if l.Value == nil {
		return nil
	}
	return s.be.scan([]byte(prefixValue), nil, false, func(key, value []byte, _ int) error {
		return l.Value(string(key[len(prefixValue):]), value)
	})
}

// Get reads a value of a room above, one that still waits to be written lazily
// included; nil when there is none.
func (s *Store) Get(key string) ([]byte, error) {
	s.mu.Lock()
	be := s.be
	v, ok := s.lazy[prefixValue+key]
	s.mu.Unlock()
	if ok {
		return slices.Clone(v.value), nil
	}
	if be == nil {
		return nil, s.unusable()
	}
	var value []byte
	err := be.get([]byte(prefixValue+key), func(b []byte) error {
		value = append([]byte{}, b...)
		return nil
	})
	if err == errNotFound {
		return nil, nil
	}
	return value, err
}

// Scan calls f for each written value whose key begins with prefix and is
// greater than after, in order of keys, until f returns false. The value is
// valid during the call.
func (s *Store) Scan(prefix, after string, f func(key string, value []byte) bool) error {
	s.mu.Lock()
	be := s.be
	s.mu.Unlock()
	if be == nil {
		return s.unusable()
	}
	return be.scan([]byte(prefixValue+prefix), []byte(prefixValue+after), false, func(k, value []byte, _ int) error {
		key := string(k[len(prefixValue):])
		if key == after {
			return nil
		}
		if !f(key, value) {
			return errStop
		}
		return nil
	})
}

// LastID is the id of the message submitted last; after Open, and before the
// first, an id that none on disk exceeds.
func (s *Store) LastID() MessageID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return MessageID(s.nextMessage - 1)
}

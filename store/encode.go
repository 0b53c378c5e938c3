package store

import (
	"bytes"
	"slices"
)

// encodeOps adds a submission's operations to the transaction, in order. Later
// writes of a key replace earlier ones.
func (s *Store) encodeOps(c *cut, sub *submission) error {
	w := &c.full
	for i := range sub.ops {
		o := &sub.ops[i]
		if o.ss != nil && o.ss.buried {
			continue
		}
		switch o.kind {
		case opPutSession:
			w.put(w.key(prefixSession, uint64(o.session)), o.value)
		case opDeleteSession:
			if err := s.bury(c, o.ss); err != nil {
				return err
			}
		case opPutSubscription:
			w.put(appendSubscriptionKey(nil, o.session, o.key), o.value)
		case opDeleteSubscription:
			w.delete(appendSubscriptionKey(nil, o.session, o.key))
		case opPutWill:
			w.put(w.key(prefixWill, uint64(o.session)), o.value)
		case opDeleteWill:
			w.delete(w.key(prefixWill, uint64(o.session)))
		case opPutRetained:
			if err := s.encodeRetained(c, o.message); err != nil {
				return err
			}
		case opDeleteRetained:
			s.deleteRetained(c, o.key)
		case opHold, opRelease:
			s.applyHold(c, o)
		case opPut:
			w.put([]byte(prefixValue+o.key), nonNil(o.value))
		case opPart:
			w.put([]byte(o.key), o.value)
		case opDropParts:
			c.chunks = append(c.chunks, uint64(o.id))
		case opDelete:
			w.delete([]byte(prefixValue + o.key))
		}
	}
	return nil
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// applyHold changes a session's inbound QoS 2 state. It is applied here and not
// when it was submitted, because a hold on disk without its message would make
// the client's repeat look delivered.
func (s *Store) applyHold(c *cut, o *op) {
	ss := o.ss
	if ss.cut != s.cutNo {
		ss.cut = s.cutNo
		ss.before = append(ss.before[:0], ss.holds...)
		c.holds = append(c.holds, ss)
	}
	i, found := ss.hold(o.pid)
	switch {
	case o.kind == opHold && found:
		ss.holds[i].digest = uint64(o.id)
	case o.kind == opHold:
		ss.holds = slices.Insert(ss.holds, i, hold{o.pid, uint64(o.id)})
	case found:
		ss.holds = slices.Delete(ss.holds, i, i+1)
	}
}

// bury deletes a session's records but for its queue, which goes with the
// chores.
func (s *Store) bury(c *cut, ss *session) error {
	ss.buried, ss.holds = true, nil
	w, id := &c.full, uint64(ss.id)
	prefix := appendKey(nil, prefixSubscription, id)
	w.list = slices.DeleteFunc(w.list, func(e write) bool { return bytes.HasPrefix(e.key, prefix) })
	w.delete(w.key(prefixSession, id))
	w.delete(w.key(prefixWill, id))
	w.delete(w.key(prefixFlight, id))
	w.delete(w.key(prefixHold, id))
	return s.be.scan(prefix, nil, true, func(key, _ []byte, _ int) error {
		w.delete(bytes.Clone(key))
		return nil
	})
}

// encodeRetained writes a retained message: packed with the others of the
// transaction, or in chunks when it is large.
func (s *Store) encodeRetained(c *cut, m *Message) error {
	if m.size() <= s.tune.largeMessage {
		s.replaceChunks(c, m.Topic)
		s.packRetained(c, m, false)
		return nil
	}
	key := appendRetainedKey(nil, m.Topic)
	r := retainedRecord{Version: recordVersion, Message: m.record()}
	s.forgetChunks(c, key)
	s.mu.Lock()
	r.ChunkID = s.nextMessage // unique as a message's id is
	s.nextMessage++
	s.mu.Unlock()
	n, err := s.writeChunks(r.ChunkID, m.Payload)
	if err != nil {
		return err
	}
	r.Message.Chunks, r.Message.Size, r.Message.Payload = n, uint32(len(m.Payload)), nil
	s.retainedChunks[string(key)] = r.ChunkID
	v, _ := r.MarshalMsg(nil)
	s.retained.keep(key)
	c.full.put(key, v)
	return nil
}

// deleteRetained writes that a topic has no retained message, if it has one.
func (s *Store) deleteRetained(c *cut, topic string) {
	s.replaceChunks(c, topic)
	if at, had := s.retained.topics[topic]; had && at&1 == 0 {
		s.packRetained(c, &Message{Topic: topic}, true)
	}
}

// replaceChunks has the record of a large retained message deleted together with
// what comes in its place.
func (s *Store) replaceChunks(c *cut, topic string) {
	if len(s.retainedChunks) == 0 {
		return
	}
	key := appendRetainedKey(nil, topic)
	if _, large := s.retainedChunks[string(key)]; large {
		s.forgetChunks(c, key)
		s.retained.after = append(s.retained.after, key)
	}
}

// forgetChunks has the chunks of a retained message that is replaced deleted.
func (s *Store) forgetChunks(c *cut, key []byte) {
	if len(s.retainedChunks) == 0 {
		return
	}
	if id, ok := s.retainedChunks[string(key)]; ok {
		c.chunks = append(c.chunks, id)
		delete(s.retainedChunks, string(key))
	}
}

package store

import "slices"

// Stream is a payload on its way into the store, part by part as it arrives, so
// that a message of hundreds of megabytes needs neither memory for all of it nor
// a transaction that everybody else waits for. Its parts are batches like any
// others; the message that owns them comes last:
//
//	NewStream ─▶ Part … ─▶ receipts of all ─▶ Body ─▶ AddMessage
//	                └───────────────────────▶ DropStream
//
// What a crash leaves unowned is swept at the next start.
type Stream struct {
	s    *Store
	id   uint64
	size int // announced
	got  int
	part uint32
}

// NewStream begins a payload of so many bytes. ErrQuota means that the store has
// no room for all of it.
func (s *Store) NewStream(size int) (*Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.stateErrLocked(); err != nil {
		return nil, err
	}
	room := size
	for _, st := range s.streams {
		room += st.size
	}
	switch {
	case size > s.opts.MaxMessage:
		return nil, ErrTooLarge
	case s.full,
		s.opts.MaxBytes > 0 && s.bodies+int64(s.pendingBytes+room) > s.opts.MaxBytes,
		s.dir != "" && s.free > 0 && int64(room) > s.free-s.opts.Reserve:
		s.meter.rejected++
		return nil, ErrQuota
	}
	st := &Stream{s: s, id: s.nextMessage, size: size} // unique as a message's id is
	s.nextMessage++
	if s.streams == nil {
		s.streams = make(map[uint64]*Stream)
	}
	s.streams[st.id] = st
	return st, nil
}

// PartSize is how many bytes a part has; the last one may have fewer.
func (st *Stream) PartSize() int { return st.s.tune.record }

// AddPart adds the next part. The batch keeps data.
func (b *Batch) AddPart(st *Stream, data []byte) {
	b.add(op{kind: opPart, id: MessageID(st.id), key: string(appendChunkKey(nil, st.id, int(st.part))), value: data})
	st.part++
	st.got += len(data)
}

// DropStream deletes what there is of a payload that nobody will own.
func (b *Batch) DropStream(st *Stream) { b.add(op{kind: opDropParts, id: MessageID(st.id)}) }

// Body is the payload, once all parts were added and their receipts had no error.
// It may be given to AddMessage, which takes the stream over if the batch is
// accepted.
func (st *Stream) Body() *Body {
	return &Body{s: st.s, gid: st.id, id: st.id, size: st.got, parts: st.part}
}

// streamsLocked says whether every stream that the submission needs is still
// there: after a failure of the disk its parts may not be.
func (s *Store) streamsLocked(sub *submission) bool {
	for i := range sub.ops {
		if o := &sub.ops[i]; o.kind == opPart && s.streams[uint64(o.id)] == nil {
			return false
		}
	}
	return !slices.ContainsFunc(sub.msgs, func(m pendingMessage) bool {
		return m.msg.Body != nil && s.streams[m.msg.Body.id] == nil
	})
}

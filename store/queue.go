package store

import (
	"errors"
	"hash/crc32"
	"slices"
	"sort"
	"time"

	"github.com/tinylib/msgp/msgp"
)

// queueItem is one message that Queue is going to hand out.
type queueItem struct {
	entry
	gid uint64
	msg *Message // still in memory
}

// Queue appends the session's messages after the given id to dst, in order,
// submitted but uncommitted ones included, until limit messages or maxBytes
// bytes are reached (at least one). It may read the disk: never call it on an
// event loop or under a lock. What is handed out no longer counts against the
// session's bound. A large message comes with a Body instead of its payload.
func (s *Store) Queue(dst []Queued, id SessionID, after MessageID, limit, maxBytes int) ([]Queued, error) {
	return s.readQueue(dst, id, after, limit, maxBytes, true)
}

// Peek is Queue for those who only look: what it returns goes on counting, and
// has its payloads.
func (s *Store) Peek(dst []Queued, id SessionID, after MessageID, limit, maxBytes int) ([]Queued, error) {
	n := len(dst)
	dst, err := s.readQueue(dst, id, after, limit, maxBytes, false)
	for i := n; i < len(dst) && err == nil; i++ {
		err = dst[i].Message.Load()
	}
	return dst, err
}

func (s *Store) readQueue(dst []Queued, id SessionID, after MessageID, limit, maxBytes int, take bool) ([]Queued, error) {
	for try := 0; ; try++ {
		s.mu.Lock()
		if s.be == nil || s.state != stateOpen {
			err := s.stateErrLocked()
			s.mu.Unlock()
			return dst, err
		}
		be, ss := s.be, s.sessions[id]
		var items []queueItem
		if ss != nil {
			items = ss.page(after, limit, maxBytes)
			for i := 0; take && i < len(items); i++ {
				ss.handOut(items[i].id, items[i].size, items[i].subs)
			}
		}
		s.mu.Unlock()
		if len(items) == 0 {
			return dst, nil
		}
		n := len(dst)
		dst = slices.Grow(dst, len(items))
		var err error
		if dst, err = s.readItems(be, dst, items); err != nil {
			if !s.lose(id, err) {
				return dst, err
			}
			if len(dst) > n {
				return dst, nil
			}
			continue
		}
		if len(dst)-n == len(items) {
			return dst, nil
		}
		// Some were done with before they were read, or lie in another group now.
		if try < 1000 && s.relocated(id, items) { // a damaged record may name a message of another group for ever
			clear(dst[n:])
			dst = dst[:n]
			continue
		}
		s.loseUnread(id, items, dst[n:])
		if len(dst) > n {
			return dst, nil
		}
		after = items[len(items)-1].id
	}
}

// bodyError says that the bodies of some messages cannot be read.
type bodyError struct {
	items []queueItem
	err   error
}

func (e *bodyError) Error() string { return e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// lose takes messages whose record is damaged out of the queue, or they would
// stand in the way of all that follow; false means that err is of another kind.
func (s *Store) lose(id SessionID, err error) bool {
	var be *bodyError
	if !errors.As(err, &be) || !errors.Is(err, errCorrupt) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ss := s.sessions[id]
	if ss == nil {
		return false
	}
	for i := range be.items {
		if s.removeLocked(ss, be.items[i].id, false, s.since()) {
			s.meter.lost++
		}
	}
	s.opts.Log.Error("queued messages are lost, their record is damaged", "session", uint64(id), "messages", len(be.items), "err", err)
	return true
}

// Lose takes a message out of a session's queue whose parts are missing or
// damaged, as Body.Part has found; another error changes nothing.
func (s *Store) Lose(id SessionID, m MessageID, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !errors.Is(err, ErrGone) && !errors.Is(err, errCorrupt) {
		return // it may be readable again
	}
	if ss := s.sessions[id]; ss != nil && s.state == stateOpen && s.removeLocked(ss, m, false, s.since()) {
		s.meter.lost++
		s.opts.Log.Error("a queued message is lost, its parts cannot be read", "session", uint64(id), "message", uint64(m), "err", err)
	}
}

// loseUnread takes out of the queue what is still in it but has no body.
func (s *Store) loseUnread(id SessionID, items []queueItem, read []Queued) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ss := s.sessions[id]
	for i := range items {
		if len(read) > 0 && read[0].ID == items[i].id {
			read = read[1:]
			continue
		}
		if ss != nil && items[i].msg == nil && s.removeLocked(ss, items[i].id, false, s.since()) {
			s.meter.lost++
			s.opts.Log.Error("a queued message has no body and is lost", "session", uint64(id), "message", uint64(items[i].id))
		}
	}
}

// mergedWaitLocked waits while what is on disk may be ahead of memory.
func (s *Store) mergedWaitLocked() {
	for s.merging {
		s.mu.Unlock()
		time.Sleep(100 * time.Microsecond)
		s.mu.Lock()
	}
}

// relocated says whether one of the items is still queued, under another group
// than it was.
func (s *Store) relocated(id SessionID, items []queueItem) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mergedWaitLocked()
	ss := s.sessions[id]
	if ss == nil {
		return false
	}
	for i := range items {
		if g := ss.group(items[i].id); items[i].msg == nil && g >= 0 && ss.qs[g].gid != items[i].gid && ss.qs[g].unpack().find(items[i].id) >= 0 {
			return true
		}
	}
	return false
}

// page lists the next messages in order. Store.mu is held.
func (ss *session) page(after MessageID, limit, maxBytes int) []queueItem {
	var items []queueItem
	size := 0
	more := func(e entry) bool {
		return len(items) < limit && (len(items) == 0 || size+int(e.size) <= maxBytes)
	}
	mem := sort.Search(len(ss.memq), func(i int) bool { return ss.memq[i].id > after })
	memory := func(before MessageID) bool { // those of class Memory in between
		for ; mem < len(ss.memq) && ss.memq[mem].id < before; mem++ {
			m := &ss.memq[mem]
			if m.m == nil {
				continue
			}
			if !more(m.e) {
				return false
			}
			items, size = append(items, queueItem{entry: m.e, msg: m.m}), size+int(m.e.size)
		}
		return true
	}
	for i := max(ss.group(after), 0); i < len(ss.qs); i++ {
		g := &ss.qs[i]
		ok := g.walk(after, func(e entry) bool {
			if !memory(e.id) || !more(e) {
				return false
			}
			items, size = append(items, queueItem{entry: e, gid: g.gid}), size+int(e.size)
			return true
		})
		if !ok {
			return items
		}
	}
	from := sort.Search(len(ss.pend), func(i int) bool { return ss.pend[i].id > after })
	for _, p := range ss.pend[from:] {
		if p.sub == nil {
			continue
		}
		r, m := p.rcpt(), &p.sub.msgs[p.m]
		if r.late {
			continue
		}
		e := entry{id: p.id, size: m.size, qos: r.qos, options: r.options, subs: slices.Clone(r.subs)}
		if !memory(e.id) || !more(e) {
			return items
		}
		items, size = append(items, queueItem{entry: e, msg: m.msg}), size+int(e.size)
	}
	memory(^MessageID(0))
	return items
}

// readItems reads the bodies, one record for as many as lie in it; those in parts
// stay where they are. What is no longer there was done with meanwhile and is left
// out.
func (s *Store) readItems(be backend, dst []Queued, items []queueItem) ([]Queued, error) {
	var key []byte
	for i := 0; i < len(items); {
		it := &items[i]
		if it.msg != nil {
			dst = append(dst, it.queued(it.msg))
			i++
			continue
		}
		j := i + 1
		for j < len(items) && items[j].gid == it.gid && items[j].msg == nil {
			j++
		}
		key = appendKey(key[:0], prefixGroup, it.gid)
		var chunked *Message
		var rec, large messageRecord
		messages := make([]Message, j-i)
		err := be.get(key, func(v []byte) error {
			r, err := readBodies(it.gid, v)
			if err != nil {
				return err
			}
			for n := range items[i:j] {
				ok, err := r.find(items[i+n].id, &rec)
				if err != nil {
					return err
				}
				if !ok {
					continue
				}
				messages[n] = rec.message()
				if rec.Chunks > 0 {
					chunked, large = &messages[n], rec
				}
				dst = append(dst, items[i+n].queued(&messages[n]))
				rec = messageRecord{}
			}
			return nil
		})
		if err != nil && err != errNotFound {
			return dst, &bodyError{items[i:j], err}
		}
		if chunked != nil { // alone in its group
			chunked.Body = &Body{s: s, gid: it.gid, size: int(large.Size), parts: large.Chunks}
		}
		i = j
	}
	return dst, nil
}

func (it *queueItem) queued(m *Message) Queued {
	return Queued{ID: it.id, Message: m, QoS: it.qos, Options: it.options, SubscriptionIDs: it.subs}
}

// bodyReader finds messages in a body record, without copying it.
type bodyReader struct {
	gid    uint64
	ids    []byte // what is left of the packed numbers
	ends   []byte
	left   uint32
	at     uint32 // where the next begins
	bodies []byte
}

func readBodies(gid uint64, b []byte) (r bodyReader, err error) {
	r.gid = gid
	n, b, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil || n != 5 {
		return r, errCorrupt
	}
	v, b, err := msgp.ReadUint8Bytes(b)
	if err != nil {
		return r, errCorrupt
	}
	if v != recordVersion {
		return r, badVersion("body", v)
	}
	if r.left, b, err = msgp.ReadArrayHeaderBytes(b); err != nil {
		return r, errCorrupt
	}
	r.ids = b
	for range r.left {
		if b, err = msgp.Skip(b); err != nil {
			return r, errCorrupt
		}
	}
	ends, b, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil || ends != r.left {
		return r, errCorrupt
	}
	r.ends = b
	for range r.left {
		if b, err = msgp.Skip(b); err != nil {
			return r, errCorrupt
		}
	}
	sum, b, err := msgp.ReadUint32Bytes(b)
	if err != nil {
		return r, errCorrupt
	}
	if r.bodies, _, err = msgp.ReadBytesZC(b); err != nil || crc32.Checksum(r.bodies, castagnoli) != sum {
		return r, errCorrupt
	}
	return r, nil
}

// next moves to the next message and returns its bytes.
func (r *bodyReader) next() (id MessageID, body []byte, ok bool, err error) {
	if r.left == 0 {
		return 0, nil, false, nil
	}
	var delta uint64
	var end uint32
	if delta, r.ids, err = msgp.ReadUint64Bytes(r.ids); err != nil {
		return 0, nil, false, errCorrupt
	}
	if end, r.ends, err = msgp.ReadUint32Bytes(r.ends); err != nil || end < r.at || int(end) > len(r.bodies) {
		return 0, nil, false, errCorrupt
	}
	body = r.bodies[r.at:end]
	r.at = end
	r.left--
	return MessageID(r.gid + delta), body, true, nil
}

// find looks for a message; ids must be asked for in ascending order.
func (r *bodyReader) find(id MessageID, rec *messageRecord) (bool, error) {
	for {
		if r.left == 0 {
			return false, nil
		}
		save := *r
		got, body, ok, err := r.next()
		if !ok || err != nil {
			return false, err
		}
		if got > id {
			*r = save
			return false, nil
		}
		if got == id {
			_, err := rec.UnmarshalMsg(body)
			return true, err
		}
	}
}

// Depth is what a session's queue holds; oldest is the Time of its first
// message, to the packed group, 0 when it is empty.
func (s *Store) Depth(id SessionID) (messages int, bytes int64, oldest int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ss := s.sessions[id]
	if ss == nil {
		return 0, 0, 0
	}
	if len(ss.qs) > 0 {
		oldest = ss.qs[0].oldest
	} else {
		for _, p := range ss.pend {
			if p.sub != nil {
				oldest = p.sub.msgs[p.m].msg.Time
				break
			}
		}
	}
	for i := range ss.memq {
		if m := ss.memq[i].m; m != nil && (oldest == 0 || m.Time < oldest) {
			oldest = m.Time
			break
		}
	}
	return ss.messages, ss.bytes, oldest
}

package broker

import "gatewayd/store"

// bodyRead is one receiver's way through a payload that is in the store: one part
// of it is in memory, the one that is being written. The session's mutex guards
// it; while asked is set it is the reader's alone.
type bodyRead struct {
	body *store.Body
	key  store.SessionID
	id   store.MessageID
	next int    // the part to be read
	have []byte // the part at hand
	off  int    // where in the payload that begins
}

// read gets the next part. It reads the disk.
func (r *bodyRead) read() error {
	if r.next == r.body.Parts() {
		return store.ErrGone // shorter than its record says
	}
	r.off += len(r.have)
	part, err := r.body.Part(r.next, r.have)
	if err != nil {
		return err
	}
	r.have = part
	r.next++
	return nil
}

// lacks returns the payload that is to be written next but has to be read first,
// when skip bytes of the outbox are gone; nil when there is something to write.
func (o *outbox) lacks(skip int) *bodyRead {
	at := 0
	for i := range o.refs {
		r := &o.refs[i]
		if skip < r.at-at {
			return nil
		}
		skip -= r.at - at
		at = r.at
		n := r.len()
		if skip >= n {
			skip -= n
			continue
		}
		if r.body != nil && skip >= r.body.off+len(r.body.have) {
			return r.body
		}
		return nil
	}
	return nil
}

// partTaken is called when the client has taken a part of a payload: it is alive,
// even if nothing is read from it meanwhile because of what waits for it. Anyone
// may call it.
func (c *conn) partTaken() {
	if c.full.Load() {
		c.lastPacket.Store(c.b.clock.Now())
	}
}

// unreadable is called when a payload cannot be read on: what the client has of
// it is no whole packet, so the connection ends. A message that is damaged leaves
// the queue, or it would come again for ever. The reader calls it.
func (c *conn) unreadable(t *turn, r *bodyRead, err error) {
	c.b.store.Lose(r.key, r.id, err)
	c.end(t, err)
	c.tr.abort(t)
}

// loadFlights reads what a session has in flight of large messages: the link that
// is about to take it over needs them in one piece.
func (b *Broker) loadFlights(clientID string) {
	b.sessionsMu.RLock()
	s := b.sessions[clientID]
	b.sessionsMu.RUnlock()
	if s == nil {
		return
	}
	s.mu.Lock()
	var large []*message
	if s.flow != nil {
		for i := range s.flow.flight {
			if m := s.flow.flight[i].msg; m != nil && m.body != nil {
				large = append(large, m)
			}
		}
	}
	s.mu.Unlock()
	for _, m := range large {
		w := m.whole()
		if w == nil {
			continue // it is tried again when it is sent
		}
		s.mu.Lock()
		for i := range s.flow.flight {
			if d := &s.flow.flight[i]; d.msg == m {
				d.msg = w
			}
		}
		s.mu.Unlock()
	}
}

package store

import "fmt"

// Health is the store's state in words.
type Health struct {
	OK      bool
	Reasons []string
}

// Health says whether the store can keep its promises, and if not, why.
func (s *Store) Health() Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	var h Health
	switch {
	case s.state == stateFailed:
		h.Reasons = append(h.Reasons, fmt.Sprintf("the disk has failed: %v", s.failure))
	case s.state == stateClosed:
		h.Reasons = append(h.Reasons, "closed")
	}
	if s.full {
		h.Reasons = append(h.Reasons, "the disk is full")
	}
	if s.meter.lost > 0 {
		h.Reasons = append(h.Reasons, fmt.Sprintf("%d queued messages were lost to corruption", s.meter.lost))
	}
	h.OK = len(h.Reasons) == 0
	return h
}

// failLocked is called when a transaction could not be made durable. badger has
// it in its memtable nevertheless, so nothing that this badger says can be
// trusted from here on: everything that waits is refused.
func (s *Store) failLocked(c *cut, err error) {
	s.state, s.failure = stateFailed, err
	s.opts.Log.Error("the store cannot write", "err", err)
	refuse := func(sub *submission) {
		s.completeLocked(sub, Receipt{Err: ErrFailed})
	}
	for _, sub := range c.subs {
		refuse(sub)
	}
	for _, sub := range s.pending[s.pendingHead:] {
		if !sub.over {
			refuse(sub)
		}
	}
	s.pending, s.pendingHead, s.pendingOver, s.pendingBytes = nil, 0, 0, 0
}

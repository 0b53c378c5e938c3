package broker

import (
	"context"
	"errors"

	"gatewayd/store"
)

// saving is how far the store knows of a session, its subscriptions and its
// will. That nothing has changed may be said without a write only while all that
// changed before is on the disk.
type saving struct {
	under   int           // batches on their way
	failed  bool          // one was refused: only memory has what it said
	removed []string      // filters whose removal was refused
	then    []func(error) // to be called when none is on its way any more
}

var errNotSaved = errors.New("what was changed before could not be saved")

// saveLocked completes a batch that changes what the store knows of s, and says
// whether there is anything in it. If so, its receipt has to lead to saved. What
// was refused before is said again.
func (s *session) saveLocked(batch *store.Batch) bool {
	if s.saves.failed && s.durable() && s.key != 0 {
		s.saveAllLocked(batch)
	}
	if batch.Len() == 0 {
		return false
	}
	s.saves.under++
	return true
}

func (s *session) saveAllLocked(batch *store.Batch) {
	batch.PutSession(s.recordLocked())
	for _, name := range s.saves.removed {
		if s.findLocked(name) < 0 {
			batch.DeleteSubscription(s.key, name)
		}
	}
	for _, sub := range s.subs {
		batch.PutSubscription(s.key, store.Subscription{Filter: sub.name, Options: uint8(sub.opts), ID: sub.id})
	}
	switch {
	case s.conn == nil && s.link == nil: // its will is the business of whoever takes it off
	case s.will != nil:
		batch.PutWill(s.key, s.will.record(0))
		s.stored = s.will
	default:
		batch.DeleteWill(s.key)
		s.stored = nil
	}
	s.saves.failed, s.saves.removed = false, nil
}

// saved is what the receipt of such a batch leads to; removed are the filters
// whose subscriptions it took out.
func (s *session) saved(err error, removed []string) {
	s.mu.Lock()
	v := &s.saves
	v.under--
	if err != nil {
		v.failed = true
		v.removed = append(v.removed, removed...)
	}
	var then []func(error)
	err = nil
	if v.under == 0 {
		then, v.then = v.then, nil
		if v.failed {
			err = errNotSaved
		}
	}
	s.mu.Unlock()
	for _, f := range then {
		f(err)
	}
}

// whenSavedLocked has then called once nothing is on its way; it must not block.
// It reports false, and does nothing, when nothing is.
func (s *session) whenSavedLocked(then func(error)) bool {
	if s.saves.under == 0 {
		return false
	}
	s.saves.then = append(s.saves.then, then)
	return true
}

// saveFor makes a batch durable, and what was on its way before. saves is what
// saveLocked has said of it.
func (b *Broker) saveFor(s *session, batch *store.Batch, saves bool, removed ...string) error {
	if batch.Len() > 0 {
		err := b.save(batch)
		if saves {
			s.saved(err, removed)
		}
		if err != nil {
			return err
		}
	}
	done := make(chan error, 1)
	s.mu.Lock()
	waits := s.whenSavedLocked(func(err error) { done <- err })
	s.mu.Unlock()
	if !waits {
		return nil
	}
	select {
	case err := <-done:
		return err
	case <-b.ctx.Done():
		return context.Cause(b.ctx)
	}
}

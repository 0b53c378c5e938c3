package store

import (
	"context"
	"errors"
	"time"
)

// Alive returns nil once the commit loop has turned since the call and the
// deliverer has run a receipt; otherwise it returns when ctx ends and says
// which stands still. A store that refuses writes is alive. A watchdog asks;
// it costs no write but that of a lazy value.
func (s *Store) Alive(ctx context.Context) error {
	turns := s.turns.Load()
	s.poke(s.wake)
	var b Batch
	b.PutLazy("x/alive", []byte{1})
	done := make(chan struct{})
	switch err := s.TrySubmit(&b, func(Receipt) { close(done) }); err {
	case nil:
		select {
		case <-done:
		case <-ctx.Done():
			return errors.New("the store's deliverer")
		}
	default: // busy, full or failed: nothing to deliver
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for s.turns.Load() == turns {
		if !s.Health().OK {
			return nil // it mends itself with pauses of its own
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("the store's commit loop")
		}
	}
	return nil
}

package store

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestAlive holds up the commit loop in the middle of a write.
func TestAlive(t *testing.T) {
	s, stop := running(t, t.TempDir(), Options{})
	defer stop()
	alive := func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return s.Alive(ctx)
	}
	for range 3 { // idle, too: it has to be woken
		if err := alive(time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	held := &heldBackend{entered: make(chan struct{}), release: make(chan struct{})}
	flush(t, s)
	s.mu.Lock()
	held.backend, s.be = s.be, held
	s.mu.Unlock()
	var b Batch
	b.Put("x/held", []byte("1"))
	if err := s.Submit(t.Context(), &b, nil); err != nil {
		t.Fatal(err)
	}
	<-held.entered
	if err := alive(100 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "commit loop") {
		t.Errorf("the commit loop is held up, Alive says %v", err)
	}
	close(held.release)
	if err := alive(time.Minute); err != nil {
		t.Error(err)
	}
}

// heldBackend does not come back from its first write until it may.
type heldBackend struct {
	backend
	entered, release chan struct{}
	once             sync.Once
}

func (h *heldBackend) write(w *writes) error {
	h.once.Do(func() { close(h.entered); <-h.release })
	return h.backend.write(w)
}

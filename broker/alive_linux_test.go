package broker

import (
	"context"
	"strings"
	"testing"
	"time"
)

// TestAlive holds up one loop after the other: Alive names the one that stands
// still, and is content when it goes on.
func TestAlive(t *testing.T) {
	s := newServer(t, nil)
	alive := func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return s.b.Alive(ctx)
	}
	const long, short = time.Minute, 100 * time.Millisecond
	if err := alive(long); err != nil {
		t.Fatal(err)
	}
	for i, l := range s.b.loops.all {
		hold, held := make(chan struct{}), make(chan struct{})
		l.post(nil, func(*turn) { close(held); <-hold })
		<-held
		err := alive(short)
		close(hold)
		if err == nil || !strings.Contains(err.Error(), "event loop") {
			t.Errorf("loop %d is held up, Alive says %v", i, err)
		}
		if err := alive(long); err != nil {
			t.Errorf("loop %d goes on, Alive says %v", i, err)
		}
	}
	s.b.timers.mu.Lock() // the clock cannot look at its agenda
	err := alive(short)
	for err != nil && !strings.Contains(err.Error(), "clock") { // a busy machine may be slow elsewhere
		err = alive(long / 60)
	}
	s.b.timers.mu.Unlock()
	if err == nil {
		t.Error("the clock is held up and Alive is content")
	}
	if err := alive(long); err != nil {
		t.Error(err)
	}
}

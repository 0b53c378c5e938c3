package broker

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Alive returns nil once every loop of the broker has turned since the call:
// each event loop, the goroutine that acts on the store's receipts, and the
// clock. Otherwise it returns when ctx ends and says which stands still. It
// costs the loops one empty turn; a watchdog asks every few seconds.
func (b *Broker) Alive(ctx context.Context) error {
	back := make(chan int, b.loops.count())
	b.loops.each(func(i int) { back <- i })
	again := b.receipts.again()
	select {
	case b.receipts.wake <- struct{}{}:
	default: // it is about to turn
	}
	beat := b.timers.beats.Load()
	select {
	case b.timers.wake <- struct{}{}:
	default:
	}

	turned := make([]bool, b.loops.count())
	for range turned {
		select {
		case i := <-back:
			turned[i] = true
		case <-ctx.Done():
			for i, ok := range turned {
				if !ok {
					return fmt.Errorf("event loop %d of the broker", i)
				}
			}
		}
	}
	select {
	case <-again:
	case <-ctx.Done():
		return errors.New("the broker's receipts")
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for b.timers.beats.Load() == beat {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("the broker's clock")
		}
	}
	return nil
}

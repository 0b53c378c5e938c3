package sensors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"periph.io/x/conn/v3/gpio"
)

// HC-SR04 and alike: distance by the run time of a sound. trigger and echo are
// lines; the echo's edges are timed by the kernel, so that this program's own
// delays do not lengthen the way. temperature is the air's, for the speed of
// sound.
var driverHCSR04 = Driver{
	Name: "hcsr04", Part: "HC-SR04", Bus: BusPins,
	Quantities: []string{"distance"}, Options: []string{"trigger", "echo", "temperature"}, MinEvery: 60 * time.Millisecond,
	Open: openHCSR04,
}

type hcsr04 struct {
	set     func(bool) error
	release func() error
	stop    context.CancelFunc
	done    chan struct{}
	speed   float64 // of sound, m/s

	mu   sync.Mutex // guards the fields below
	rise time.Time
	fall chan time.Duration
	err  error
}

func openHCSR04(b Buses, p Params) (Probe, error) {
	trigger, echo := p.optText("trigger", ""), p.optText("echo", "")
	if trigger == "" || echo == "" {
		return nil, errors.New("needs the lines trigger and echo")
	}
	t, err := p.optNumber("temperature", 20)
	if err != nil {
		return nil, err
	}
	h := &hcsr04{done: make(chan struct{}), fall: make(chan time.Duration, 1), speed: 331.3 + 0.606*t}
	if h.set, h.release, err = b.Output(trigger, false); err != nil {
		return nil, fmt.Errorf("trigger: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.stop = cancel
	started := make(chan struct{})
	var once sync.Once
	go func() { // ends with Close
		defer close(h.done)
		err := b.WatchInput(ctx, echo, gpio.PullNoChange, 0, func(high bool, at time.Time, seq uint64) {
			once.Do(func() { close(started) })
			h.edge(high, at, seq)
		})
		h.mu.Lock()
		h.err = err
		h.mu.Unlock()
		once.Do(func() { close(started) })
	}()
	<-started
	h.mu.Lock()
	err = h.err
	h.mu.Unlock()
	if err != nil {
		_ = h.Close()
		return nil, fmt.Errorf("echo: %w", err)
	}
	return h, nil
}

func (h *hcsr04) edge(high bool, at time.Time, seq uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case seq == 0:
	case high:
		h.rise = at
	case !h.rise.IsZero():
		select {
		case h.fall <- at.Sub(h.rise):
		default:
		}
		h.rise = time.Time{}
	}
}

// Read gives a pulse of 10 µs and waits for the echo.
func (h *hcsr04) Read(ctx context.Context, emit func(Reading)) error {
	select {
	case <-h.fall: // of a ping that was given up
	default:
	}
	if err := h.set(true); err != nil {
		return err
	}
	time.Sleep(10 * time.Microsecond)
	if err := h.set(false); err != nil {
		return err
	}
	timeout := time.NewTimer(100 * time.Millisecond)
	defer timeout.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timeout.C:
		return errors.New("no echo: is the part connected and supplied?")
	case d := <-h.fall:
		r := Of("distance", d.Seconds()*h.speed/2)
		switch {
		case d > 25*time.Millisecond:
			r.bad("nothing within reach")
		case r.Value < 0.02:
			r.bad("closer than the part can tell")
		}
		emit(r)
		return nil
	}
}

func (h *hcsr04) Close() error {
	h.stop()
	<-h.done
	return h.release()
}

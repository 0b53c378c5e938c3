package hil

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"gatewayd/test/rig"
)

// watch is an MQTT subscriber to everything, on the host.
type watch struct {
	client *rig.Client

	mu    sync.Mutex // guards the fields below
	log   []message
	moved chan struct{} // closed and replaced with each message
	err   error
}

type message struct{ topic, payload string }

// startWatch connects as soon as the gateway in the guest answers.
func startWatch(t *testing.T, m *rig.Machine, address string) *watch {
	t.Helper()
	w := &watch{moved: make(chan struct{})}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	// An early attempt may reach the guest late; under its own name it takes
	// nobody's session over.
	err := m.Dial(ctx, func() error {
		c, _, err := rig.Connect(address, "hello", 4, true)
		if err == nil {
			c.Goodbye()
		}
		return err
	})
	if err == nil {
		w.client, _, err = rig.Connect(address, "watch", 5, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	if err := w.client.SendSubscribe("#", 0, 1); err != nil {
		t.Fatal(err)
	}
	go w.read()
	return w
}

func (w *watch) read() {
	for {
		p, err := w.client.Read()
		w.mu.Lock()
		if p.Type == rig.PUBLISH {
			w.log = append(w.log, message{p.Topic, string(p.Payload)})
		}
		w.err = err
		close(w.moved)
		w.moved = make(chan struct{})
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// mark is a place in the log: what was received before does not count.
func (w *watch) mark() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.log)
}

// wait returns after the first message on the topic since mark whose payload
// pleases.
func (w *watch) wait(from int, topic string, within time.Duration, pleases func(payload string) bool) error {
	late := time.After(within)
	begin := from
	for {
		w.mu.Lock()
		log, moved, err := w.log, w.moved, w.err
		w.mu.Unlock()
		for ; from < len(log); from++ {
			if log[from].topic == topic && pleases(log[from].payload) {
				return nil
			}
		}
		if err != nil {
			return err
		}
		select {
		case <-moved:
		case <-late:
			return fmt.Errorf("nothing fitting on %s within %v; there was %q", topic, within, tail(log[begin:]))
		}
	}
}

func tail(log []message) []message { return log[max(0, len(log)-12):] }

func is(want string) func(string) bool { return func(payload string) bool { return payload == want } }

// near says whether the payload is a number close to want.
func near(want, tolerance float64) func(string) bool {
	return func(payload string) bool {
		var v float64
		_, err := fmt.Sscan(payload, &v)
		return err == nil && v > want-tolerance && v < want+tolerance
	}
}

package broker

import (
	"fmt"
	"testing"

	"gatewayd/mqtt"
)

// TestReplayWindow replays many retained messages at QoS 1 to a client that
// acknowledges each: all come, once, in order, never more than the window ahead,
// and what is published meanwhile is not lost.
func TestReplayWindow(t *testing.T) {
	s := newServer(t, nil)
	const n = 1000
	for i := range n {
		p := Publication{Topic: fmt.Sprintf("r/%04d", i), Payload: []byte("x"), QoS: 1, Retain: true, Lazy: true}
		if err := s.b.Publish(t.Context(), p, nil); err != nil {
			t.Fatal(err)
		}
	}
	w := s.wire("a")
	w.send(&mqtt.Subscribe{ID: 1, Requests: []mqtt.Request{{Filter: "r/#", Options: 1}}})
	if _, ok := w.read().(*mqtt.Suback); !ok {
		t.Fatal("no SUBACK")
	}
	if err := s.b.Publish(t.Context(), Publication{Topic: "r/live", Payload: []byte("x"), QoS: 1}, nil); err != nil {
		t.Fatal(err)
	}
	next, live := 0, false
	for next < n || !live {
		p, ok := w.read().(*mqtt.Publish)
		if !ok {
			t.Fatal("not a PUBLISH")
		}
		if p.Topic == "r/live" {
			live = true
		} else if want := fmt.Sprintf("r/%04d", next); p.Topic != want || !p.Retain {
			t.Fatalf("got %s, want %s", p.Topic, want)
		} else {
			next++
		}
		w.send(&mqtt.Puback{ID: p.ID})
	}
}

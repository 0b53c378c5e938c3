package broker

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"gatewayd/mqtt"
	"gatewayd/store"
)

// keepAll publishes n retained messages of QoS 1.
func keepAll(t *testing.T, s *server, n int) {
	t.Helper()
	for i := range n {
		p := Publication{Topic: fmt.Sprintf("r/%04d", i), Payload: []byte("x"), QoS: 1, Retain: true}
		if err := s.b.Publish(t.Context(), p, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.st.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// takeSome reads and acknowledges n messages of a replay and returns how often
// each topic came.
func takeSome(t *testing.T, w *wire, n int, got map[string]int) {
	t.Helper()
	for range n {
		p, ok := w.read().(*mqtt.Publish)
		if !ok {
			t.Fatal("not a PUBLISH")
		}
		got[p.Topic]++
		w.send(&mqtt.Puback{ID: p.ID})
	}
}

// TestReplayGoesOn cuts a durable client off in the middle of the retained
// messages of '#': it gets the rest when it comes back, without subscribing
// again, to the same broker, to one that was restarted and to one that lost its
// memory.
func TestReplayGoesOn(t *testing.T) {
	const n = 500
	for _, how := range []string{"connection", "restart", "crash", "crash after a minute"} {
		t.Run(how, func(t *testing.T) {
			s := newServer(t, nil)
			keepAll(t, s, n)
			w := s.durableWire("a")
			w.send(&mqtt.Subscribe{ID: 1, Requests: []mqtt.Request{{Filter: "#", Options: 1}}})
			if _, ok := w.read().(*mqtt.Suback); !ok {
				t.Fatal("no SUBACK")
			}
			got := map[string]int{}
			takeSome(t, w, n/3, got)
			switch how {
			case "connection":
				w.Close()
			case "restart":
				w.Close()
				s.restart()
			default:
				if how != "crash" {
					eventually(t, "the replay has come on", func() bool { return s.cursorOf("a") >= "r/0100" })
					s.b.cursors.save(s.b)
					if err := s.st.Flush(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				s = s.crashed()
			}
			w = s.durableWire("a")
			before := len(got)
			for len(got) < n {
				takeSome(t, w, 1, got)
			}
			twice := 0
			for _, times := range got {
				twice += times - 1
			}
			switch limit := s.opts.MaxInflight; {
			case how == "crash": // the whole of what it had
				limit = before
				fallthrough
			default:
				if limit == 0 {
					limit = 20
				}
				if twice > limit+20 {
					t.Errorf("%d messages came twice", twice)
				}
			}
			// Once it is over the store forgets it.
			eventually(t, "all is acknowledged", func() bool { return s.cursorOf("a") == "" })
			s.b.cursors.save(s.b)
			if err := s.st.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			_ = s.st.Scan(cursorPrefix, "", func(key string, _ []byte) bool {
				t.Errorf("%s is left in the store", key)
				return true
			})
		})
	}
}

// cursorOf is where the first replay of a session stands; "" when all are over.
func (s *server) cursorOf(id string) string {
	s.b.sessionsMu.RLock()
	se := s.b.sessions[id]
	s.b.sessionsMu.RUnlock()
	se.mu.Lock()
	defer se.mu.Unlock()
	if !se.replaysLocked() {
		return ""
	}
	other := &session{subs: se.subs, index: se.index}
	other.takeCursorLocked(se.cursorLocked(nil))
	return other.replay[0].after
}

// crashed is a server on what the card of s has at this moment.
func (s *server) crashed() *server {
	s.t.Helper()
	var image bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.st.Backup(ctx, &image); err != nil {
		s.t.Fatal(err)
	}
	s.close()
	n := &server{t: s.t, dir: s.t.TempDir() + "/store", opts: s.opts}
	if err := store.Restore(n.dir, &image); err != nil {
		s.t.Fatal(err)
	}
	n.start()
	s.t.Cleanup(n.close)
	return n
}

// durableWire is a client whose session outlives its connections.
func (s *server) durableWire(id string) *wire {
	s.t.Helper()
	w := s.wire("")
	w.send(&mqtt.Connect{Version: mqtt.V5, ClientID: id, Properties: &mqtt.Properties{
		Present: mqtt.PropertiesOf(mqtt.PropSessionExpiry), SessionExpiry: 3600}})
	if ack, ok := w.read().(*mqtt.Connack); !ok || ack.Code != mqtt.Success {
		s.t.Fatalf("%s: %+v", id, ack)
	}
	return w
}

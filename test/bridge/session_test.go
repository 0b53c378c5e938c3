package bridge_test

import (
	"fmt"
	"testing"
	"time"

	"gatewayd/bridge"
	"gatewayd/mqtt"
)

// TestConnackLost has a centre begin a session whose CONNACK never reaches the gateway, as one does that restarts at the
// wrong moment, or a balancer that delivers a CONNECT after its client has left. The next CONNACK says that there is a
// session: it has no subscriptions, and the bridge must not think it had.
func TestConnackLost(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		p      bridge.Protocol
		answer bool // CONNACK comes, but the connection ends before SUBSCRIBE is read
	}{{bridge.Only5, false}, {bridge.Only5, true}, {bridge.Only311, false}, {bridge.Only311, true}} {
		p := tc.p
		t.Run(fmt.Sprint(p, tc.answer), func(t *testing.T) {
			t.Parallel()
			s := newScripted(t)
			s.connack = func(n int64, _ *mqtt.Connect) mqtt.Packet {
				switch n {
				case 1:
					return &mqtt.Connack{}
				case 2: // the session is made
					if tc.answer {
						s.mute = n
						return &mqtt.Connack{}
					}
					return nil
				}
				return &mqtt.Connack{SessionPresent: true}
			}
			s.run()
			g := newGateway(t, "")
			b := g.bridge(bridge.Options{Protocol: p, Addresses: []string{s.addr()}, ConnectTimeout: 300 * time.Millisecond,
				Rules: []bridge.Rule{{Filter: "down/#", Direction: bridge.In, QoS: 1}}})
			in(t, bridge.Connected, b)
			s.cut()
			eventually(t, 60*time.Second, "connected again", func() bool { return b.Status().Connects == 2 })
			if tc.answer {
				eventually(t, 60*time.Second, "a third connection", func() bool { return s.conns.Load() == 3 })
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.requests) < 2 {
				t.Errorf("subscribed %d times, want at least twice", len(s.requests))
			}
		})
	}
}

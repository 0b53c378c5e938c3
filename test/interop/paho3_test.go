package interop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

func finished(t *testing.T, what string, tok paho.Token) {
	t.Helper()
	if !tok.WaitTimeout(patience) {
		t.Fatalf("%s: no end after %s", what, patience)
	}
	if err := tok.Error(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// TestPaho3 goes through Eclipse Paho for MQTT 3.1 and 3.1.1: QoS, retained, will, session, order.
func TestPaho3(t *testing.T) {
	for _, tc := range []struct {
		name, url string
		version   uint
	}{
		{"3.1", "tcp://" + tcpAddr, 3}, {"3.1.1", "tcp://" + tcpAddr, 4}, {"3.1.1 over WebSocket", wsURL, 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			base := "paho3/" + strings.ReplaceAll(tc.name, " ", "")
			client := func(id string, clean bool, set func(*paho.ClientOptions)) paho.Client {
				o := paho.NewClientOptions().AddBroker(tc.url).SetClientID(strings.ReplaceAll(base, "/", "-") + id).
					SetProtocolVersion(tc.version).SetCleanSession(clean).SetAutoReconnect(false).SetOrderMatters(true)
				if set != nil {
					set(o)
				}
				c := paho.NewClient(o)
				finished(t, "connect", c.Connect())
				t.Cleanup(func() { c.Disconnect(0) })
				return c
			}
			got := make(chan paho.Message, 1000)
			take := func(_ paho.Client, m paho.Message) { got <- m }
			a := client("a", true, nil)
			finished(t, "subscribe", a.SubscribeMultiple(map[string]byte{base + "/x/#": 2, base + "/will": 1}, take))
			b := client("b", true, nil)
			for qos := byte(0); qos <= 2; qos++ {
				for i := range 100 {
					finished(t, "publish", b.Publish(base+"/x/y", qos, false, fmt.Sprintf("%d-%d", qos, i)))
				}
				for i := range 100 {
					if m := recv(t, got); string(m.Payload()) != fmt.Sprintf("%d-%d", qos, i) || m.Qos() != qos {
						t.Fatalf("got %q at QoS %d, want %d-%d", m.Payload(), m.Qos(), qos, i)
					}
				}
			}
			w := client("w", true, func(o *paho.ClientOptions) {
				o.SetWill(base+"/will", "gone", 1, false).SetKeepAlive(time.Second)
			})
			_ = w
			finished(t, "takeover", paho.NewClient(paho.NewClientOptions().AddBroker(tc.url).
				SetClientID(strings.ReplaceAll(base, "/", "-")+"w").SetProtocolVersion(tc.version)).Connect())
			if m := recv(t, got); m.Topic() != base+"/will" || string(m.Payload()) != "gone" {
				t.Errorf("got %q on %s, want the will", m.Payload(), m.Topic())
			}
			finished(t, "retain", b.Publish(base+"/kept", 1, true, "kept"))
			finished(t, "subscribe", a.Subscribe(base+"/kept", 1, take))
			if m := recv(t, got); !m.Retained() || string(m.Payload()) != "kept" {
				t.Errorf("got %q, retained %v", m.Payload(), m.Retained())
			}
			finished(t, "delete", b.Publish(base+"/kept", 1, true, ""))
			recv(t, got)

			p := client("p", false, nil)
			finished(t, "subscribe", p.Subscribe(base+"/queue", 2, nil))
			p.Disconnect(100)
			for i := range 50 {
				finished(t, "publish", b.Publish(base+"/queue", 2, false, fmt.Sprint(i)))
			}
			client("p", false, func(o *paho.ClientOptions) { o.SetDefaultPublishHandler(take) })
			for i := range 50 {
				if m := recv(t, got); string(m.Payload()) != fmt.Sprint(i) {
					t.Fatalf("got %q, want %d", m.Payload(), i)
				}
			}
			finished(t, "unsubscribe", a.Unsubscribe(base+"/x/#"))
		})
	}
}

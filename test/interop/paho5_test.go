package interop

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
)

func dial5(t *testing.T, id string, on func(*paho.Publish), cp *paho.Connect) *paho.Client {
	t.Helper()
	conn, err := net.Dial("tcp", tcpAddr)
	if err != nil {
		t.Fatal(err)
	}
	c := paho.NewClient(paho.ClientConfig{
		Conn: conn,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			if on != nil {
				on(r.Packet)
			}
			return true, nil
		}},
	})
	if cp == nil {
		cp = &paho.Connect{CleanStart: true}
	}
	cp.ClientID, cp.KeepAlive = id, 30
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ack, err := c.Connect(ctx, cp)
	if err != nil {
		t.Fatalf("connect: %v, %v", err, ack)
	}
	t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
	return c
}

func publish5(t *testing.T, c *paho.Client, p *paho.Publish) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := c.Publish(ctx, p); err != nil {
		t.Fatalf("publish: %v", err)
	}
}

// TestPaho5 goes through Eclipse Paho for MQTT 5: QoS, properties, subscription options, session, shared subscriptions.
func TestPaho5(t *testing.T) {
	t.Parallel()
	got := make(chan *paho.Publish, 1000)
	a := dial5(t, "paho5a", func(p *paho.Publish) { got <- p }, nil)
	ctx := t.Context()
	id := 42
	if _, err := a.Subscribe(ctx, &paho.Subscribe{
		Properties:    &paho.SubscribeProperties{SubscriptionIdentifier: &id},
		Subscriptions: []paho.SubscribeOptions{{Topic: "paho5/x/#", QoS: 2, NoLocal: true, RetainAsPublished: true}},
	}); err != nil {
		t.Fatal(err)
	}
	b := dial5(t, "paho5b", nil, nil)
	for qos := byte(0); qos <= 2; qos++ {
		for i := range 50 {
			expiry := uint32(100)
			format := byte(1)
			publish5(t, b, &paho.Publish{Topic: "paho5/x/y", QoS: qos, Payload: fmt.Appendf(nil, "%d-%d", qos, i), Properties: &paho.PublishProperties{
				ContentType: "text/plain", ResponseTopic: "re", CorrelationData: []byte{7}, MessageExpiry: &expiry, PayloadFormat: &format,
				User: paho.UserProperties{{Key: "z", Value: "1"}, {Key: "a", Value: "2"}},
			}})
		}
		for i := range 50 {
			m := recv(t, got)
			pr := m.Properties
			if string(m.Payload) != fmt.Sprintf("%d-%d", qos, i) || m.QoS != qos {
				t.Fatalf("got %v, want %d-%d", m, qos, i)
			}
			if pr.ContentType != "text/plain" || pr.ResponseTopic != "re" || string(pr.CorrelationData) != "\x07" || pr.User.Get("a") != "2" ||
				pr.User[0].Key != "z" || pr.SubscriptionIdentifier == nil || *pr.SubscriptionIdentifier != 42 || *pr.MessageExpiry > 100 {
				t.Fatalf("properties %v", pr)
			}
		}
	}
	publish5(t, a, &paho.Publish{Topic: "paho5/x/y", QoS: 1, Payload: []byte("own")}) // no local
	publish5(t, b, &paho.Publish{Topic: "paho5/x/end", QoS: 1, Payload: []byte("end")})
	if m := recv(t, got); string(m.Payload) != "end" {
		t.Errorf("got %q", m.Payload)
	}
}

// TestAutopaho5 loses its connection in the middle and goes on by itself, over WebSocket.
func TestAutopaho5(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(wsURL)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1000)
	up := make(chan bool, 10)
	cm, err := autopaho.NewConnection(t.Context(), autopaho.ClientConfig{
		ServerUrls: []*url.URL{u}, KeepAlive: 20, SessionExpiryInterval: 60,
		ReconnectBackoff: func(int) time.Duration { return 50 * time.Millisecond },
		OnConnectionUp: func(cm *autopaho.ConnectionManager, ack *paho.Connack) {
			if !ack.SessionPresent {
				if _, err := cm.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "auto5/#", QoS: 1}}}); err != nil {
					t.Errorf("subscribe: %v", err)
				}
			}
			up <- ack.SessionPresent
		},
		ClientConfig: paho.ClientConfig{
			ClientID: "auto5",
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
				got <- string(r.Packet.Payload)
				return true, nil
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	recv(t, up)
	b := dial5(t, "auto5b", nil, nil)
	publish5(t, b, &paho.Publish{Topic: "auto5/x", QoS: 1, Payload: []byte("before")})
	if s := recv(t, got); s != "before" {
		t.Fatalf("got %q", s)
	}
	// Another connection under the same id throws the first out; it comes back and throws out the second.
	dial5(t, "auto5", nil, &paho.Connect{Properties: &paho.ConnectProperties{SessionExpiryInterval: new(uint32)}})
	recv(t, up)
	publish5(t, b, &paho.Publish{Topic: "auto5/x", QoS: 1, Payload: []byte("after")})
	if err := cm.Disconnect(context.WithoutCancel(t.Context())); err != nil {
		t.Errorf("disconnect: %v", err)
	}
}

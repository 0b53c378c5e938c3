package broker

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net"
	"testing"

	"gatewayd/mqtt"
)

const largeSize = 3<<20 + 12345

// pattern is a payload whose every part is different.
func pattern(n int) []byte {
	b := make([]byte, 0, n+sha256.Size)
	for sum := sha256.Sum256([]byte("seed")); len(b) < n; sum = sha256.Sum256(sum[:]) {
		b = append(b, sum[:]...)
	}
	return b[:n]
}

// largeServer takes messages of 64 MB, over TCP, TLS and WebSocket.
func largeServer(t *testing.T, loops int) (*server, *pki) {
	p := newPKI(t)
	set := Settings{MaxPacketSize: 64 << 20}
	return newServer(t, func(o *Options) {
		o.Loops = loops
		o.Listeners = []Listener{
			{Address: "127.0.0.1:0", Settings: set},
			{Name: "tls", Address: "127.0.0.1:0", TLS: p.server, Settings: set},
			{Name: "ws", Address: "127.0.0.1:0", WebSocket: true, Settings: set},
		}
	}), p
}

// connect opens a durable session of that version on a connection.
func (s *server) connect(nc net.Conn, id string, v mqtt.Version) *wire {
	s.t.Helper()
	w := s.wireOver(nc, "")
	w.v = v
	p := &mqtt.Connect{Version: v, ClientID: id}
	if v == mqtt.V5 {
		p = durableConnect(id)
	}
	w.send(p)
	if ack, ok := w.read().(*mqtt.Connack); !ok || ack.Code != mqtt.Success {
		s.t.Fatalf("%s: %+v", id, ack)
	}
	return w
}

// dialTo opens a connection to the i-th listener, with what belongs on it.
func (s *server) dialTo(p *pki, i int) net.Conn {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.b.Addr(i).String())
	if err != nil {
		s.t.Fatal(err)
	}
	switch i {
	case 1:
		return tls.Client(nc, p.client)
	case 2:
		return dialWebSocket(s.t.(*testing.T), nc)
	}
	return nc
}

// publishLarge publishes at that QoS and waits for the end of the exchange.
func (w *wire) publishLarge(topic string, payload []byte, qos mqtt.QoS) {
	w.t.Helper()
	w.send(&mqtt.Publish{Topic: topic, Payload: payload, QoS: qos, ID: 7})
	if qos == 1 {
		w.want(mqtt.PUBACK)
		return
	}
	w.want(mqtt.PUBREC)
	w.send(&mqtt.Pubrel{ID: 7})
	w.want(mqtt.PUBCOMP)
}

// takeLarge reads messages and finishes their exchanges.
func (w *wire) takeLarge(qos mqtt.QoS, payloads ...[]byte) {
	w.t.Helper()
	for open := 0; open > 0 || len(payloads) > 0; {
		switch p := w.read().(type) {
		case *mqtt.Publish:
			if len(payloads) == 0 || p.QoS != qos || !bytes.Equal(p.Payload, payloads[0]) {
				w.t.Fatalf("QoS %d, %d bytes, or others", p.QoS, len(p.Payload))
			}
			payloads = payloads[1:]
			switch qos {
			case 1:
				w.send(&mqtt.Puback{ID: p.ID})
			case 2:
				w.send(&mqtt.Pubrec{ID: p.ID})
				open++
			}
		case *mqtt.Pubrel:
			w.send(&mqtt.Pubcomp{ID: p.ID})
			open--
		default:
			w.t.Fatalf("%+v came", p)
		}
	}
}

// TestLarge sends large messages through sessions that are there and away, over
// every kind of connection, and wants them whole and nothing left of them.
func TestLarge(t *testing.T) {
	payload := pattern(largeSize)
	for _, loops := range []int{2, -1} {
		s, p := largeServer(t, loops)
		for over, kind := range []string{"tcp", "tls", "websocket"} {
			for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
				for _, qos := range []mqtt.QoS{1, 2} {
					t.Run(fmt.Sprintf("loops %d/%s/version %d/qos %d", loops, kind, v, qos), func(t *testing.T) {
						s.t = t
						id := fmt.Sprint("away", over, v, qos)
						topic := id + "/t"
						sub := s.connect(s.dialTo(p, over), id, v)
						sub.subscribe(topic, byte(qos))
						sub.Close()
						pub := s.connect(s.dialTo(p, over), "publisher", v)
						pub.publishLarge(topic, payload, qos)
						pub.publishLarge(topic, []byte("small"), qos)
						if over == 0 {
							s.restart()
							pub = s.connect(s.dialTo(p, over), "publisher", v)
						}
						sub = s.connect(s.dialTo(p, over), id, v)
						sub.takeLarge(qos, payload, []byte("small"))
						pub.publishLarge(topic, payload, qos) // while it is there
						pub.publishLarge(topic, []byte("small"), qos)
						sub.takeLarge(qos, payload, []byte("small"))
						sub.quiet()
						eventually(t, "nothing is left in the store", func() bool {
							s.st.Flush(t.Context())
							st := s.st.Stats()
							return st.Messages == 0 && st.BodyBytes == 0
						})
					})
				}
			}
		}
		s.t = t
		s.close()
	}
}

// TestLargeForOthers publishes to those who need the payload in one piece: a
// session that ends with its connection, QoS 0, and one that subscribes while the
// message arrives.
func TestLargeForOthers(t *testing.T) {
	payload := pattern(largeSize)
	s, _ := largeServer(t, 2)
	durable := s.connect(s.dialTo(nil, 0), "durable", mqtt.V5)
	durable.subscribe("t", 1)
	pub := s.wire("publisher")
	packet := (&mqtt.Publish{Topic: "t", Payload: payload, QoS: 1, ID: 7}).Append(nil, mqtt.V5)
	half := len(packet) / 2
	if _, err := pub.Write(packet[:half]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the message is on its way into the store", func() bool { return s.st.Stats().Submitted > 10 })
	late := s.wire("late")
	late.subscribe("t", 1)
	if _, err := pub.Write(packet[half:]); err != nil {
		t.Fatal(err)
	}
	pub.want(mqtt.PUBACK)
	late.takeLarge(1, payload)
	durable.takeLarge(1, payload)
	zero := s.wire("zero")
	zero.subscribe("t", 0)
	pub.publishLarge("t", payload, 2)
	zero.takeLarge(0, payload)
	late.takeLarge(1, payload)
	durable.takeLarge(1, payload)
}

// TestLargeRepeated sends a QoS 2 message again under its packet id: it is
// delivered once, and what came again leaves nothing in the store.
func TestLargeRepeated(t *testing.T) {
	payload := pattern(largeSize)
	s, _ := largeServer(t, 2)
	s.connect(s.dialTo(nil, 0), "away", mqtt.V5).subscribe("t", 2)
	pub := s.connect(s.dialTo(nil, 0), "publisher", mqtt.V5)
	pub.send(&mqtt.Publish{Topic: "t", Payload: payload, QoS: 2, ID: 7})
	pub.want(mqtt.PUBREC)
	pub.Close()
	pub = s.connect(s.dialTo(nil, 0), "publisher", mqtt.V5)
	pub.send(&mqtt.Publish{Topic: "t", Payload: payload, QoS: 2, ID: 7, Dup: true})
	pub.want(mqtt.PUBREC)
	pub.send(&mqtt.Pubrel{ID: 7})
	pub.want(mqtt.PUBCOMP)
	if n := s.st.Stats().Messages; n != 1 {
		t.Errorf("%d messages are queued", n)
	}
}

// TestLargeBroken ends connections in the middle of a large message, of the
// publisher and of the subscriber.
func TestLargeBroken(t *testing.T) {
	payload := pattern(largeSize)
	s, _ := largeServer(t, 2)
	sub := s.connect(s.dialTo(nil, 0), "sub", mqtt.V5)
	sub.subscribe("t", 1)
	sub.Close()
	packet := (&mqtt.Publish{Topic: "t", Payload: payload, QoS: 1, ID: 7}).Append(nil, mqtt.V5)
	for _, end := range []int{20, 3000, len(packet) / 2, len(packet) - 1} {
		pub := s.wire("publisher")
		if _, err := pub.Write(packet[:end]); err != nil {
			t.Fatal(err)
		}
		pub.Close()
	}
	pub := s.wire("publisher")
	pub.publishLarge("t", payload, 1)
	for range 3 {
		sub = s.connect(s.dialTo(nil, 0), "sub", mqtt.V5)
		if _, err := sub.in.Peek(10_000); err != nil {
			t.Fatal(err)
		}
		sub.Close()
	}
	sub = s.connect(s.dialTo(nil, 0), "sub", mqtt.V5)
	sub.takeLarge(1, payload)
	sub.quiet()
	// close looks whether parts are left that nobody owns
}

// TestLargeRefused publishes what is not taken: it is read to its end, answered,
// and what follows is taken.
func TestLargeRefused(t *testing.T) {
	payload := pattern(largeSize)
	s := newServer(t, func(o *Options) {
		o.Auth = testAuth{}
		o.Listeners[0].Settings = Settings{MaxPacketSize: 64 << 20, MaxMessageSize: 10 << 20}
	})
	sub := s.connect(s.dialTo(nil, 0), "sub", mqtt.V5)
	sub.subscribe("#", 2)
	sub.Close()
	pub := s.connect(s.dialTo(nil, 0), "publisher", mqtt.V5)
	if code := pub.publish("denied/t", payload, false); code != mqtt.NotAuthorized {
		t.Errorf("PUBACK %v", code)
	}
	if code := pub.publish("t", pattern(11<<20), false); code != mqtt.QuotaExceeded {
		t.Errorf("PUBACK %v", code)
	}
	if code := pub.publish("t", payload, false); code != mqtt.Success {
		t.Errorf("PUBACK %v", code)
	}
	if n := s.st.Stats().Messages; n != 1 {
		t.Errorf("%d messages are queued", n)
	}
}

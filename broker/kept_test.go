package broker

import (
	"bytes"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"gatewayd/mqtt"
)

// only is the one connection that s has.
func (s *server) only() *conn {
	s.t.Helper()
	s.b.clients.mu.Lock()
	defer s.b.clients.mu.Unlock()
	for c := range s.b.clients.all {
		return c
	}
	s.t.Fatal("nobody is connected")
	return nil
}

// TestUnreadAnswers: a client that asks and asks and reads nothing is not read
// any more either; when it reads, it gets every answer and is served on.
func TestUnreadAnswers(t *testing.T) {
	p := newPKI(t)
	for _, tc := range []struct {
		name  string
		edit  func(*Options)
		over  func(net.Conn) net.Conn
		asked mqtt.Packet
	}{
		{"ping", func(*Options) {}, nil, &mqtt.Pingreq{}},
		{"publish", func(*Options) {}, nil, &mqtt.Publish{Topic: "t", QoS: 1, ID: 1}},
		{"goroutine", func(o *Options) { o.Loops = -1 }, nil, &mqtt.Pingreq{}},
		{"tls", func(o *Options) { o.Listeners[0].TLS = p.server }, func(c net.Conn) net.Conn { return tls.Client(c, p.client) }, &mqtt.Pingreq{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, func(o *Options) {
				o.MaxOutbox = 16 << 10
				tc.edit(o)
			})
			nc, err := s.dial()
			if err != nil {
				t.Fatal(err)
			}
			nc.(*net.TCPConn).SetReadBuffer(64 << 10)
			if tc.over != nil {
				nc = tc.over(nc)
			}
			w := s.wireOver(nc, "a")
			one := tc.asked.Append(nil, mqtt.V5)
			many := bytes.Repeat(one, 64<<10)
			sent := make(chan int, 1)
			enough := make(chan struct{})
			go func() {
				n := 0
				defer func() { sent <- n }()
				for {
					select {
					case <-enough:
						return
					default:
					}
					if _, err := nc.Write(many); err != nil {
						return
					}
					n += 64 << 10
				}
			}()
			c := s.only()
			for end := time.Now().Add(time.Minute); !c.full.Load(); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("a minute of questions and no bound")
				}
			}
			c.lock()
			waiting, most := c.waiting, c.set.Rules.MaxOutbox+answerRoom+2<<20 // and one round of reading
			c.unlock()
			if waiting > most {
				t.Errorf("%d bytes wait for a client that reads nothing, want at most %d", waiting, most)
			}
			close(enough)
			answer := 2
			if tc.name == "publish" {
				answer = 5 // PUBACK that says that nobody has subscribed
			}
			got, want := 0, -1
			buf := make([]byte, 64<<10)
			for want < 0 || got < want*answer {
				select {
				case want = <-sent:
					continue
				default:
				}
				w.SetReadDeadline(time.Now().Add(time.Minute))
				n, err := w.in.Read(buf)
				if err != nil {
					t.Fatalf("%d bytes of answers and %v", got, err)
				}
				got += n
			}
			if got != want*answer {
				t.Errorf("%d bytes of answers to %d questions", got, want)
			}
			w.send(&mqtt.Pingreq{})
			if p := w.read(); p.Type() != mqtt.PINGRESP {
				t.Errorf("got %v afterwards", p)
			}
		})
	}
}

// TestKeptTogether: half packets and topic aliases have a bound for all clients
// together; who goes beyond it is disconnected, and who needs none is served.
func TestKeptTogether(t *testing.T) {
	s := newServer(t, func(o *Options) { o.MemoryLimit = 1 << 40 })
	half, alias, small := s.wire("half"), s.wire("alias"), s.wire("small")
	half.Write(append([]byte{byte(mqtt.PUBLISH) << 4, 0x80, 0x80, 0x19}, make([]byte, 8<<10)...)) // of 400 KiB
	for end := time.Now().Add(time.Minute); s.b.kept.n.Load() < 8<<10; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d bytes are counted", s.b.kept.n.Load())
		}
	}
	name := "n/" + string(bytes.Repeat([]byte("x"), 10_000))
	alias.send(&mqtt.Publish{Topic: name, Properties: &mqtt.Properties{TopicAlias: 1}})
	alias.send(&mqtt.Publish{Topic: name, Properties: &mqtt.Properties{TopicAlias: 1}}) // in the place of the first
	alias.send(&mqtt.Pingreq{})
	alias.want(mqtt.PINGRESP)

	before := s.b.kept.n.Load()
	s.b.kept.n.Add(1 << 38) // as much as many more would keep
	half.Write(make([]byte, 64<<10))
	if p, ok := half.want(mqtt.DISCONNECT).(*mqtt.Disconnect); !ok || p.Code != mqtt.QuotaExceeded {
		t.Errorf("a growing half packet: %+v", p)
	}
	alias.send(&mqtt.Publish{Topic: name, Properties: &mqtt.Properties{TopicAlias: 2}})
	if p, ok := alias.want(mqtt.DISCONNECT).(*mqtt.Disconnect); !ok || p.Code != mqtt.QuotaExceeded {
		t.Errorf("another alias: %+v", p)
	}
	small.subscribe("t", 1)
	small.send(&mqtt.Publish{Topic: "t", Payload: make([]byte, 1<<10), QoS: 1, ID: 1})
	for range 2 {
		if p := small.read(); p.Type() != mqtt.PUBACK && p.Type() != mqtt.PUBLISH {
			t.Errorf("got %v", p)
		}
	}
	for _, w := range []*wire{half, alias, small} {
		w.Close()
	}
	for end := time.Now().Add(time.Minute); s.b.kept.n.Load() != 1<<38; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d of %d bytes are still counted when everybody has gone", s.b.kept.n.Load()-1<<38, before)
		}
	}
}

// TestPongsUnread: pings that nobody waits for the answers of cost no memory.
func TestPongsUnread(t *testing.T) {
	base := &baseConn{}
	w := &wsConn{Conn: base, base: base}
	ping := clientFrame(0x80|wsPing, bytes.Repeat([]byte("p"), wsMaxControl))
	for range 1000 {
		if n, err := w.unframe(bytes.Clone(ping)); n != 0 || err != nil {
			t.Fatal(n, err)
		}
	}
	if held := base.held(); held < wsMaxControl || held > maxPongs+2*wsMaxControl {
		t.Errorf("%d bytes of pongs wait", held)
	}
	base.take()
	if _, err := w.unframe(bytes.Clone(ping)); err != nil || base.held() < wsMaxControl {
		t.Errorf("no pong after the others were written: %v", err)
	}
}

package bridge

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"gatewayd/mqtt"
)

// fakeOptions are the faults and limits of a scripted centre.
type fakeOptions struct {
	ackFrom   int64 // connections before this one get no PUBACK and PUBREC
	connack   *mqtt.Connack
	only3     bool // refuses 5.0 in 3.1.1's form
	hangUp5   bool // closes on CONNECT of 5.0
	noBit     bool // refuses the bridge bit
	echoes    bool // sends every message back, as a broker without no-local
	puback    mqtt.ReasonCode
	accept    func(n int64) bool // whether connection n gets a CONNACK
	suback    func(q mqtt.Request) mqtt.ReasonCode
	onPublish func(f *fake, c net.Conn, v mqtt.Version, p *mqtt.Publish)
	released  func(*mqtt.Pubrel) // before it is answered
	onRelease func(n int64) bool // whether PUBREL on connection n is answered; else the connection ends
}

// fake is a centre of a few lines that does what real ones rarely do.
type fake struct {
	o     fakeOptions
	l     net.Listener
	conns atomic.Int64
	open  sync.Map // net.Conn

	mu        sync.Mutex
	publishes []mqtt.Publish
	connects  []mqtt.Connect
	requests  []mqtt.Request
	packets   []mqtt.PacketType
	inflight  int
	most      int
	largest   int // SUBSCRIBE, in bytes
}

func newFake(t testing.TB, o fakeOptions) *fake {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{o: o, l: l}
	t.Cleanup(func() {
		l.Close()
		f.hangUp()
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.open.Store(c, true)
			go f.serve(c, f.conns.Add(1))
		}
	}()
	return f
}

// hangUp ends every connection.
func (f *fake) hangUp() {
	f.open.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
}

func (f *fake) addr() string { return f.l.Addr().String() }

func (f *fake) serve(c net.Conn, n int64) {
	defer c.Close()
	var buf []byte
	v := mqtt.V311
	chunk := make([]byte, 64<<10)
	for {
		k, err := c.Read(chunk)
		buf = append(buf, chunk[:k]...)
		for {
			size, _ := mqtt.Split(buf, 0)
			if size == 0 {
				break
			}
			p, err := mqtt.Decode(v, buf[:size])
			if err != nil {
				return
			}
			if p.Type() == mqtt.SUBSCRIBE {
				f.mu.Lock()
				f.largest = max(f.largest, size)
				f.mu.Unlock()
			}
			if con, ok := p.(*mqtt.Connect); ok {
				v = con.Version
			}
			if !f.packet(c, v, n, p) {
				return
			}
			buf = append([]byte(nil), buf[size:]...)
		}
		if err != nil {
			return
		}
	}
}

func (f *fake) packet(c net.Conn, v mqtt.Version, n int64, p mqtt.Packet) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.packets = append(f.packets, p.Type())
	send := func(p mqtt.Packet) bool { _, err := c.Write(p.Append(nil, v)); return err == nil }
	switch p := p.(type) {
	case *mqtt.Connect:
		f.connects = append(f.connects, *p)
		switch {
		case f.o.hangUp5 && v == mqtt.V5, f.o.accept != nil && !f.o.accept(n):
			return false
		case f.o.only3 && v == mqtt.V5, f.o.noBit && p.Bridge:
			_, _ = c.Write([]byte{0x20, 2, 0, 1})
			return false
		case f.o.connack != nil:
			return send(f.o.connack) && !f.o.connack.Code.Failed()
		}
		return send(&mqtt.Connack{})
	case *mqtt.Publish:
		f.publishes = append(f.publishes, *p)
		if p.QoS > 0 {
			f.inflight++
			f.most = max(f.most, f.inflight)
		}
		if f.o.onPublish != nil {
			f.o.onPublish(f, c, v, p)
			return true
		}
		switch {
		case n < f.o.ackFrom && p.Topic[0] != '$':
		case p.QoS == 1:
			f.inflight--
			send(&mqtt.Puback{ID: p.ID, Code: f.o.puback})
		case p.QoS == 2:
			send(&mqtt.Pubrec{ID: p.ID, Code: f.o.puback})
		}
		if f.o.echoes {
			back := mqtt.Publish{Topic: p.Topic, Payload: p.Payload}
			return send(&back)
		}
	case *mqtt.Pubrel:
		f.inflight--
		if f.o.released != nil {
			f.o.released(p)
		}
		if f.o.onRelease != nil && !f.o.onRelease(n) {
			return false
		}
		send(&mqtt.Pubcomp{ID: p.ID})
	case *mqtt.Subscribe:
		s := &mqtt.Suback{ID: p.ID}
		for _, q := range p.Requests {
			f.requests = append(f.requests, q)
			code := mqtt.ReasonCode(q.Options.QoS())
			if f.o.suback != nil {
				code = f.o.suback(q)
			}
			s.Codes = append(s.Codes, code)
		}
		return send(s)
	case *mqtt.Unsubscribe:
		s := &mqtt.Unsuback{ID: p.ID}
		for range p.Filters {
			s.Codes = append(s.Codes, 0)
		}
		return send(s)
	case *mqtt.Pingreq:
		return send(&mqtt.Pingresp{})
	case *mqtt.Disconnect:
		return false
	}
	return true
}

// published returns what came, without the bridge's own state.
func (f *fake) published() []mqtt.Publish {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []mqtt.Publish
	for _, p := range f.publishes {
		if len(p.Topic) < 4 || p.Topic[:4] != "$SYS" {
			out = append(out, p)
		}
	}
	return out
}

package bridge_test

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gatewayd/mqtt"
)

// scripted is a centre of a few lines that does what real ones do rarely.
type scripted struct {
	l     net.Listener
	conns atomic.Int64

	// The script; set before the first connection, called with the mutex held. Nil: an ordinary broker.
	connack   func(n int64, p *mqtt.Connect) mqtt.Packet // nil: no answer
	onPublish func(n int64, p *mqtt.Publish, send func(mqtt.Packet)) bool
	onPubrel  func(n int64, p *mqtt.Pubrel, send func(mqtt.Packet)) bool

	mu        sync.Mutex
	mute      int64 // a connection that reads and answers nothing behind its CONNACK
	open      []net.Conn
	publishes []mqtt.Publish // without the bridge's own state
	connects  []mqtt.Connect
	requests  []mqtt.Request
	pubrels   []mqtt.PacketID
	sends     map[int64]func(mqtt.Packet)
}

func newScripted(t testing.TB) *scripted {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{l: l, sends: map[int64]func(mqtt.Packet){}}
	t.Cleanup(func() { l.Close(); s.cut() })
	return s
}

// run answers from now on.
func (s *scripted) run() *scripted {
	go func() {
		for {
			c, err := s.l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open = append(s.open, c)
			s.mu.Unlock()
			go s.serve(c, s.conns.Add(1))
		}
	}()
	return s
}

func (s *scripted) addr() string { return s.l.Addr().String() }

// cut closes every connection.
func (s *scripted) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.open {
		c.Close()
	}
	s.open = nil
}

func (s *scripted) serve(c net.Conn, n int64) {
	defer c.Close()
	v := mqtt.V311
	_ = packets(c, func(b []byte) error {
		p, err := mqtt.Decode(v, append([]byte(nil), b...))
		if err != nil {
			return err
		}
		if con, ok := p.(*mqtt.Connect); ok {
			v = con.Version
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if n == s.mute {
			return nil
		}
		send := func(p mqtt.Packet) { _, _ = c.Write(p.Append(nil, v)) }
		if !s.packet(n, p, send) {
			return net.ErrClosed
		}
		return nil
	})
}

func (s *scripted) packet(n int64, p mqtt.Packet, send func(mqtt.Packet)) bool {
	switch p := p.(type) {
	case *mqtt.Connect:
		s.connects = append(s.connects, *p)
		s.sends[n] = send
		var answer mqtt.Packet = &mqtt.Connack{SessionPresent: n > 1}
		if s.connack != nil {
			answer = s.connack(n, p)
		}
		if answer == nil {
			return true
		}
		send(answer)
		a, ok := answer.(*mqtt.Connack)
		return ok && !a.Code.Failed()
	case *mqtt.Publish:
		own := strings.HasPrefix(p.Topic, "$SYS")
		if !own {
			s.publishes = append(s.publishes, *p)
		}
		if s.onPublish != nil && !own {
			return s.onPublish(n, p, send)
		}
		switch p.QoS {
		case 1:
			send(&mqtt.Puback{ID: p.ID})
		case 2:
			send(&mqtt.Pubrec{ID: p.ID})
		}
	case *mqtt.Pubrel:
		s.pubrels = append(s.pubrels, p.ID)
		if s.onPubrel != nil {
			return s.onPubrel(n, p, send)
		}
		send(&mqtt.Pubcomp{ID: p.ID})
	case *mqtt.Pubrec:
		send(&mqtt.Pubrel{ID: p.ID})
	case *mqtt.Subscribe:
		a := &mqtt.Suback{ID: p.ID}
		for _, q := range p.Requests {
			s.requests = append(s.requests, q)
			a.Codes = append(a.Codes, mqtt.ReasonCode(q.Options.QoS()))
		}
		send(a)
	case *mqtt.Unsubscribe:
		a := &mqtt.Unsuback{ID: p.ID}
		for range p.Filters {
			a.Codes = append(a.Codes, 0)
		}
		send(a)
	case *mqtt.Pingreq:
		send(&mqtt.Pingresp{})
	case *mqtt.Disconnect:
		return false
	}
	return true
}

// published returns what came, without the bridge's own state.
func (s *scripted) published() []mqtt.Publish {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]mqtt.Publish(nil), s.publishes...)
}

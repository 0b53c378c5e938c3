package bridge_test

import (
	"net"
	"sync"
	"testing"

	"gatewayd/mqtt"
)

// way is the way a packet goes between gateway and centre.
type way int

const (
	up way = iota // from the gateway to the centre
	down
)

func (w way) String() string { return [...]string{"up", "down"}[w] }

// trap waits for the nth packet of a kind and does something before or after that packet is passed on. The connection
// ends there.
type trap struct {
	way    way
	packet mqtt.PacketType
	nth    int
	before bool
	spring func()
	sprung chan struct{}
}

// tap stands between a gateway and its centre, sees every packet and has at most one trap set.
type tap struct {
	l  net.Listener
	to string

	mu    sync.Mutex
	trap  *trap
	count [2][16]int // packets by way and type
	conns map[net.Conn]bool
}

func newTap(t testing.TB, to string) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{l: l, to: to, conns: map[net.Conn]bool{}}
	t.Cleanup(func() { l.Close(); p.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.carry(c)
		}
	}()
	return p
}

func (p *tap) addr() string { return p.l.Addr().String() }

// cut closes every connection.
func (p *tap) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *tap) set(t *trap) {
	t.sprung = make(chan struct{})
	p.mu.Lock()
	p.trap = t
	p.mu.Unlock()
}

func (p *tap) counted(w way, kind mqtt.PacketType) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count[w][kind]
}

func (p *tap) carry(a net.Conn) {
	b, err := net.Dial("tcp", p.to)
	if err != nil {
		a.Close()
		return
	}
	p.mu.Lock()
	p.conns[a], p.conns[b] = true, true
	p.mu.Unlock()
	var ends sync.WaitGroup
	ends.Go(func() { p.copy(up, b, a); a.Close(); b.Close() })
	ends.Go(func() { p.copy(down, a, b); a.Close(); b.Close() })
	ends.Wait()
	p.mu.Lock()
	delete(p.conns, a)
	delete(p.conns, b)
	p.mu.Unlock()
}

// copy passes packets on one by one, so that a trap cuts exactly there.
func (p *tap) copy(w way, to, from net.Conn) {
	_ = packets(from, func(b []byte) error {
		kind := mqtt.TypeOf(b[0])
		p.mu.Lock()
		p.count[w][kind]++
		t := p.trap
		caught := t != nil && t.way == w && t.packet == kind
		if caught {
			t.nth--
			if caught = t.nth <= 0; caught {
				p.trap = nil
			}
		}
		p.mu.Unlock()
		if caught && t.before {
			t.spring()
			close(t.sprung)
			return net.ErrClosed
		}
		if _, err := to.Write(b); err != nil && !caught {
			return err
		}
		if caught {
			t.spring()
			close(t.sprung)
			return net.ErrClosed
		}
		return nil
	})
}

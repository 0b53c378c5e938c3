package peer

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Proxy stands between clients and a broker and makes the network bad: it delays what passes and cuts connections.
type Proxy struct {
	Addr   string
	target string
	delay  time.Duration // each way
	l      net.Listener

	mu    sync.Mutex
	conns map[net.Conn]bool // the clients' ends
	shut  bool              // new connections are closed at once
	cuts  int
}

// NewProxy listens on an ephemeral port and forwards to target, each way delayed.
func NewProxy(target string, delay time.Duration) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, delay: delay, l: l, conns: map[net.Conn]bool{}}
	go p.serve()
	return p, nil
}

// Close ends the proxy with every connection.
func (p *Proxy) Close() {
	p.l.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// Cut resets one connection at random, whatever is on its way, and reports whether there was one.
func (p *Proxy) Cut(rnd *rand.Rand) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.conns) == 0 {
		return false
	}
	n := rnd.IntN(len(p.conns))
	for c := range p.conns {
		if n == 0 {
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			c.Close()
			p.cuts++
			return true
		}
		n--
	}
	return false
}

// Shut has new connections closed at once, or taken again. Those there are stay.
func (p *Proxy) Shut(shut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shut = shut
}

// Cuts is the number of connections cut so far.
func (p *Proxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

func (p *Proxy) serve() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		go p.forward(c)
	}
}

func (p *Proxy) forward(c net.Conn) {
	defer c.Close()
	p.mu.Lock()
	shut := p.shut
	p.mu.Unlock()
	if shut {
		return
	}
	up, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer up.Close()
	p.mu.Lock()
	p.conns[c] = true
	p.mu.Unlock()
	var wg sync.WaitGroup
	pipe := func(dst, src net.Conn) {
		if p.delay > 0 {
			delayed(dst, src, p.delay)
		} else {
			_, _ = io.Copy(dst, src)
		}
		c.Close()
		up.Close()
	}
	wg.Go(func() { pipe(up, c) })
	wg.Go(func() { pipe(c, up) })
	wg.Wait()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

// delayed copies with a fixed delay and as much on the way as there is.
func delayed(dst io.Writer, src io.Reader, d time.Duration) {
	type piece struct {
		at time.Time
		b  []byte
	}
	ch := make(chan piece, 4096)
	go func() {
		defer close(ch)
		for {
			b := make([]byte, 16<<10)
			n, err := src.Read(b)
			if n > 0 {
				ch <- piece{time.Now().Add(d), b[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range ch {
		time.Sleep(time.Until(p.at))
		if _, err := dst.Write(p.b); err != nil {
			break
		}
	}
	for range ch {
	}
}

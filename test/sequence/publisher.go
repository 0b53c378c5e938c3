package sequence

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"gatewayd/test/load"
)

// Publisher publishes numbered messages until its Run ends. The payload is "id number".
type Publisher struct {
	Addr   string
	ID     string
	Topic  string
	QoS    byte
	Window int           // messages not yet acknowledged, at most
	Every  time.Duration // pause between messages; 0: as fast as the window allows
	Pad    int           // bytes added to each payload

	Dial func(context.Context) (net.Conn, error) // nil: TCP to Addr

	mu     sync.Mutex
	sent   int
	acked  map[int]bool
	flight []*outgoing // in order of sending
	nextID uint16
	known  bool // the broker has acknowledged our session once
	wake   chan struct{}
	errs   []error
}

type outgoing struct {
	seq      int
	id       uint16
	released bool // PUBREC has come: only PUBREL may be sent from now on
}

// Run connects and publishes; it reconnects whenever the connection ends. After stop is closed it sends nothing new
// and returns as soon as everything is acknowledged; it returns at the latest when ctx ends.
func (p *Publisher) Run(ctx context.Context, stop <-chan struct{}) {
	p.mu.Lock()
	p.acked = map[int]bool{}
	p.wake = make(chan struct{}, 1)
	p.mu.Unlock()
	for ctx.Err() == nil {
		l, err := dial(ctx, p.Dial, p.Addr, p.ID)
		if err != nil {
			if stopped(stop) && p.idle() {
				return
			}
			sleep(ctx, 50*time.Millisecond)
			continue
		}
		p.mu.Lock()
		if p.known && !l.present {
			p.errs = append(p.errs, fmt.Errorf("the broker has lost the publisher's session"))
		}
		p.known = true
		p.mu.Unlock()
		done := p.session(ctx, stop, l)
		l.conn.Close()
		if done {
			return
		}
	}
}

func stopped(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (p *Publisher) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.flight) == 0
}

func (p *Publisher) session(ctx context.Context, stop <-chan struct{}, l *link) (done bool) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.readAcks(l)
	}()
	defer func() {
		l.conn.Close()
		<-ended
	}()
	if _, err := l.conn.Write(p.resend()); err != nil {
		return false
	}
	var tick <-chan time.Time
	if p.Every > 0 {
		t := time.NewTicker(p.Every)
		defer t.Stop()
		tick = t.C
	}
	for {
		if stopped(stop) {
			if p.idle() {
				_, _ = l.conn.Write([]byte{load.Disconnect << 4, 0})
				return true
			}
		} else if b := p.next(tick == nil); b != nil {
			if _, err := l.conn.Write(b); err != nil {
				return false
			}
		}
		select {
		case <-ctx.Done():
			return true
		case <-ended:
			return false
		case <-tick:
		case <-p.wake:
			if tick != nil && !stopped(stop) {
				// Paced: acknowledgements do not set the pace.
				select {
				case <-ctx.Done():
					return true
				case <-ended:
					return false
				case <-tick:
				case <-stop:
				}
			}
		}
	}
}

// resend is what an interrupted session sends first: every unfinished message in order [MQTT-4.4.0-1].
func (p *Publisher) resend() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b []byte
	for _, o := range p.flight {
		if o.released {
			b = load.AppendAck(b, load.Pubrel, o.id)
			continue
		}
		at := len(b)
		b = load.AppendPublish(b, p.Topic, p.QoS, false, o.id, p.payload(o.seq))
		b[at] |= 8 // DUP
	}
	return b
}

func (p *Publisher) payload(seq int) []byte {
	b := fmt.Appendf(nil, "%s %d", p.ID, seq)
	if p.Pad > 0 {
		b = append(b, ' ')
		for i := range p.Pad {
			b = append(b, 'a'+byte((seq+i)%26))
		}
	}
	return b
}

// next is the next message, or as many as the window allows.
func (p *Publisher) next(all bool) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b []byte
	for len(p.flight) < max(p.Window, 1) {
		o := &outgoing{seq: p.sent, id: p.freeIDLocked()}
		p.sent++
		p.flight = append(p.flight, o)
		b = load.AppendPublish(b, p.Topic, p.QoS, false, o.id, p.payload(o.seq))
		if !all {
			break
		}
	}
	return b
}

func (p *Publisher) freeIDLocked() uint16 {
	for {
		p.nextID++
		if p.nextID == 0 {
			continue
		}
		used := false
		for _, o := range p.flight {
			used = used || o.id == p.nextID
		}
		if !used {
			return p.nextID
		}
	}
}

func (p *Publisher) readAcks(l *link) {
	for {
		first, body, err := l.read()
		if err != nil {
			return
		}
		id := load.PacketID(body)
		switch first >> 4 {
		case load.Puback, load.Pubcomp:
			p.finish(id, first>>4)
		case load.Pubrec:
			p.mu.Lock()
			for _, o := range p.flight {
				if o.id == id {
					o.released = true
				}
			}
			p.mu.Unlock()
			if _, err := l.conn.Write(load.AppendAck(nil, load.Pubrel, id)); err != nil {
				return
			}
		}
	}
}

func (p *Publisher) finish(id uint16, kind byte) {
	p.mu.Lock()
	for i, o := range p.flight {
		if o.id != id {
			continue
		}
		if kind == load.Pubcomp && !o.released {
			p.errs = append(p.errs, fmt.Errorf("PUBCOMP for %d before its PUBREC", o.seq))
		}
		p.acked[o.seq] = true
		p.flight = append(p.flight[:i], p.flight[i+1:]...)
		break
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Books returns how many messages were sent, which were acknowledged, and what the broker did wrong.
func (p *Publisher) Books() (sent int, acked map[int]bool, errs []error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	copied := make(map[int]bool, len(p.acked))
	for k := range p.acked {
		copied[k] = true
	}
	return p.sent, copied, p.errs
}

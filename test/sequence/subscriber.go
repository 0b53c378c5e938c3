package sequence

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"gatewayd/test/load"
)

// Subscriber takes numbered messages and counts them by publisher.
type Subscriber struct {
	Addr    string
	ID      string
	Filters []string
	QoS     byte
	Dial    func(context.Context) (net.Conn, error) // nil: TCP to Addr

	mu      sync.Mutex
	got     map[string]map[int]int // publisher → number → deliveries
	last    map[string]int
	order   int // deliveries that were neither new in order nor marked DUP
	count   int
	held    map[uint16]bool
	at      time.Time // of the last delivery
	ready   chan struct{}
	once    sync.Once
	present []bool // session present, by connection
	granted int    // subscriptions acknowledged, over all connections
}

// NewSubscriber makes a Subscriber; Run connects it.
func NewSubscriber(addr, id string, qos byte, filters ...string) *Subscriber {
	return &Subscriber{
		Addr: addr, ID: id, QoS: qos, Filters: filters,
		got: map[string]map[int]int{}, last: map[string]int{}, held: map[uint16]bool{}, ready: make(chan struct{}),
	}
}

// Ready is closed once the subscription was acknowledged for the first time.
func (s *Subscriber) Ready() <-chan struct{} { return s.ready }

// Run connects, subscribes where there is no session yet, and reconnects until ctx ends.
func (s *Subscriber) Run(ctx context.Context) {
	for ctx.Err() == nil {
		l, err := dial(ctx, s.Dial, s.Addr, s.ID)
		if err != nil {
			sleep(ctx, 50*time.Millisecond)
			continue
		}
		unhook := context.AfterFunc(ctx, func() {
			_, _ = l.conn.Write([]byte{load.Disconnect << 4, 0})
			l.conn.Close()
		})
		s.session(l)
		unhook()
		l.conn.Close()
	}
}

func (s *Subscriber) session(l *link) {
	s.mu.Lock()
	s.present = append(s.present, l.present)
	if !l.present {
		clear(s.held) // the broker has forgotten, so must we [MQTT-3.2.2-4]
	}
	s.mu.Unlock()
	if _, err := l.conn.Write(load.AppendSubscribe(nil, 1, s.QoS, s.Filters...)); err != nil {
		return
	}
	for {
		first, body, err := l.read()
		if err != nil {
			return
		}
		switch first >> 4 {
		case load.Suback:
			s.mu.Lock()
			s.granted++
			s.mu.Unlock()
			s.once.Do(func() { close(s.ready) })
		case load.Publish:
			m, err := load.ParsePublish(first, body)
			if err != nil {
				return
			}
			if b := s.take(m); b != nil {
				if _, err := l.conn.Write(b); err != nil {
					return
				}
			}
		case load.Pubrel:
			id := load.PacketID(body)
			s.mu.Lock()
			delete(s.held, id)
			s.mu.Unlock()
			if _, err := l.conn.Write(load.AppendAck(nil, load.Pubcomp, id)); err != nil {
				return
			}
		}
	}
}

func (s *Subscriber) take(m load.Message) (answer []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch m.QoS {
	case 1:
		answer = load.AppendAck(nil, load.Puback, m.ID)
	case 2:
		answer = load.AppendAck(nil, load.Pubrec, m.ID)
		if s.held[m.ID] {
			return answer // a repeat of what we have
		}
		s.held[m.ID] = true
	}
	f := strings.Fields(string(m.Payload))
	if len(f) < 2 {
		return answer
	}
	seq, err := strconv.Atoi(f[1])
	if err != nil {
		return answer
	}
	if s.got[f[0]] == nil {
		s.got[f[0]] = map[int]int{}
		s.last[f[0]] = -1
	}
	if s.got[f[0]][seq] == 0 && seq < s.last[f[0]] {
		s.order++ // a message never seen before, behind a later one
	}
	s.last[f[0]] = max(s.last[f[0]], seq)
	s.got[f[0]][seq]++
	s.count++
	s.at = time.Now()
	return answer
}

// Settled reports how many deliveries there were and how long ago the last one was.
func (s *Subscriber) Settled() (count int, since time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count, time.Since(s.at)
}

// Sessions returns session present of each connection so far.
func (s *Subscriber) Sessions() []bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]bool(nil), s.present...)
}

// Subscribed counts the connections on which the subscription was acknowledged.
func (s *Subscriber) Subscribed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.granted
}

// Missing counts those acknowledged messages of publisher that have not come.
func (s *Subscriber) Missing(publisher string, acked map[int]bool) (n int, examples []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for seq := range acked {
		if s.got[publisher][seq] == 0 {
			n++
			if len(examples) < 10 {
				examples = append(examples, seq)
			}
		}
	}
	return n, examples
}

// Twice counts the messages of publisher that came more than once.
func (s *Subscriber) Twice(publisher string) (n int, examples []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for seq, c := range s.got[publisher] {
		if c > 1 {
			n++
			if len(examples) < 10 {
				examples = append(examples, seq)
			}
		}
	}
	return n, examples
}

// Disorder counts first deliveries that came behind a later message of the same publisher.
func (s *Subscriber) Disorder() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order
}

// Got counts the different messages of publisher that have come.
func (s *Subscriber) Got(publisher string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got[publisher])
}

// Check compares the books of p with what has come: nothing acknowledged may be missing, and at QoS 2 nothing may
// have come twice.
func (s *Subscriber) Check(p *Publisher) error {
	sent, acked, errs := p.Books()
	if len(errs) > 0 {
		return fmt.Errorf("%s: %w", p.ID, errs[0])
	}
	if n, ex := s.Missing(p.ID, acked); n > 0 {
		return fmt.Errorf("%s: %d of %d acknowledged messages are missing (%d sent, %d came), such as %v", p.ID, n, len(acked), sent, s.Got(p.ID), ex)
	}
	if p.QoS == 2 && s.QoS == 2 {
		if n, ex := s.Twice(p.ID); n > 0 {
			return fmt.Errorf("%s: %d QoS 2 messages came twice, such as %v", p.ID, n, ex)
		}
	}
	return nil
}

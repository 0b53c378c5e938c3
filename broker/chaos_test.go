package broker

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatewayd/mqtt"
)

// chaosClient is a client that keeps its session's state properly and loses its
// connection all the time.
type chaosClient struct {
	t    *testing.T
	s    *server
	id   string
	r    *rand.Rand
	w    *wire
	life int // packets to read until the connection is cut; negative: it stays
	had  bool
	mu   *sync.RWMutex // the broker is down while it is write-locked
}

var errCut = errors.New("cut")

// connect opens the session again. It reports false when the broker is away.
func (c *chaosClient) connect() bool {
	c.mu.RLock()
	addr := c.s.addr()
	c.mu.RUnlock()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		time.Sleep(5 * time.Millisecond)
		return false
	}
	c.w = &wire{Conn: nc, t: c.t, in: bufio.NewReader(nc), v: mqtt.V5}
	props := &mqtt.Properties{SessionExpiry: 1000, Present: mqtt.PropertiesOf(mqtt.PropSessionExpiry)}
	c.write(&mqtt.Connect{Version: mqtt.V5, ClientID: c.id, Properties: props})
	p, err := c.w.next()
	ack, ok := p.(*mqtt.Connack)
	if err != nil || !ok || ack.Code != mqtt.Success {
		nc.Close()
		time.Sleep(5 * time.Millisecond)
		return false
	}
	if c.had && !ack.SessionPresent {
		c.t.Errorf("%s: the session is gone", c.id)
	}
	c.had = true
	if c.life >= 0 {
		c.life = c.r.IntN(60)
	}
	return true
}

func (c *chaosClient) write(p mqtt.Packet) { c.w.Write(p.Append(nil, mqtt.V5)) }

// read returns the next packet, nil after a short silence, or an error when the
// connection is no more.
func (c *chaosClient) read() (mqtt.Packet, error) {
	if c.life == 0 {
		if c.r.IntN(2) == 0 {
			c.w.Conn.(*net.TCPConn).SetLinger(0) // what is under way is lost
		}
		c.w.Close()
		c.life = 1
		return nil, errCut
	}
	c.w.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
	if _, err := c.w.in.Peek(1); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, nil
		}
		c.w.Close()
		return nil, err
	}
	if c.life > 0 {
		c.life--
	}
	p, err := c.w.next()
	if err != nil {
		c.w.Close()
	}
	return p, err
}

type chaosSent struct {
	pid      mqtt.PacketID
	qos      mqtt.QoS
	topic    string
	payload  string
	released bool
}

// publish sends n messages of QoS 1 and 2, a few under way at a time, and
// returns when every one is acknowledged.
func (c *chaosClient) publish(n int) {
	var flight []*chaosSent
	sent, next := 0, mqtt.PacketID(0)
	for sent < n || len(flight) > 0 {
		if !c.connect() {
			continue
		}
		for _, m := range flight { // in order [MQTT-4.6.0-1]
			if m.released {
				c.write(&mqtt.Pubrel{ID: m.pid})
			} else {
				c.write(&mqtt.Publish{Topic: m.topic, Payload: []byte(m.payload), QoS: m.qos, ID: m.pid, Dup: true})
			}
		}
		for sent < n || len(flight) > 0 {
			for sent < n && len(flight) < 8 {
				next = next%60 + 1
				m := &chaosSent{pid: next, qos: mqtt.QoS(1 + sent%2), topic: fmt.Sprint("t/", sent%3), payload: strconv.Itoa(sent)}
				sent++
				flight = append(flight, m)
				c.write(&mqtt.Publish{Topic: m.topic, Payload: []byte(m.payload), QoS: m.qos, ID: m.pid})
			}
			p, err := c.read()
			if err != nil {
				break
			}
			flight = c.answered(flight, p)
		}
	}
	c.w.Close()
}

func (c *chaosClient) answered(flight []*chaosSent, p mqtt.Packet) []*chaosSent {
	drop := func(pid mqtt.PacketID, qos mqtt.QoS) {
		for i, m := range flight {
			if m.pid == pid && m.qos == qos {
				flight = append(flight[:i:i], flight[i+1:]...)
				return
			}
		}
	}
	switch p := p.(type) {
	case *mqtt.Puback:
		drop(p.ID, 1)
	case *mqtt.Pubrec:
		if p.Code.Failed() {
			c.t.Errorf("PUBREC %v", p.Code)
		}
		for _, m := range flight {
			if m.pid == p.ID && m.qos == 2 {
				m.released = true
			}
		}
		c.write(&mqtt.Pubrel{ID: p.ID})
	case *mqtt.Pubcomp:
		drop(p.ID, 2)
	case *mqtt.Disconnect:
		if p.Code != mqtt.ServerShuttingDown {
			c.t.Errorf("the publisher is disconnected: %v, %s", p.Code, p.Properties.ReasonString)
		}
	}
	return flight
}

// receive collects messages until stop, a list of payloads for each QoS.
func (c *chaosClient) receive(stop *atomic.Bool, got *[3][]string, progress *atomic.Int64) {
	held := map[mqtt.PacketID]bool{}
	for !stop.Load() {
		if !c.connect() {
			continue
		}
		for !stop.Load() {
			p, err := c.read()
			if err != nil {
				break
			}
			switch p := p.(type) {
			case *mqtt.Publish:
				progress.Add(1)
				text := p.Topic + " " + string(p.Payload)
				if p.QoS == 1 {
					got[1] = append(got[1], text)
					c.write(&mqtt.Puback{ID: p.ID})
					break
				}
				if !held[p.ID] {
					got[2] = append(got[2], text)
					held[p.ID] = true
				}
				c.write(&mqtt.Pubrec{ID: p.ID})
			case *mqtt.Pubrel:
				delete(held, p.ID)
				c.write(&mqtt.Pubcomp{ID: p.ID})
			case *mqtt.Disconnect:
				if p.Code != mqtt.ServerShuttingDown {
					c.t.Errorf("the subscriber is disconnected: %v, %s", p.Code, p.Properties.ReasonString)
				}
			}
		}
	}
	c.w.Close()
}

// TestChaos has publisher and subscriber lose their connections all the time and
// restarts the broker under them: no message may be missing, none of QoS 2 may
// come twice, and each topic stays in order.
func TestChaos(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { chaos(t, seed, 600) })
	}
}

func chaos(t *testing.T, seed uint64, n int) {
	s := newServer(t, nil)
	var mu sync.RWMutex
	// A fixed port, so that the clients find the broker again.
	s.opts.Listeners[0].Address = s.addr()
	client := func(id string, life int) *chaosClient {
		return &chaosClient{t: t, s: s, id: id, r: rand.New(rand.NewPCG(seed, uint64(len(id)))), life: life, mu: &mu}
	}
	sub := client("sub", -1)
	for !sub.connect() {
	}
	sub.write(&mqtt.Subscribe{ID: 1, Requests: []mqtt.Request{{Filter: "t/#", Options: 2}}})
	if p, err := sub.w.next(); err != nil || p.Type() != mqtt.SUBACK {
		t.Fatal(p, err)
	}
	sub.w.Close()
	sub.life = 1
	var stop, published atomic.Bool
	var progress atomic.Int64
	var got [3][]string
	var wg sync.WaitGroup
	wg.Go(func() { sub.receive(&stop, &got, &progress) })
	wg.Go(func() {
		client("publisher", 1).publish(n)
		published.Store(true)
	})
	for range 3 {
		time.Sleep(300 * time.Millisecond)
		mu.Lock()
		s.restart()
		mu.Unlock()
	}
	deadline := time.Now().Add(60 * time.Second)
	for quiet, last := 0, int64(-1); quiet < 10 && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if now := progress.Load(); !published.Load() || now != last {
			quiet, last = 0, now
		} else {
			quiet++
		}
	}
	stop.Store(true)
	wg.Wait()
	if !published.Load() {
		t.Fatal("the publisher did not get through")
	}
	seen := map[string]int{}
	for qos := 1; qos <= 2; qos++ {
		high := map[string]int{}
		for _, text := range got[qos] {
			topic, number, _ := strings.Cut(text, " ")
			i, _ := strconv.Atoi(number)
			if seen[text]++; seen[text] > 1 {
				if qos == 2 {
					t.Errorf("QoS 2 message %q came twice", text)
				}
				continue
			}
			if i < high[topic] {
				t.Errorf("QoS %d: %q after %d", qos, text, high[topic])
			}
			high[topic] = i
		}
	}
	missing := 0
	for i := range n {
		if seen[fmt.Sprint("t/", i%3, " ", i)] == 0 {
			if missing++; missing < 10 {
				t.Errorf("message %d of QoS %d is missing", i, 1+i%2)
			}
		}
	}
	t.Logf("%d of QoS 1 with repetitions, %d of QoS 2, %d missing", len(got[1]), len(got[2]), missing)
}

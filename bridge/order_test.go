package bridge

import (
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

	"gatewayd/broker"
	"gatewayd/mqtt"
)

// judge is a centre that watches the order on the wire and breaks the connection
// again and again, with packets read and not answered. It hands QoS 2 on at
// PUBREL, as mosquitto does, so that both the order of PUBLISH and that of PUBREL
// count.
type judge struct {
	t       testing.TB
	l       net.Listener
	forgets bool // loses its session now and then
	window  int
	left    atomic.Int64 // connections to break

	mu       sync.Mutex // guards the fields below
	rnd      *rand.Rand
	conns    int
	session  bool
	held     map[mqtt.PacketID]numbered // PUBLISH of QoS 2 that waits for PUBREL
	next     map[string]int             // by topic: the number that PUBLISH has not reached
	released map[string]int             // by topic: the same for PUBREL
	count    int                        // messages that arrived for the first time
}

// neverBreaks is more packets than a test has.
const neverBreaks = 1 << 30

type numbered struct {
	topic string
	n     int
}

func newJudge(t testing.TB, seed uint64, breaks, window int, forgets bool) *judge {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	j := &judge{t: t, l: l, forgets: forgets, window: window, rnd: rand.New(rand.NewPCG(seed, 1)),
		held: map[mqtt.PacketID]numbered{}, next: map[string]int{}, released: map[string]int{}}
	j.left.Store(int64(breaks))
	var serving sync.WaitGroup
	var open sync.Map
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Store(c, true)
			j.serve(c) // one at a time: the next is accepted when this one is broken
			c.Close()
			open.Delete(c)
		}
	})
	t.Cleanup(func() {
		l.Close()
		open.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
		serving.Wait()
	})
	return j
}

// connection is what the judge knows of one connection.
type connection struct {
	out      []byte
	inflight map[mqtt.PacketID]bool
	recs     []mqtt.PacketID // PUBRECs sent whose PUBREL is due, in order
	fresh    bool            // a PUBLISH without DUP was seen
	owed     []mqtt.Packet   // answers, in order
	packets  int
}

func (j *judge) serve(c net.Conn) {
	j.mu.Lock()
	j.conns++
	breakAt := neverBreaks
	if j.left.Add(-1) >= 0 {
		breakAt = 4 + j.rnd.IntN(120)
	}
	silent := j.rnd.IntN(3) == 0 // reads what comes, answers nothing any more near its end
	j.mu.Unlock()
	var buf []byte
	chunk := make([]byte, 16<<10)
	k := &connection{inflight: map[mqtt.PacketID]bool{}}
	for {
		c.SetReadDeadline(time.Time{})
		if len(k.owed) > 0 { // no more comes until these are answered, which they are not
			c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		}
		n, err := c.Read(chunk)
		buf = append(buf, chunk[:n]...)
		for {
			size, _ := mqtt.Split(buf, 0)
			if size == 0 {
				break
			}
			p, err := mqtt.Decode(mqtt.V5, buf[:size])
			if err != nil {
				j.t.Errorf("a packet cannot be read: %v", err)
				return
			}
			buf = append([]byte(nil), buf[size:]...)
			if k.packets++; k.packets > breakAt {
				return
			}
			j.mu.Lock()
			j.packet(k, p)
			j.mu.Unlock()
		}
		if err != nil {
			return
		}
		j.mu.Lock()
		j.answer(k, breakAt, silent)
		j.mu.Unlock()
		if len(k.out) > 0 {
			if _, err := c.Write(k.out); err != nil {
				return
			}
			k.out = k.out[:0]
		}
	}
}

// answer sends what is owed; while the connection is to be broken, not
// everything of it. j.mu is held.
func (j *judge) answer(k *connection, breakAt int, silent bool) {
	n := len(k.owed)
	if silent && k.packets > breakAt/2 {
		n = 0
	} else if breakAt < neverBreaks && n > 1 {
		n = 1 + j.rnd.IntN(n)
	}
	for _, p := range k.owed[:n] {
		k.out = p.Append(k.out, mqtt.V5)
		switch p := p.(type) {
		case *mqtt.Puback:
			delete(k.inflight, p.ID)
		case *mqtt.Pubcomp:
			delete(k.inflight, p.ID)
		case *mqtt.Pubrec:
			k.recs = append(k.recs, p.ID)
		}
	}
	k.owed = k.owed[n:]
}

func (j *judge) packet(k *connection, p mqtt.Packet) {
	owe := func(p mqtt.Packet) { k.owed = append(k.owed, p) }
	switch p := p.(type) {
	case *mqtt.Connect:
		if j.forgets && j.rnd.IntN(3) == 0 {
			j.session = false
			clear(j.held)
		}
		owe(&mqtt.Connack{SessionPresent: j.session, Properties: &mqtt.Properties{ReceiveMaximum: uint16(j.window)}})
		j.session = true
	case *mqtt.Subscribe:
		s := &mqtt.Suback{ID: p.ID}
		for _, q := range p.Requests {
			s.Codes = append(s.Codes, mqtt.ReasonCode(q.Options.QoS()))
		}
		owe(s)
	case *mqtt.Unsubscribe:
		owe(&mqtt.Unsuback{ID: p.ID, Codes: make([]mqtt.ReasonCode, len(p.Filters))})
	case *mqtt.Pingreq:
		owe(&mqtt.Pingresp{})
	case *mqtt.Publish:
		j.publish(k, p)
	case *mqtt.Pubrel:
		j.pubrel(k, p)
		owe(&mqtt.Pubcomp{ID: p.ID})
	}
}

func (j *judge) publish(k *connection, p *mqtt.Publish) {
	if strings.HasPrefix(p.Topic, "$SYS") {
		return
	}
	if p.QoS > 0 {
		k.inflight[p.ID] = true
		if len(k.inflight) > j.window {
			j.t.Errorf("%d under way, Receive Maximum is %d", len(k.inflight), j.window)
		}
	}
	n, err := strconv.Atoi(string(p.Payload))
	if err != nil {
		j.t.Errorf("%s: %q", p.Topic, p.Payload)
	}
	if p.Dup && k.fresh { // [MQTT-4.6.0-1]
		j.t.Errorf("connection %d: %s %d is sent again behind new messages", j.conns, p.Topic, n)
	}
	k.fresh = k.fresh || !p.Dup
	_, repeat := j.held[p.ID]
	repeat = repeat && p.Dup
	switch next := j.next[p.Topic]; {
	case n == next:
		j.next[p.Topic] = n + 1
		j.count++
	case n < next && p.Dup && (p.QoS == 1 || repeat || j.forgets):
	default:
		j.t.Errorf("connection %d: %s: PUBLISH %d (DUP %v, held %v) came when %d was due", j.conns, p.Topic, n, p.Dup, repeat, next)
	}
	if p.QoS == 1 {
		k.owed = append(k.owed, &mqtt.Puback{ID: p.ID})
		return
	}
	j.held[p.ID] = numbered{p.Topic, n}
	k.owed = append(k.owed, &mqtt.Pubrec{ID: p.ID})
}

func (j *judge) pubrel(k *connection, p *mqtt.Pubrel) {
	k.inflight[p.ID] = true
	if len(k.recs) > 0 { // else one of an earlier connection
		if k.recs[0] != p.ID { // [MQTT-4.6.0-4]
			j.t.Errorf("connection %d: PUBREL %d came when that of %d was due", j.conns, p.ID, k.recs[0])
		}
		k.recs = k.recs[1:]
	}
	m, ok := j.held[p.ID]
	if !ok {
		return // again
	}
	delete(j.held, p.ID)
	if next := j.released[m.topic]; m.n != next && !j.forgets {
		j.t.Errorf("connection %d: %s: PUBREL of %d came when that of %d was due", j.conns, m.topic, m.n, next)
	}
	j.released[m.topic] = max(m.n+1, j.released[m.topic])
}

func (j *judge) arrived() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.count
}

// TestOrderAcrossOutages holds the order on the wire against MQTT 5's chapter
// 4.6 and the promise of docs/BRIDGE.md, while the centre breaks one connection
// after the other under load: per topic every PUBLISH and every PUBREL comes in
// the order of publishing, QoS 2 once, nothing is missing, and nothing new comes
// before what has to be sent again. ORDER_SEEDS=n runs n other seeds.
func TestOrderAcrossOutages(t *testing.T) {
	first, seeds := uint64(1), uint64(3)
	if n, err := strconv.ParseUint(os.Getenv("ORDER_SEEDS"), 10, 32); err == nil {
		first, seeds = uint64(time.Now().UnixNano()), n
	}
	for _, lanes := range []Lanes{OneLane, ByTopic} {
		for _, forgets := range []bool{false, true} {
			t.Run(fmt.Sprintf("lanes %d, session lost %v", lanes, forgets), func(t *testing.T) {
				t.Parallel()
				for seed := first; seed < first+seeds && !t.Failed(); seed++ {
					outOfOrder(t, seed, lanes, forgets)
				}
			})
		}
	}
}

func outOfOrder(t *testing.T, seed uint64, lanes Lanes, forgets bool) {
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	rnd := rand.New(rand.NewPCG(seed, 2))
	window, topics, each := 1+rnd.IntN(40), 1+rnd.IntN(12), 200
	j := newJudge(t, seed, 12, window, forgets)
	g, stopGateway := newGateway(t, t.TempDir(), listenOptions())
	defer stopGateway()
	o := Options{
		Addresses: []string{j.l.Addr().String()}, Protocol: Only5, Lanes: lanes, NoMark: true, NotificationsLocalOnly: true,
		RestartBase: time.Millisecond, RestartCap: 4 * time.Millisecond, Log: quiet, ReceiveMaximum: 1000, Rules: outRule(2),
		Queue: broker.QueueLimits{Messages: 1_000_000},
	}
	if rnd.IntN(2) == 0 {
		o.HistoryRate = float64(2000 + rnd.IntN(20000))
	}
	b, stop := g.bridge(o)
	defer stop()
	eventually(t, 60*time.Second, "the bridge has subscribed here", func() bool { return b.Status().State != Stopped })
	var pubs sync.WaitGroup
	for n := range topics {
		pace := rand.New(rand.NewPCG(seed, uint64(10+n)))
		pubs.Go(func() {
			for i := range each {
				for i > 0 && pace.IntN(8) == 0 && j.left.Load() > 0 { // on through all that the judge does
					time.Sleep(time.Duration(pace.IntN(3000)) * time.Microsecond)
				}
				// Without waiting until it is safe, so that many are under way.
				err := g.Publish(t.Context(), broker.Publication{Topic: fmt.Sprint("a/", n), QoS: mqtt.QoS(1 + n%2), Payload: strconv.AppendInt(nil, int64(i), 10)}, nil)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	pubs.Wait()
	eventually(t, time.Minute, "everything arrives", func() bool {
		s := b.Status()
		return t.Failed() || j.arrived() == topics*each && s.QueueMessages == 0 && s.Inflight == 0
	})
}

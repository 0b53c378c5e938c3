package broker

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatewayd/mqtt"
)

// wire is a client of these tests: it sends packets and reads them, and fails
// the test when nothing comes.
type wire struct {
	net.Conn
	t  testing.TB
	in *bufio.Reader
	v  mqtt.Version
}

func (s *server) wire(id string) *wire {
	s.t.Helper()
	c, err := s.dial()
	if err != nil {
		s.t.Fatal(err)
	}
	return s.wireOver(c, id)
}

// wireOver is wire over an open connection.
func (s *server) wireOver(c net.Conn, id string) *wire {
	s.t.Helper()
	w := &wire{Conn: c, t: s.t, in: bufio.NewReaderSize(c, 64<<10), v: mqtt.V5}
	s.t.Cleanup(func() { c.Close() })
	if id != "" {
		w.send(&mqtt.Connect{Version: mqtt.V5, ClientID: id, CleanStart: true})
		if ack, ok := w.read().(*mqtt.Connack); !ok || ack.Code != mqtt.Success {
			s.t.Fatalf("%s: %+v", id, ack)
		}
	}
	return w
}

func (w *wire) send(p mqtt.Packet) {
	w.t.Helper()
	w.SetWriteDeadline(time.Now().Add(time.Minute))
	if _, err := w.Write(p.Append(nil, w.v)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) next() (mqtt.Packet, error) {
	w.SetReadDeadline(time.Now().Add(time.Minute))
	for n := 2; ; n++ {
		head, err := w.in.Peek(n)
		if err != nil {
			return nil, err
		}
		if head[n-1] < 0x80 || n == 5 {
			size := 0
			for i := n - 1; i >= 1; i-- {
				size = size<<7 | int(head[i]&0x7f)
			}
			packet := make([]byte, n+size)
			if _, err := io.ReadFull(w.in, packet); err != nil {
				return nil, err
			}
			return mqtt.Decode(w.v, packet)
		}
	}
}

func (w *wire) read() mqtt.Packet {
	w.t.Helper()
	p, err := w.next()
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *wire) subscribe(filter string, qos byte) mqtt.ReasonCode {
	w.t.Helper()
	w.send(&mqtt.Subscribe{ID: 1, Requests: []mqtt.Request{{Filter: filter, Options: mqtt.Options(qos)}}})
	ack, ok := w.read().(*mqtt.Suback)
	if !ok {
		w.t.Fatalf("no SUBACK for %.60q", filter)
	}
	return ack.Codes[0]
}

// publish returns PUBACK's code.
func (w *wire) publish(topic string, payload []byte, retain bool) mqtt.ReasonCode {
	w.t.Helper()
	w.send(&mqtt.Publish{Topic: topic, Payload: payload, QoS: 1, ID: 1, Retain: retain})
	ack, ok := w.read().(*mqtt.Puback)
	if !ok {
		w.t.Fatalf("no PUBACK for %.60q", topic)
	}
	return ack.Code
}

func heapBytes() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// processorTime is what this process has used of the processors.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// eventually waits for what other goroutines bring about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// TestSilentConnections: a thousand that never send CONNECT cost little and are
// closed in time.
func TestSilentConnections(t *testing.T) {
	s := newServer(t, func(o *Options) { o.ConnectTimeout = 3 * time.Second })
	before := heapBytes()
	var open []net.Conn
	for range 1000 {
		c, err := s.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
	}
	eventually(t, "all are accepted", func() bool { return s.b.Stats().Sockets == 1000 })
	if each := (heapBytes() - before) / 1000; each > 2500 {
		t.Errorf("%d bytes of heap for each silent connection, the client's side included", each)
	}
	eventually(t, "all are closed", func() bool { return s.b.Stats().Sockets == 0 })
	open[0].SetReadDeadline(time.Now().Add(time.Second))
	if _, err := open[0].Read(make([]byte, 1)); err != io.EOF && !strings.Contains(err.Error(), "reset") {
		t.Errorf("a silent client reads %v", err)
	}
}

// TestByteByByte: packets that come one byte at a time are packets.
func TestByteByByte(t *testing.T) {
	s := newServer(t, nil)
	w := s.wire("")
	var b []byte
	for _, p := range []mqtt.Packet{
		&mqtt.Connect{Version: mqtt.V5, ClientID: "slow", CleanStart: true},
		&mqtt.Subscribe{ID: 1, Requests: []mqtt.Request{{Filter: "a"}}},
		&mqtt.Publish{Topic: "a", Payload: bytes.Repeat([]byte("x"), 200)},
	} {
		b = p.Append(b, mqtt.V5)
	}
	for i := range b {
		if _, err := w.Write(b[i : i+1]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Microsecond)
	}
	for _, want := range []mqtt.PacketType{mqtt.CONNACK, mqtt.SUBACK, mqtt.PUBLISH} {
		if p := w.read(); p.Type() != want {
			t.Fatalf("got %v %+v, want %v", p.Type(), p, want)
		}
	}
}

// TestConnectStorm: many clients fight for one id; one remains, and the broker
// knows of one.
func TestConnectStorm(t *testing.T) {
	s := newServer(t, nil)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 30 {
				c, err := s.dial()
				if err != nil {
					t.Error(err)
					return
				}
				c.Write((&mqtt.Connect{Version: mqtt.V5, ClientID: "same"}).Append(nil, mqtt.V5))
				c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
				io.Copy(io.Discard, c)
				c.Close()
			}
		})
	}
	wg.Wait()
	last := s.wire("same")
	eventually(t, "one connection is left", func() bool { return s.b.Stats().Sockets == 1 && s.b.Stats().Connected == 1 })
	last.send(&mqtt.Pingreq{})
	if p := last.read(); p.Type() != mqtt.PINGRESP {
		t.Errorf("got %v", p.Type())
	}
}

// TestDeepTopics: thousands of levels are refused with the code for it, the
// connection stays.
func TestDeepTopics(t *testing.T) {
	s := newServer(t, nil)
	w := s.wire("a")
	deep := strings.Repeat("a/", 30_000) + "a"
	if code := w.publish(deep, []byte("x"), true); code != mqtt.TopicNameInvalid {
		t.Errorf("PUBLISH: %v", code)
	}
	if code := w.subscribe(deep, 0); code != mqtt.TopicFilterInvalid {
		t.Errorf("SUBSCRIBE: %v", code)
	}
	if code := w.subscribe(strings.Repeat("+/", 30_000)+"#", 0); code != mqtt.TopicFilterInvalid {
		t.Errorf("SUBSCRIBE with wildcards: %v", code)
	}
	if code := w.publish(strings.Repeat("a/", 199)+"a", []byte("x"), true); code.Failed() {
		t.Errorf("200 levels: %v", code)
	}
}

// TestWildcardBomb: thousands of filters that nearly match do not slow a
// publisher of other topics down, and what they cost is bounded.
func TestWildcardBomb(t *testing.T) {
	s := newServer(t, nil)
	w := s.wire("bomber")
	for i := 0; i < 4096; i += 64 {
		p := &mqtt.Subscribe{ID: 1}
		for j := i; j < i+64; j++ {
			f := ""
			for l := range 12 {
				f += []string{"a/", "+/"}[j>>l&1]
			}
			p.Requests = append(p.Requests, mqtt.Request{Filter: f + "end"})
		}
		w.send(p)
		w.read()
	}
	o := s.wire("other")
	start := processorTime()
	for i := range 200 { // each another topic: none is found among those known
		o.publish(strings.Repeat("a/", 12)+fmt.Sprint("x", i), nil, false)
	}
	if each := (processorTime() - start) / 200; each > 20*time.Millisecond {
		t.Errorf("%v of the processor for a message that nearly matches", each)
	}
}

// TestSlowReader: a subscriber that does not read costs its bound and nobody
// else anything; what is dropped is counted.
func TestSlowReader(t *testing.T) {
	p := newPKI(t)
	secure := func(c net.Conn) net.Conn { return tls.Client(c, p.client) }
	for _, tc := range []struct {
		name string
		edit func(*Listener)
		over func(net.Conn) net.Conn
	}{
		{"tcp", func(*Listener) {}, func(c net.Conn) net.Conn { return c }},
		{"tls", func(l *Listener) { l.TLS = p.server }, secure},
		{"wss", func(l *Listener) { l.TLS, l.WebSocket = p.server, true }, func(c net.Conn) net.Conn { return dialWebSocket(t, secure(c)) }},
	} {
		t.Run(tc.name, func(t *testing.T) { testSlowReader(t, tc.edit, tc.over) })
	}
}

func testSlowReader(t *testing.T, edit func(*Listener), over func(net.Conn) net.Conn) {
	s := newServer(t, func(o *Options) {
		o.MaxOutbox = 1 << 20
		edit(&o.Listeners[0])
	})
	client := func(id string) *wire {
		c, err := s.dial()
		if err != nil {
			t.Fatal(err)
		}
		return s.wireOver(over(c), id)
	}
	slow := client("slow")
	slow.subscribe("t", 0)
	good := client("good")
	good.subscribe("t", 0)
	before := heapBytes()
	const n, size = 1500, 50_000
	var got atomic.Int64
	go func() {
		for got.Load() < n {
			p, err := good.next()
			if err != nil {
				break
			}
			if p.Type() == mqtt.PUBLISH {
				got.Add(1)
			}
		}
	}()
	pub := client("pub")
	payload := bytes.Repeat([]byte("x"), size)
	for i := range n {
		pub.send(&mqtt.Publish{Topic: "t", Payload: payload})
		if i%10 == 9 { // at the pace of the good reader, who so misses nothing
			eventually(t, "the good reader has it all", func() bool { return got.Load() == int64(i+1) })
		}
	}
	if grown := heapBytes() - before; grown > 12<<20 {
		t.Errorf("the heap grew by %d MiB over a slow reader with a bound of 1 MiB", grown>>20)
	}
	if s.b.Stats().PublishesDropped == 0 {
		t.Error("nothing is counted as dropped")
	}
}

// TestRetainedFlood: with a bound new topics are refused, known ones go on.
func TestRetainedFlood(t *testing.T) {
	s := newServer(t, func(o *Options) { o.MaxRetained = 100 })
	w := s.wire("flood")
	for i := range 300 {
		w.publish(fmt.Sprint("r/", i), []byte("x"), true)
	}
	if n := s.b.Stats().Retained; n != 100 {
		t.Errorf("%d retained messages, want 100", n)
	}
	w.publish("r/7", []byte("new"), true)
	r := s.wire("reader")
	r.send(&mqtt.Subscribe{ID: 1, Requests: []mqtt.Request{{Filter: "r/7"}}})
	r.read()
	if p, ok := r.read().(*mqtt.Publish); !ok || string(p.Payload) != "new" {
		t.Errorf("a known topic is not updated: %+v", p)
	}
}

// TestRetainedExpiryFlood: a topic that is published again and again with an
// expiry costs one appointment, not one for each message.
func TestRetainedExpiryFlood(t *testing.T) {
	s := newServer(t, nil)
	w := s.wire("flood")
	const n = 20_000
	go func() {
		props := &mqtt.Properties{MessageExpiry: 86_400, Present: mqtt.PropertiesOf(mqtt.PropMessageExpiry)}
		var b []byte
		for range n {
			b = (&mqtt.Publish{Topic: "r", Payload: []byte("x"), Retain: true, Properties: props}).Append(b[:0], mqtt.V5)
			w.Write(b)
		}
		w.Write((&mqtt.Pingreq{}).Append(nil, mqtt.V5))
	}()
	w.read()
	s.b.timers.mu.Lock()
	defer s.b.timers.mu.Unlock()
	if k := len(s.b.timers.heap); k > 10 {
		t.Errorf("%d appointments for one topic", k)
	}
}

// TestHugeBeforeConnect: a stranger cannot make the broker hold more than a
// CONNECT may be.
func TestHugeBeforeConnect(t *testing.T) {
	s := newServer(t, nil)
	w := s.wire("")
	head := []byte{0x10, 0x80, 0x80, 0x7a} // CONNECT of 1,998,848 bytes
	w.Write(head)
	for range 1000 {
		if _, err := w.Write(make([]byte, 4096)); err != nil {
			return
		}
	}
	w.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.Copy(io.Discard, w); errors.Is(err, net.ErrClosed) || err == nil || strings.Contains(err.Error(), "reset") {
		return
	} else {
		t.Errorf("a CONNECT of 2 MB is taken: %v", err)
	}
}

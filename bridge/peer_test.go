package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatewayd/broker"
	"gatewayd/mqtt"
	"gatewayd/store"
)

// freePort returns a loopback port that was free a moment ago.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// centre is a real mosquitto, stopped and started by the test.
type centre struct {
	t    testing.TB
	addr string
	dir  string
	cmd  *exec.Cmd
	gone chan struct{}
}

// newCentre starts a mosquitto with a store of its own; extra lines go into
// its configuration.
func newCentre(t testing.TB, extra string) *centre {
	t.Helper()
	c := &centre{t: t, addr: freePort(t), dir: t.TempDir()}
	_, port, _ := net.SplitHostPort(c.addr)
	conf := fmt.Sprintf("user root\nlistener %s 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location %s/\n"+
		"max_queued_messages 0\nsys_interval 0\n%s\n", port, c.dir, extra)
	if err := os.WriteFile(filepath.Join(c.dir, "mosquitto.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	c.start()
	t.Cleanup(func() { c.end(syscall.SIGKILL) })
	return c
}

func mosquittoPath(t testing.TB) string {
	for _, p := range []string{"/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"} {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	if p, err := exec.LookPath("mosquitto"); err == nil {
		return p
	}
	t.Skip("mosquitto is not installed: apt-get install mosquitto")
	return ""
}

func (c *centre) start() {
	c.t.Helper()
	out, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer out.Close()
	c.cmd = exec.Command(mosquittoPath(c.t), "-v", "-c", filepath.Join(c.dir, "mosquitto.conf"))
	c.cmd.Stdout, c.cmd.Stderr = out, out
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	gone := make(chan struct{})
	c.gone = gone
	go func(cmd *exec.Cmd) { _ = cmd.Wait(); close(gone) }(c.cmd)
	eventually(c.t, 10*time.Second, "mosquitto listens", func() bool {
		conn, err := net.Dial("tcp", c.addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// end ends the process; TERM lets it save its store.
func (c *centre) end(sig syscall.Signal) {
	_ = c.cmd.Process.Signal(sig)
	<-c.gone
}

func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within %v: %s", within, what)
}

// gateway is a local broker in this process.
type gateway struct {
	*broker.Broker
	t testing.TB
}

// newGateway starts a broker; dir "" keeps everything in memory. stop ends it
// early.
func newGateway(t testing.TB, dir string, o broker.Options) (g *gateway, stop func()) {
	t.Helper()
	return newGatewayWith(t, dir, o, nil)
}

// newGatewayWith calls before once the store runs and nobody can connect yet.
func newGatewayWith(t testing.TB, dir string, o broker.Options, before func(*broker.Broker)) (g *gateway, stop func()) {
	t.Helper()
	clock := broker.NewClock()
	st, err := store.Open(dir, store.Options{Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	o.Clock = clock
	b, err := broker.New(o, st)
	if err != nil {
		t.Fatal(err)
	}
	storeCtx, endStore := context.WithCancel(context.Background())
	ctx, endBroker := context.WithCancel(context.Background())
	var storeRuns, brokerRuns sync.WaitGroup
	storeRuns.Go(func() { _ = st.Run(storeCtx) })
	if before != nil {
		before(b)
	}
	brokerRuns.Go(func() {
		if err := b.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("broker: %v", err)
		}
	})
	var once sync.Once
	stop = func() {
		once.Do(func() {
			endBroker()
			brokerRuns.Wait()
			endStore()
			storeRuns.Wait()
			st.Close()
		})
	}
	t.Cleanup(stop)
	<-b.Ready()
	return &gateway{b, t}, stop
}

// publish publishes here and waits until that is safe.
func (g *gateway) publish(topic, payload string, qos mqtt.QoS, retain bool) {
	g.t.Helper()
	done := make(chan error, 1)
	err := g.Publish(context.Background(), broker.Publication{Topic: topic, Payload: []byte(payload), QoS: qos, Retain: retain},
		func(err error) { done <- err })
	if err == nil {
		err = <-done
	}
	if err != nil {
		g.t.Fatalf("publish here: %v", err)
	}
}

var quiet = slog.New(slog.DiscardHandler)

// log is where a bridge under test writes: the test's log.
func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

// bridge starts a bridge of the gateway; stop ends it early.
func (g *gateway) bridge(o Options) (b *Bridge, stop func()) {
	g.t.Helper()
	if o.Name == "" {
		o.Name = "centre"
	}
	if o.ClientID == "" {
		o.ClientID = "gw." + o.Name
	}
	if o.RestartBase == 0 {
		o.RestartBase, o.RestartCap = 100*time.Millisecond, 500*time.Millisecond
	}
	if o.Log == nil {
		o.Log = testLog(g.t)
	}
	b, err := New(o, g.Broker)
	if err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			g.t.Errorf("bridge: %v", err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	g.t.Cleanup(stop)
	return b, stop
}

func waitConnected(t testing.TB, bridges ...*Bridge) {
	t.Helper()
	for _, b := range bridges {
		eventually(t, 60*time.Second, b.Name()+" connects", func() bool { return b.Status().State == Connected })
	}
}

// node is an MQTT client: it acknowledges what it receives and keeps it.
type node struct {
	t       testing.TB
	id      string
	dial    func() (net.Conn, error)
	version mqtt.Version
	clean   bool

	conn net.Conn
	done chan struct{}

	mu      sync.Mutex // guards the fields below, and writes
	got     []mqtt.Message
	held    map[mqtt.PacketID]bool
	suback  chan *mqtt.Suback
	acked   map[mqtt.PacketID]chan struct{}
	next    mqtt.PacketID
	present bool
}

func newNode(t testing.TB, addr, id string) *node {
	return &node{t: t, id: id, version: mqtt.V5, clean: true, dial: func() (net.Conn, error) { return net.Dial("tcp", addr) },
		held: map[mqtt.PacketID]bool{}, acked: map[mqtt.PacketID]chan struct{}{}}
}

func (n *node) connect() error {
	conn, err := n.dial()
	if err != nil {
		return err
	}
	p := &mqtt.Connect{Version: n.version, ClientID: n.id, CleanStart: n.clean, KeepAlive: 60}
	if !n.clean && n.version == mqtt.V5 {
		p.Properties = &mqtt.Properties{SessionExpiry: 3600}
	}
	if _, err := conn.Write(p.Append(nil, n.version)); err != nil {
		conn.Close()
		return err
	}
	n.conn, n.done, n.suback = conn, make(chan struct{}), make(chan *mqtt.Suback, 1)
	ready := make(chan error, 1)
	go n.read(conn, ready, n.done)
	select {
	case err := <-ready:
		return err
	case <-time.After(5 * time.Second):
		return errors.New("no CONNACK")
	}
}

func (n *node) mustConnect() *node {
	n.t.Helper()
	if err := n.connect(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(n.close)
	return n
}

func (n *node) close() {
	n.conn.Close()
	<-n.done
}

func (n *node) read(conn net.Conn, ready chan error, done chan struct{}) {
	defer close(done)
	defer func() {
		select {
		case ready <- errors.New("closed before CONNACK"):
		default:
		}
	}()
	var buf []byte
	chunk := make([]byte, 64<<10)
	for {
		k, err := conn.Read(chunk)
		buf = append(buf, chunk[:k]...)
		used := 0
		for {
			size, _ := mqtt.Split(buf[used:], 0)
			if size == 0 {
				break
			}
			p, err := mqtt.Decode(n.version, buf[used:used+size])
			if err != nil {
				n.t.Errorf("%s: %v", n.id, err)
				return
			}
			n.packet(p, ready)
			used += size
		}
		buf = append(buf[:0], buf[used:]...)
		if err != nil {
			return
		}
	}
}

func (n *node) packet(p mqtt.Packet, ready chan error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch p := p.(type) {
	case *mqtt.Connack:
		n.present = p.SessionPresent
		if !p.SessionPresent {
			clear(n.held)
		}
		if p.Code.Failed() {
			ready <- errors.New(p.Code.String())
		} else {
			ready <- nil
		}
	case *mqtt.Publish:
		switch {
		case p.QoS < 2:
			n.got = append(n.got, *p.NewMessage(""))
		case !n.held[p.ID]:
			n.held[p.ID] = true
			n.got = append(n.got, *p.NewMessage(""))
		}
		if p.QoS == 1 {
			n.sendLocked(&mqtt.Puback{ID: p.ID})
		} else if p.QoS == 2 {
			n.sendLocked(&mqtt.Pubrec{ID: p.ID})
		}
	case *mqtt.Pubrel:
		delete(n.held, p.ID)
		n.sendLocked(&mqtt.Pubcomp{ID: p.ID})
	case *mqtt.Pubrec:
		n.sendLocked(&mqtt.Pubrel{ID: p.ID})
	case *mqtt.Puback:
		n.ackedLocked(p.ID)
	case *mqtt.Pubcomp:
		n.ackedLocked(p.ID)
	case *mqtt.Suback:
		n.suback <- p
	}
}

func (n *node) ackedLocked(id mqtt.PacketID) {
	if ch := n.acked[id]; ch != nil {
		close(ch)
		delete(n.acked, id)
	}
}

func (n *node) sendLocked(p mqtt.Packet) error {
	_, err := n.conn.Write(p.Append(nil, n.version))
	return err
}

func (n *node) subscribe(filter string, options mqtt.Options) {
	n.t.Helper()
	n.mu.Lock()
	err := n.sendLocked(&mqtt.Subscribe{ID: 60000, Requests: []mqtt.Request{{Filter: filter, Options: options}}})
	n.mu.Unlock()
	if err != nil {
		n.t.Fatal(err)
	}
	select {
	case p := <-n.suback:
		if p.Codes[0].Failed() {
			n.t.Fatalf("%s: subscribe %s: %v", n.id, filter, p.Codes[0])
		}
	case <-time.After(5 * time.Second):
		n.t.Fatalf("%s: no SUBACK", n.id)
	}
}

// send publishes and returns a channel that closes with the acknowledgement.
func (n *node) send(topic, payload string, qos mqtt.QoS, retain bool) (<-chan struct{}, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := &mqtt.Publish{Topic: topic, Payload: []byte(payload), QoS: qos, Retain: retain}
	done := make(chan struct{})
	if qos > 0 {
		if n.next = n.next%50000 + 1; n.acked[n.next] != nil {
			return nil, errors.New("too many in flight")
		}
		p.ID, n.acked[n.next] = n.next, done
	} else {
		close(done)
	}
	return done, n.sendLocked(p)
}

func (n *node) publish(topic, payload string, qos mqtt.QoS, retain bool) {
	n.t.Helper()
	done, err := n.send(topic, payload, qos, retain)
	if err != nil {
		n.t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		n.t.Fatalf("%s: %s not acknowledged", n.id, topic)
	}
}

// messages returns what came so far.
func (n *node) messages() []mqtt.Message {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]mqtt.Message(nil), n.got...)
}

// distinct counts the different messages of topics with that beginning.
func (n *node) distinct(prefix string) int {
	seen := map[string]bool{}
	for _, m := range n.messages() {
		if strings.HasPrefix(m.Topic, prefix) {
			seen[m.Topic+" "+string(m.Payload)] = true
		}
	}
	return len(seen)
}

// breakLine ends the connection to the centre, if there is one, as a network does.
func (b *Bridge) breakLine() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil {
		b.conn.net.Close()
	}
}

// expect waits for a message with that topic and payload.
func (n *node) expect(topic, payload string) mqtt.Message {
	n.t.Helper()
	var found mqtt.Message
	eventually(n.t, 10*time.Second, fmt.Sprintf("%s receives %s = %q (has %d messages)", n.id, topic, payload, len(n.messages())), func() bool {
		for _, m := range n.messages() {
			if m.Topic == topic && string(m.Payload) == payload {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// local is a node at the gateway, over a listener of its own.
func (g *gateway) node(id string) *node { return newNode(g.t, g.Addr(0).String(), id) }

func listenOptions() broker.Options {
	return broker.Options{Listeners: []broker.Listener{{Address: "127.0.0.1:0"}}, SysInterval: -1}
}

package sensing

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"gatewayd/test/peer"
)

// patience is how long a busy machine may take for anything at all.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	peer.RemoveBuilt()
	os.Exit(code)
}

// gateway is a gatewayd with a simulated board.
type gateway struct {
	t      *testing.T
	dir    string
	addr   string
	config string
	p      *peer.Process
}

func start(t *testing.T, more string) *gateway {
	t.Helper()
	port, err := peer.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{t: t, dir: t.TempDir(), addr: fmt.Sprintf("127.0.0.1:%d", port)}
	g.config = fmt.Sprintf("gateway: {id: gw, data_dir: %q}\nlisteners: [{address: %q}]\nhttp: {address: \"off\"}\n", g.dir+"/data", g.addr) + more
	t.Cleanup(func() {
		if g.p != nil && !g.p.Exited() {
			g.p.Kill()
		}
		if t.Failed() && g.p != nil {
			t.Logf("gatewayd said:\n%s", g.p.Output())
		}
	})
	g.run()
	return g
}

func (g *gateway) run() {
	g.t.Helper()
	bin, err := peer.Gatewayd()
	if err != nil {
		g.t.Fatal(err)
	}
	if g.p, err = peer.StartGatewayd(bin, g.dir, g.addr, g.config); err != nil {
		g.t.Fatal(err)
	}
	if _, err := g.p.Ready(patience); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gateway) stop() {
	g.t.Helper()
	if err := g.p.Stop(); err != nil {
		g.t.Fatalf("gatewayd did not stop cleanly: %v", err)
	}
}

// client is a connection of Paho's with all that came to it.
type client struct {
	t *testing.T
	c *paho.Client

	mu   sync.Mutex
	got  []*paho.Publish
	wake chan struct{}
}

func (g *gateway) client(id string, filters ...string) *client {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	c := &client{t: g.t, wake: make(chan struct{}, 1)}
	c.c = paho.NewClient(paho.ClientConfig{Conn: conn, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(r paho.PublishReceived) (bool, error) {
			c.mu.Lock()
			c.got = append(c.got, r.Packet)
			c.mu.Unlock()
			select {
			case c.wake <- struct{}{}:
			default:
			}
			return true, nil
		}}})
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	if ack, err := c.c.Connect(ctx, &paho.Connect{ClientID: id, CleanStart: true, KeepAlive: 60}); err != nil {
		g.t.Fatalf("connect: %v, %v", err, ack)
	}
	g.t.Cleanup(func() { _ = c.c.Disconnect(&paho.Disconnect{}) })
	for _, f := range filters {
		if _, err := c.c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: f, QoS: 1}}}); err != nil {
			g.t.Fatalf("subscribe %s: %v", f, err)
		}
	}
	return c
}

func (c *client) publish(topic, payload string, p *paho.PublishProperties) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if _, err := c.c.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(payload), Properties: p}); err != nil {
		c.t.Fatalf("publish on %s: %v", topic, err)
	}
}

// on lists the payloads of one topic.
func (c *client) on(topic string) (all []string) {
	for _, p := range c.messages() {
		if p.Topic == topic {
			all = append(all, string(p.Payload))
		}
	}
	return all
}

func (c *client) messages() []*paho.Publish {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*paho.Publish(nil), c.got...)
}

// until waits for what was seen to be enough.
func (c *client) until(what string, enough func() bool) {
	c.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for !enough() {
		select {
		case <-c.wake:
		case <-limit.C:
			var all []string
			for _, p := range c.messages() {
				all = append(all, p.Topic+" "+string(p.Payload))
			}
			c.t.Fatalf("in vain for %s; what came:\n%s", what, strings.Join(all, "\n"))
		}
	}
}

// last waits until the latest payload of a topic is the one wanted.
func (c *client) last(topic, want string) {
	c.t.Helper()
	c.until(topic+" "+want, func() bool {
		all := c.on(topic)
		return len(all) > 0 && all[len(all)-1] == want
	})
}

// answer is what comes on a reply topic.
type answer struct {
	Value    *float64
	Sequence uint64
	History  bool
	Quality  string
	Time     time.Time
	Of       int
	Done     bool
	Count    int
	More     bool
	Error    string
}

func (c *client) answers(topic string) []answer {
	c.t.Helper()
	var all []answer
	c.until("the end of the answers on "+topic, func() bool {
		all = nil
		for _, text := range c.on(topic) {
			var a answer
			if err := json.Unmarshal([]byte(text), &a); err != nil {
				c.t.Fatalf("%s: %v", text, err)
			}
			all = append(all, a)
		}
		return len(all) > 0 && all[len(all)-1].Done
	})
	return all
}

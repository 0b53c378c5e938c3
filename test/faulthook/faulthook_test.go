package faulthook

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatewayd/test/peer"
	"gatewayd/test/sequence"
)

// limit is how long anything may take on a busy machine.
const limit = time.Minute

// inward are the steps of a PUBLISH that comes to gatewayd, outward of one that leaves it.
var (
	inward = []string{
		"in.publish.received", "in.hold.submitted", "in.hold.durable", "in.hold.delivered", "in.pubrec.sent",
		"in.pubrel.received", "in.release.submitted", "in.release.durable", "in.pubcomp.sent",
	}
	outward = []string{
		"out.bind.submitted", "out.bind.durable", "out.publish.sent", "out.pubrec.received", "out.released.submitted",
		"out.released.durable", "out.pubrel.sent", "out.pubcomp.received", "out.done.submitted", "out.done.durable",
	}
	// fromQueue are the steps of a message that has waited for the subscriber.
	fromQueue = []string{"out.refill.submitted", "out.refill.durable", "out.publish.sent", "out.done.durable"}
)

// build builds the product with its steps once for all tests.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "gatewayd-fault-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "gatewayd")
	return bin, peer.Build(bin, "-tags", "faulthook")
})

func TestMain(m *testing.M) {
	code := m.Run()
	if bin, err := build(); err == nil {
		os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

// passings are the passings of a step at which to kill: the first, and later ones under load.
func passings() []int {
	list := []int{1, 2 + rand.IntN(30)}
	for os.Getenv("GATEWAYD_SOAK") != "" && len(list) < 5 {
		list = append(list, 2+rand.IntN(300))
	}
	return list
}

// gateway is a gatewayd that is killed and started again on the same data.
type gateway struct {
	t         *testing.T
	bin, file string
	addr, dir string
	p         *peer.Process
}

func newGateway(t *testing.T, more string) *gateway {
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	port, err := peer.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{t: t, bin: bin, dir: t.TempDir(), addr: fmt.Sprintf("127.0.0.1:%d", port)}
	g.file = filepath.Join(g.dir, "gatewayd.yaml")
	text := fmt.Sprintf("gateway: {id: gw-fault, data_dir: %q}\nlisteners: [{address: %q}]\nhttp: {address: \"off\"}\nboard: none\n", filepath.Join(g.dir, "data"), g.addr)
	if err := os.WriteFile(g.file, []byte(text+more), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if g.p != nil && !g.p.Exited() {
			g.p.Kill()
		}
	})
	return g
}

// start runs it, to be killed at fault; "" is never.
func (g *gateway) start(fault string) {
	g.t.Helper()
	p, err := peer.Start("gatewayd", g.addr, filepath.Join(g.dir, "log"), "env", "GATEWAYD_FAULT="+fault, g.bin, "run", "-c", g.file)
	if err != nil {
		g.t.Fatal(err)
	}
	g.p = p
	if fault != "" {
		return // it may die before it answers
	}
	if _, err := p.Ready(limit); err != nil {
		g.t.Fatalf("%v\n%s", err, p.Output())
	}
}

// dies waits until it was killed at the step, and checks what it left.
func (g *gateway) dies(step string) {
	g.t.Helper()
	_ = g.p.Wait(limit)                                                // killed: always an error
	if !strings.Contains(g.p.Output(), "faulthook: killed at "+step) { // another goroutine may have logged a line after it
		g.t.Fatalf("the step was never reached:\n%s", tail(g.p.Output()))
	}
	out, err := exec.Command(g.bin, "store", "verify", "-d", filepath.Join(g.dir, "data")).CombinedOutput()
	if err != nil {
		g.t.Errorf("store verify: %v\n%s", err, out)
	}
}

func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// exactlyOnce demands that everything that p has sent came to s once.
func exactlyOnce(t *testing.T, p *sequence.Publisher, s *sequence.Subscriber) {
	t.Helper()
	sent, acked, errs := p.Books()
	if len(errs) > 0 {
		t.Error(errs[0])
	}
	if len(acked) != sent {
		t.Errorf("%d sent, %d acknowledged", sent, len(acked))
	}
	for end := time.Now().Add(limit); s.Got(p.ID) < sent && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if err := s.Check(p); err != nil {
		t.Error(err)
	}
}

// run lets p publish while during lasts, and returns when all it sent is acknowledged.
func run(t *testing.T, p *sequence.Publisher, during func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*limit)
	defer cancel()
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); p.Run(ctx, stop) }()
	during()
	close(stop)
	<-ended
	if ctx.Err() != nil {
		t.Error("the publisher was not acknowledged in time")
	}
}

func acked(p *sequence.Publisher) int {
	_, list, _ := p.Books()
	return len(list)
}

// TestClients kills the gateway at every step of its exchanges with clients.
func TestClients(t *testing.T) {
	t.Parallel()
	for _, group := range []struct {
		name  string
		steps []string
		away  bool // the subscriber comes after the publisher
	}{
		{"inward", inward, false},
		{"outward", outward, false},
		{"queue", fromQueue, true},
	} {
		t.Run(group.name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, "")
			sub := sequence.NewSubscriber(g.addr, "sub", 2, "t/#")
			g.start("")
			listen := func() (leave func()) {
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { defer close(done); sub.Run(ctx) }()
				return func() { cancel(); <-done }
			}
			leave := listen()
			<-sub.Ready()
			var all []*sequence.Publisher
			for _, step := range group.steps {
				for _, n := range passings() {
					if group.away {
						leave()
					}
					if strings.Contains(step, "refill") {
						n = min(n, 3) // each reads many messages
					}
					p := &sequence.Publisher{Addr: g.addr, ID: fmt.Sprintf("%s=%d", step, n), Topic: "t/" + step, QoS: 2, Window: 10, Every: time.Millisecond, Pad: 100}
					fault := step + "@sub"
					if !strings.HasPrefix(step, "out.") {
						fault = step + "@" + p.ID
					}
					all = append(all, p)
					run(t, p, func() {
						if group.away {
							for end := time.Now().Add(limit); acked(p) < 400 && time.Now().Before(end); {
								time.Sleep(5 * time.Millisecond)
							}
						}
						g.p.Kill()
						g.start(fmt.Sprintf("%s:%d", fault, n))
						if group.away {
							leave = listen()
						}
						g.dies(step)
						g.start("")
					})
					exactlyOnce(t, p, sub)
					if t.Failed() {
						t.Fatalf("killed at passing %d of %s", n, step)
					}
				}
			}
			for _, p := range all { // what came twice may have come late
				exactlyOnce(t, p, sub)
			}
			leave()
		})
	}
}

// bridged is a bridge to the centre and back whose two sides have names of their own.
const bridged = `
bridges:
  - name: centre
    addresses: [%q]
    local_clientid: link
    restart_timeout: {base: 100ms, cap: 500ms}
    topics:
      - {filter: "up/#", direction: out, qos: 2}
      - {filter: "down/#", direction: in, qos: 2}
`

// TestBridge kills the gateway at every step of a bridge's exchanges with a centre that lives on.
func TestBridge(t *testing.T) {
	t.Parallel()
	for _, way := range []struct {
		name  string
		steps []string
	}{
		{"down", []string{
			"in.publish.received@link", "in.hold.submitted@link", "in.hold.durable@link", "in.hold.delivered@link", "bridge.pubrec.sent",
			"in.pubrel.received@link", "in.release.submitted@link", "in.release.durable@link", "bridge.pubcomp.sent",
		}},
		{"up", []string{
			"out.bind.submitted@link", "out.bind.durable@link", "bridge.publish.sent", "out.pubrec.received@link",
			"out.released.submitted@link", "out.released.durable@link", "bridge.pubrel.sent", "out.pubcomp.received@link",
			"out.done.submitted@link", "out.done.durable@link",
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			if _, err := peer.MosquittoPath(); err != nil {
				t.Skip(err)
			}
			port, err := peer.FreePort()
			if err != nil {
				t.Fatal(err)
			}
			centre, err := peer.StartMosquitto(t.TempDir(), port, "max_queued_messages 0\nmax_inflight_messages 20")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(centre.Kill)
			if _, err := centre.Ready(limit); err != nil {
				t.Fatal(err)
			}
			g := newGateway(t, fmt.Sprintf(bridged, centre.Addr))
			from, to := g.addr, centre.Addr
			if way.name == "down" {
				from, to = to, from
			}
			g.start("")
			sub := sequence.NewSubscriber(to, "sub", 2, way.name+"/#")
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			go sub.Run(ctx)
			<-sub.Ready()
			crosses(t, from, way.name, sub)
			for _, step := range way.steps {
				for _, n := range passings() {
					p := &sequence.Publisher{Addr: from, ID: fmt.Sprintf("%s=%d", strings.ReplaceAll(step, "@", "-"), n), Topic: way.name + "/t", QoS: 2, Window: 10, Every: 2 * time.Millisecond, Pad: 100}
					name, _, _ := strings.Cut(step, "@")
					run(t, p, func() {
						g.p.Kill()
						g.start(fmt.Sprintf("%s:%d", step, n))
						g.dies(name)
						g.start("")
					})
					exactlyOnce(t, p, sub)
					if t.Failed() {
						t.Fatalf("killed at passing %d of %s", n, step)
					}
				}
			}
		})
	}
}

// crosses waits until messages come through the bridge.
func crosses(t *testing.T, from, way string, sub *sequence.Subscriber) {
	t.Helper()
	probe := &sequence.Publisher{Addr: from, ID: "probe", Topic: way + "/probe", QoS: 1, Window: 1, Every: 20 * time.Millisecond}
	run(t, probe, func() {
		for end := time.Now().Add(limit); sub.Got("probe") == 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("nothing crosses the bridge")
			}
		}
	})
}

package bridge_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gatewayd/mqtt"
	"gatewayd/test/sequence"
)

// steps are the packets of QoS 2 in both directions.
var steps = []struct {
	way    way
	packet mqtt.PacketType
}{
	{up, mqtt.PUBLISH}, {down, mqtt.PUBREC}, {up, mqtt.PUBREL}, {down, mqtt.PUBCOMP}, // outward
	{down, mqtt.PUBLISH}, {up, mqtt.PUBREC}, {down, mqtt.PUBREL}, {up, mqtt.PUBCOMP}, // inward
}

// killed is a gatewayd joined to a centre through a tap, under load of QoS 2 both ways.
type killed struct {
	t               *testing.T
	gateway, centre *centre
	tap             *tap
	up, down        *sequence.Publisher
	there, here     *sequence.Subscriber
	stop            chan struct{}
	publishers      sync.WaitGroup
	cancel          context.CancelFunc
	ctx             context.Context
}

func newKilled(t *testing.T, c *centre) *killed {
	k := &killed{t: t, centre: c, tap: newTap(t, c.addr), stop: make(chan struct{})}
	k.gateway = newGatewayd(t, fmt.Sprintf(`bridges:
  - name: centre
    addresses: [%q]
    restart_timeout: {base: 100ms, cap: 300ms}
    topics:
      - {filter: "up/#", direction: out, qos: 2}
      - {filter: "down/#", direction: in, qos: 2}
`, k.tap.addr()))
	k.gateway.start()
	k.ctx, k.cancel = context.WithTimeout(t.Context(), pick(3*time.Minute, 30*time.Minute))
	k.there = sequence.NewSubscriber(c.addr, "there", 2, "up/#")
	k.here = sequence.NewSubscriber(k.gateway.addr, "here", 2, "down/#")
	k.up = &sequence.Publisher{Addr: k.gateway.addr, ID: "up", Topic: "up/x", QoS: 2, Window: 20, Every: 3 * time.Millisecond}
	k.down = &sequence.Publisher{Addr: c.addr, ID: "down", Topic: "down/x", QoS: 2, Window: 20, Every: 3 * time.Millisecond}
	go k.there.Run(k.ctx)
	go k.here.Run(k.ctx)
	<-k.there.Ready()
	<-k.here.Ready()
	// What is said before the bridge has subscribed at the centre is nobody's.
	eventually(t, 60*time.Second, "the bridge has subscribed", func() bool { return k.tap.counted(down, mqtt.SUBACK) > 0 })
	for _, p := range []*sequence.Publisher{k.up, k.down} {
		k.publishers.Go(func() { p.Run(k.ctx, k.stop) })
	}
	return k
}

// kill ends the victim at a step and starts it again.
func (k *killed) kill(victim *centre, step int, before bool) {
	k.t.Helper()
	s := steps[step]
	what := fmt.Sprintf("%s at %v %v, before %v", victim.p.Name, s.way, s.packet, before)
	tr := &trap{way: s.way, packet: s.packet, nth: 1 + rand.IntN(20), before: before, spring: func() {
		if !before { // what was just passed on is under way, read, half done or done
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		}
		victim.p.Kill()
	}}
	k.tap.set(tr)
	select {
	case <-tr.sprung:
	case <-time.After(40 * time.Second):
		k.t.Fatalf("never came to it: %s", what)
	}
	victim.start()
}

// settle lets everything arrive.
func (k *killed) settle() {
	close(k.stop)
	k.publishers.Wait()
	for _, s := range []struct {
		p *sequence.Publisher
		s *sequence.Subscriber
	}{{k.up, k.there}, {k.down, k.here}} {
		sent, _, _ := s.p.Books()
		for since := time.Duration(0); s.s.Got(s.p.ID) < sent && since < 8*time.Second; _, since = s.s.Settled() {
			time.Sleep(20 * time.Millisecond)
		}
	}
	time.Sleep(300 * time.Millisecond) // what would come twice
	k.cancel()
}

// TestKillAtEveryStep kills the gateway and the centre, both gatewayd, before and after each packet of QoS 2 in both
// directions is passed on: every message arrives exactly once, and both stores are in order at the end. (Package
// test/faulthook has the gateway killed at each step inside its process.)
func TestKillAtEveryStep(t *testing.T) {
	t.Parallel()
	c := newGatewayd(t, "")
	c.start()
	k := newKilled(t, c)
	kills := 0
	for round := range pick(1, 10) {
		for step := range steps {
			for i, victim := range []*centre{k.gateway, k.centre} {
				for _, before := range []bool{true, false} {
					if !long() && before == ((step+i+round)%2 == 0) {
						continue // the short form takes turns
					}
					k.kill(victim, step, before)
					kills++
				}
			}
		}
	}
	k.settle()
	for _, s := range []struct {
		p *sequence.Publisher
		s *sequence.Subscriber
	}{{k.up, k.there}, {k.down, k.here}} {
		sent, acked, _ := s.p.Books()
		if err := s.s.Check(s.p); err != nil {
			t.Error(err)
		}
		if len(acked) != sent {
			t.Errorf("%s: %d of %d acknowledged", s.p.ID, len(acked), sent)
		}
		t.Logf("%s: %d kills; %d sent, %d acknowledged, %d came, %d out of order", s.p.ID, kills, sent, len(acked), s.s.Got(s.p.ID), s.s.Disorder())
		if n := s.s.Disorder(); n > 0 {
			t.Errorf("%s: %d messages came out of order", s.p.ID, n)
		}
	}
	for _, p := range []*centre{k.gateway, k.centre} {
		if err := p.p.Stop(); err != nil {
			t.Errorf("end: %v", err)
		}
		if out, err := gatewayd(t, "store", "verify", "-d", filepath.Join(p.dir, "data")); err != nil {
			t.Errorf("store verify: %v\n%s", err, out)
		}
	}
}

// TestKillMosquittoAtEveryStep does so to a mosquitto that writes its store at every change it can be asked to. What is
// missing or double after its kills is mosquitto's own and counted apart; kills of the gateway alone, which come first,
// lose and double nothing.
func TestKillMosquittoAtEveryStep(t *testing.T) {
	t.Parallel()
	k := newKilled(t, newMosquitto(t, "autosave_on_changes true\nautosave_interval 1\nmax_inflight_messages 20\n"))
	check := func() error {
		for _, s := range []struct {
			p *sequence.Publisher
			s *sequence.Subscriber
		}{{k.up, k.there}, {k.down, k.here}} {
			if n, ex := s.s.Twice(s.p.ID); n > 0 {
				return fmt.Errorf("%s: %d messages came twice, such as %v", s.p.ID, n, ex)
			}
		}
		return nil
	}
	for step := range steps {
		if long() || step%2 == 0 {
			k.kill(k.gateway, step, step%4 == 0)
		}
	}
	if err := check(); err != nil {
		t.Error(err)
	}
	kills := 0
	for step := range steps {
		if long() || step%2 == 1 {
			k.kill(k.centre, step, step%2 == 0)
			kills++
		}
	}
	k.settle()
	for _, s := range []struct {
		p *sequence.Publisher
		s *sequence.Subscriber
	}{{k.up, k.there}, {k.down, k.here}} {
		sent, acked, _ := s.p.Books()
		missing, _ := s.s.Missing(s.p.ID, acked)
		twice, _ := s.s.Twice(s.p.ID)
		t.Logf("%s: mosquitto killed %d times; %d sent, %d acknowledged; missing %d, twice %d", s.p.ID, kills, sent, len(acked), missing, twice)
	}
}

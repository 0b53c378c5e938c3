package bridge

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/broker"
	"gatewayd/mqtt"
)

func (b *Bridge) idle() bool {
	s := b.Status()
	return s.State == Connected && s.QueueMessages == 0 && s.Inflight == 0
}

// Each limit of the centre has the answer that is configured for it, and a
// counter; the other messages are not held up.
func TestAnswerToEachLimit(t *testing.T) {
	large := strings.Repeat("x", 300)
	for _, tc := range []struct {
		name    string
		connack mqtt.Properties
		o       Options
		qos     mqtt.QoS
		retain  bool
		payload string
		crosses string // "QoS retain"; empty: not at all
		status  func(s Status) string
		want    string
	}{
		{"size, as usual", mqtt.Properties{MaximumPacketSize: 200}, Options{}, 2, false, large, "", excluded, "parked map[too_large:1] 1, dropped map[]"},
		{"size, dropped", mqtt.Properties{MaximumPacketSize: 200}, Options{OverSize: Drop}, 1, false, large, "", excluded, "parked map[] 0, dropped map[too_large:1]"},
		{"size, QoS 0 is in no store", mqtt.Properties{MaximumPacketSize: 200}, Options{}, 0, false, large, "", excluded, "parked map[] 0, dropped map[too_large:1]"},
		{"size, no room aside", mqtt.Properties{MaximumPacketSize: 200}, Options{MaxParked: -1}, 1, false, large, "", excluded, "parked map[] 0, dropped map[too_large:1]"},
		{"size of the profile", mqtt.Properties{}, Options{Profile: AWS}, 1, false, strings.Repeat("x", 128<<10), "", excluded, "parked map[too_large:1] 1, dropped map[]"},
		{"QoS, as usual", maximumQoS(1), Options{}, 2, false, "m", "1 false", adapted, "lowered 1, stripped 0"},
		{"QoS to nothing", maximumQoS(0), Options{}, 2, false, "m", "0 false", adapted, "lowered 2, stripped 0"},
		{"QoS, parked", maximumQoS(1), Options{OverQoS: Park}, 2, false, "m", "", excluded, "parked map[qos_too_high:1] 1, dropped map[]"},
		{"QoS, dropped", maximumQoS(1), Options{OverQoS: Drop}, 2, false, "m", "", excluded, "parked map[] 0, dropped map[qos_too_high:1]"},
		{"QoS within", maximumQoS(1), Options{OverQoS: Drop}, 1, false, "m", "1 false", excluded, "parked map[] 0, dropped map[]"},
		{"retain, as usual", noRetain(), Options{}, 1, true, "m", "1 false", adapted, "lowered 0, stripped 1"},
		{"retain, parked", noRetain(), Options{OverRetain: Park}, 1, true, "m", "", excluded, "parked map[retain_not_available:1] 1, dropped map[]"},
		{"retain, dropped", noRetain(), Options{OverRetain: Drop}, 2, true, "m", "", excluded, "parked map[] 0, dropped map[retain_not_available:1]"},
		{"retain that the rule takes off", noRetain(), Options{OverRetain: Drop, StripRetain: true}, 1, true, "m", "1 false", excluded, "parked map[] 0, dropped map[]"},
		{"retain of the profile", mqtt.Properties{}, Options{Profile: AzureEG}, 1, true, "m", "1 false", adapted, "lowered 0, stripped 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t, fakeOptions{connack: &mqtt.Connack{Properties: &tc.connack}})
			g, _ := newGateway(t, "", listenOptions())
			tc.o.Addresses, tc.o.Rules = []string{f.addr()}, outRule(2)
			b, _ := g.bridge(tc.o)
			waitConnected(t, b)
			g.publish("a/1", tc.payload, tc.qos, tc.retain)
			g.publish("a/2", "after", 1, false)
			want := 1
			if tc.crosses != "" {
				want = 2
			}
			eventually(t, 60*time.Second, "what may cross has", func() bool { return len(f.published()) == want && b.idle() })
			if p := f.published()[0]; tc.crosses != "" && fmt.Sprint(p.QoS, p.Retain) != tc.crosses {
				t.Errorf("crossed as %d %v", p.QoS, p.Retain)
			}
			if p := f.published()[want-1]; string(p.Payload) != "after" {
				t.Errorf("the other message is %s %s", p.Topic, p.Payload)
			}
			s := b.Status()
			if got := tc.status(s); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
			if r := s.Rules[0]; fmt.Sprint(r.Dropped) != fmt.Sprint(s.Dropped) || fmt.Sprint(r.Parked) != fmt.Sprint(s.Parked.Total) || r.Out != uint64(want) {
				t.Errorf("the rule's counters are %+v", r)
			}
		})
	}
}

func excluded(s Status) string {
	return fmt.Sprintf("parked %v %d, dropped %v", s.Parked.Total, s.Parked.Messages, s.Dropped)
}
func adapted(s Status) string {
	return fmt.Sprintf("lowered %d, stripped %d", s.QoSLowered, s.RetainStripped)
}

func maximumQoS(q byte) mqtt.Properties {
	return mqtt.Properties{Present: mqtt.PropertiesOf(mqtt.PropMaximumQoS), MaximumQoS: q}
}
func noRetain() mqtt.Properties {
	return mqtt.Properties{Present: mqtt.PropertiesOf(mqtt.PropRetainAvailable)}
}

// Parked messages are there after a restart, can be looked at, given up, and
// released: they cross as soon as the centre takes them, each once.
func TestParkedMessages(t *testing.T) {
	dir := t.TempDir()
	small := &mqtt.Connack{Properties: &mqtt.Properties{MaximumPacketSize: 150}}
	f := newFake(t, fakeOptions{connack: small})
	g, stop := newGateway(t, dir, listenOptions())
	o := Options{Addresses: []string{f.addr()}, Rules: outRule(2)}
	b, _ := g.bridge(o)
	waitConnected(t, b)
	for i := range 4 {
		g.publish(fmt.Sprint("a/", i), fmt.Sprint(i)+strings.Repeat("x", 200), mqtt.QoS(1+i%2), i == 3)
	}
	eventually(t, 60*time.Second, "four are parked", func() bool { return b.Status().Parked.Messages == 4 && b.idle() })
	if n, err := b.Release(); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	eventually(t, 60*time.Second, "all are too large still", func() bool { return b.Status().Parked.Total[tooLarge] == 8 && b.idle() })
	stop()

	g, _ = newGateway(t, dir, listenOptions())
	roomy := newFake(t, fakeOptions{})
	o.Addresses = []string{roomy.addr()}
	b, _ = g.bridge(o)
	waitConnected(t, b)
	list, err := b.Parked(t.Context(), 0)
	if err != nil || len(list) != 4 {
		t.Fatal(list, err)
	}
	var topics []string
	for i, p := range list {
		topics = append(topics, p.Topic)
		if p.Bytes != 201 || p.QoS != byte(1+i%2) || p.Retain != (i == 3) || time.Since(p.Time) > time.Hour || p.Content != nil {
			t.Errorf("%+v", p)
		}
	}
	if !slices.Equal(topics, []string{"a/0", "a/1", "a/2", "a/3"}) {
		t.Error(topics)
	}
	if one, err := b.Parked(t.Context(), list[1].ID); err != nil || !strings.HasPrefix(string(one[1].Content), "1x") {
		t.Error(one, err)
	}
	if n, err := b.GiveUp(list[0].ID); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := b.Release(list[1].ID, list[3].ID); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	eventually(t, 60*time.Second, "two cross", func() bool { return len(roomy.published()) == 2 && b.idle() })
	if p := roomy.published(); p[0].Topic != "a/1" || p[0].QoS != 2 || p[1].Topic != "a/3" || !p[1].Retain {
		t.Errorf("%+v", p)
	}
	if s := b.Status(); s.Parked.Messages != 1 {
		t.Errorf("%d are parked", s.Parked.Messages)
	}
}

// A SUBSCRIBE is no larger than the centre takes.
func TestSubscribeWithinMaximumPacketSize(t *testing.T) {
	f := newFake(t, fakeOptions{connack: &mqtt.Connack{Properties: &mqtt.Properties{MaximumPacketSize: 64}}})
	g, _ := newGateway(t, "", listenOptions())
	var rules []Rule
	for i := range 12 {
		rules = append(rules, Rule{Filter: fmt.Sprintf("a/rather/long/%02d", i), Direction: In, QoS: 1})
	}
	b, _ := g.bridge(Options{Addresses: []string{f.addr()}, Rules: rules, NoNotifications: true})
	waitConnected(t, b)
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, p := range f.packets {
		if p == mqtt.SUBSCRIBE {
			n++
		}
	}
	if n != 6 || len(f.requests) != 12 || f.largest > 64 {
		t.Errorf("%d packets with %d topics, the largest of %d bytes", n, len(f.requests), f.largest)
	}
}

// A rule with a queue of its own neither pushes out what others have waiting nor
// is pushed out by them, through a restart; every loss is counted with its rule.
func TestQueueOfARule(t *testing.T) {
	dir := t.TempDir()
	dead := "127.0.0.1:" + freePort(t)
	o := Options{
		Addresses: []string{dead}, RestartBase: time.Hour,
		Queue: broker.QueueLimits{Messages: 3, OnFull: broker.DropOldest},
		Rules: []Rule{
			{Filter: "alarm/#", Direction: Out, QoS: 1, Queue: &broker.QueueLimits{Messages: 4, OnFull: broker.DropNewest}},
			{Filter: "state/#", Direction: Out, QoS: 1, Queue: &broker.QueueLimits{Messages: 4, OnFull: broker.LatestPerTopic}},
			{Filter: "old/#", Direction: Out, QoS: 1, Queue: &broker.QueueLimits{Age: time.Hour, OnFull: broker.DropOldest}},
			{Filter: "#", Direction: Out, QoS: 1},
		},
	}
	g, stop := newGateway(t, dir, listenOptions())
	b, _ := g.bridge(o)
	eventually(t, 60*time.Second, "the bridge is away", func() bool { return b.Status().State == Waiting })
	for i := range 10 {
		g.publish("alarm/x", fmt.Sprint(i), 1, false)
		g.publish(fmt.Sprint("state/", i%3), fmt.Sprint(i), 1, false)
		g.publish("rest/x", fmt.Sprint(i), 1, false)
		g.publish("old/x", fmt.Sprint(i), 1, false)
	}
	want := []string{"4 map[queue_full_newest:6]", "4 map[queue_full_topic:6]", "10 map[]", "3 map[queue_full_oldest:7]"}
	for i, r := range b.Status().Rules {
		if got := fmt.Sprint(r.Messages, " ", r.Dropped); got != want[i] {
			t.Errorf("%s: %s, want %s", r.Rule, got, want[i])
		}
	}
	if d := b.Status().Dropped; fmt.Sprint(d) != "map[queue_full_newest:6 queue_full_oldest:7 queue_full_topic:6]" {
		t.Errorf("in all %v", d)
	}
	stop()

	f := newFake(t, fakeOptions{})
	o.Addresses = []string{f.addr()}
	o.Rules = append([]Rule{{Filter: "new/#", Direction: Out, QoS: 1, Queue: &broker.QueueLimits{Messages: 1}}}, o.Rules...)
	g, _ = newGateway(t, dir, listenOptions())
	b, _ = g.bridge(o)
	waitConnected(t, b)
	eventually(t, 60*time.Second, "what was kept crosses", func() bool { return len(f.published()) == 21 && b.idle() })
	got := map[string]string{}
	for _, p := range f.published() {
		got[p.Topic] += string(p.Payload)
	}
	if fmt.Sprint(got) != "map[alarm/x:0123 old/x:0123456789 rest/x:789 state/0:69 state/1:7 state/2:8]" {
		t.Error(got)
	}
}

package bridge

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"gatewayd/broker"
	"gatewayd/mqtt"
)

// TestFullQueue: what happens when the queue is full is what was asked for
// (mosquitto#1593, #2202), and the bridge goes on afterwards (mosquitto#2256).
func TestMosquitto2256FullQueue(t *testing.T) {
	for _, tc := range []struct {
		name   string
		limit  broker.QueueLimits
		want   func(i int) bool // whether message i of 30 arrives
		reason string           // under which the others are counted
	}{
		{"drop oldest", broker.QueueLimits{Messages: 10, OnFull: broker.DropOldest}, func(i int) bool { return i >= 20 }, "queue_full_oldest"},
		{"drop newest", broker.QueueLimits{Messages: 10, OnFull: broker.DropNewest}, func(i int) bool { return i < 10 }, "queue_full_newest"},
		{"latest per topic", broker.QueueLimits{Messages: 10, OnFull: broker.LatestPerTopic}, func(i int) bool { return i >= 20 }, "queue_full_topic"},
		{"bytes", broker.QueueLimits{Bytes: 10 * 1100, OnFull: broker.DropOldest}, nil, "queue_full_oldest"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t, fakeOptions{})
			g, _ := newGateway(t, t.TempDir(), listenOptions())
			b, _ := g.bridge(Options{Start: Manual, NotificationsLocalOnly: true, Queue: tc.limit, Addresses: []string{f.addr()}, Rules: outRule(1)})
			eventually(t, 60*time.Second, "waits", func() bool { return b.Status().State == Waiting })
			for i := range 30 {
				g.publish(fmt.Sprintf("a/%d", i%10), fmt.Sprintf("%01000d", i), 1, false)
			}
			s := b.Status()
			if len(s.Dropped) != 1 || s.Dropped[tc.reason] != uint64(30-s.QueueMessages) {
				t.Errorf("%d of 30 wait, dropped %v", s.QueueMessages, s.Dropped)
			}
			if age := time.Since(time.UnixMilli(s.Oldest)); age < 0 || age > time.Minute {
				t.Errorf("the oldest has waited for %v", age)
			}
			b.Resume()
			waitConnected(t, b)
			eventually(t, 60*time.Second, "drains", func() bool { s := b.Status(); return s.QueueMessages == 0 && s.Inflight == 0 })
			got := map[int]bool{}
			for _, p := range f.published() {
				i, err := strconv.Atoi(string(p.Payload))
				if err != nil {
					t.Fatal(err)
				}
				got[i] = true
			}
			if tc.want == nil {
				if len(got) == 0 || len(got) > 12 {
					t.Errorf("%d messages arrive", len(got))
				}
			} else {
				for i := range 30 {
					if got[i] != tc.want(i) {
						t.Errorf("message %d arrived: %v", i, got[i])
					}
				}
			}
			g.publish("a/after", "later", 1, false)
			eventually(t, 60*time.Second, "the bridge goes on", func() bool {
				p := f.published()
				return len(p) > 0 && string(p[len(p)-1].Payload) == "later"
			})
		})
	}
}

// TestMosquitto601AgeLimit: last week's messages are not sent.
func TestMosquitto601AgeLimit(t *testing.T) {
	f := newFake(t, fakeOptions{})
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{Start: Manual, NotificationsLocalOnly: true, Queue: broker.QueueLimits{Age: 500 * time.Millisecond}, Addresses: []string{f.addr()}, Rules: outRule(1)})
	eventually(t, 60*time.Second, "waits", func() bool { return b.Status().State == Waiting })
	g.publish("a/x", "old", 1, false)
	eventually(t, 60*time.Second, "the old one is dropped", func() bool { return b.Status().QueueMessages == 0 })
	if d := b.Status().Dropped; len(d) != 1 || d["too_old"] != 1 {
		t.Errorf("dropped %v", d)
	}
	b.Resume()
	waitConnected(t, b)
	g.publish("a/x", "new", 1, false) // goes at once, so its age does not matter
	eventually(t, 60*time.Second, "the new one arrives", func() bool { return len(f.published()) > 0 })
	time.Sleep(100 * time.Millisecond)
	for _, p := range f.published() {
		if string(p.Payload) != "new" {
			t.Errorf("%s arrived", p.Payload)
		}
	}
}

// TestMosquitto2224Orphans: the queue of a bridge that was renamed is found
// and can be given up.
func TestMosquitto2224Orphans(t *testing.T) {
	dir := t.TempDir()
	g, stopGateway := newGateway(t, dir, listenOptions())
	old, stop := g.bridge(Options{Start: Manual, ClientID: "before", Addresses: []string{freePort(t)}, Rules: outRule(1)})
	eventually(t, 60*time.Second, "waits", func() bool { return old.Status().State == Waiting })
	g.publish("a/x", "1", 1, false)
	stop()
	stopGateway()
	g, _ = newGateway(t, dir, listenOptions())
	now := Options{Name: "centre", ClientID: "after", Addresses: []string{freePort(t)}, Rules: outRule(1)}
	b, _ := g.bridge(now)
	own := []string{b.LocalClientID()}
	orphans := Orphans(g.Broker, own)
	if len(orphans) != 1 || orphans[0].LocalClientID != "local.before" || orphans[0].Messages != 1 {
		t.Fatalf("orphans: %+v", orphans)
	}
	if err := Discard(g.Broker, orphans[0]); err != nil {
		t.Fatal(err)
	}
	if left := Orphans(g.Broker, own); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}

// TestExpiryTravels: in 5.0 the centre learns what is left of a message's
// life.
func TestExpiryTravels(t *testing.T) {
	f := newFake(t, fakeOptions{})
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{NotificationsLocalOnly: true, Addresses: []string{f.addr()}, Rules: outRule(1)})
	waitConnected(t, b)
	done := make(chan error, 1)
	p := broker.Publication{Topic: "a/x", Payload: []byte("x"), QoS: 1, Expiry: time.Minute, Properties: &mqtt.PublishProperties{
		ContentType: "text/plain", User: []mqtt.UserProperty{{Name: "a", Value: "b"}}}}
	if err := g.Publish(t.Context(), p, func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "it arrives", func() bool { return len(f.published()) == 1 })
	got := f.published()[0].Properties
	if got == nil || got.MessageExpiry == 0 || got.MessageExpiry > 60 || got.ContentType != "text/plain" || len(got.User) != 1 {
		t.Errorf("properties %+v", got)
	}
}

// TestHistoryRate: what queued up is paced, what comes later is not, and the
// order is kept.
func TestHistoryRate(t *testing.T) {
	f := newFake(t, fakeOptions{})
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{Start: Manual, HistoryRate: 2, NotificationsLocalOnly: true, Addresses: []string{f.addr()}, Rules: outRule(1)})
	eventually(t, 60*time.Second, "waits", func() bool { return b.Status().State == Waiting })
	const old = 4
	for i := range old {
		g.publish("a/x", fmt.Sprint(i), 1, false)
	}
	start := time.Now()
	b.Resume()
	eventually(t, 60*time.Second, "the queue drains", func() bool { return len(f.published()) == old })
	if took := time.Since(start); took < time.Second {
		t.Errorf("%d queued messages at 2 a second took %v", old, took)
	}
	for i := range 200 { // 100 seconds, if they were paced
		g.publish("a/x", fmt.Sprint(old+i), 1, false)
	}
	eventually(t, 60*time.Second, "live messages", func() bool { return len(f.published()) == old+200 })
	for i, p := range f.published() {
		if string(p.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, p.Payload)
		}
	}
}

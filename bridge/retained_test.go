package bridge

import (
	"fmt"
	"testing"
	"time"

	"gatewayd/broker"
	"gatewayd/mqtt"
)

// retainedAt returns what a new subscriber at the centre gets.
func retainedAt(t *testing.T, c *centre, id string) map[string]string {
	t.Helper()
	n := newNode(t, c.addr, id).mustConnect()
	n.subscribe("a/#", 1)
	time.Sleep(150 * time.Millisecond)
	out := map[string]string{}
	for _, m := range n.messages() {
		out[m.Topic] = string(m.Payload)
	}
	return out
}

// TestMosquitto1040RetainedReconcile: what changed or was deleted here while
// the centre was away is so there afterwards, at every QoS, each sent once
// (mosquitto#2248).
func TestMosquitto1040RetainedReconcile(t *testing.T) {
	c := newCentre(t, "")
	w := newWire(t, c.addr)
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{Addresses: []string{w.addr()}, Rules: []Rule{{Filter: "a/#", Direction: Both, QoS: 1}}})
	waitConnected(t, b)
	for q := range mqtt.QoS(3) {
		for i := range 20 {
			g.publish(fmt.Sprintf("a/%d/%d", q, i), "before", q, true)
		}
	}
	watch := newNode(t, c.addr, "watch").mustConnect()
	watch.subscribe("a/#", mqtt.Options(1)|mqtt.OptionRetainAsPublished)
	eventually(t, 60*time.Second, "all values are there", func() bool { return len(retainedAt(t, c, "first")) == 60 })

	b.Pause()
	eventually(t, 60*time.Second, "paused", func() bool { return b.Status().State == Paused })
	for q := range mqtt.QoS(3) {
		for i := range 10 {
			g.publish(fmt.Sprintf("a/%d/%d", q, i), "meanwhile", 0, true)
			g.publish(fmt.Sprintf("a/%d/%d", q, i), "after", q, true)
		}
		for i := 10; i < 15; i++ {
			g.publish(fmt.Sprintf("a/%d/%d", q, i), "", q, true)
		}
	}
	before := len(watch.messages())
	b.Resume()
	waitConnected(t, b)
	var got map[string]string
	eventually(t, 60*time.Second, "the centre is as we are", func() bool {
		got = retainedAt(t, c, fmt.Sprint("again", time.Now().UnixNano()))
		return len(got) == 45 && b.Status().QueueMessages == 0
	})
	for topic, v := range got {
		var q, i int
		fmt.Sscanf(topic, "a/%d/%d", &q, &i)
		if want := map[bool]string{true: "after", false: "before"}[i < 10]; v != want {
			t.Errorf("%s is %q there, want %q", topic, v, want)
		}
	}
	count := map[string]int{}
	for _, m := range watch.messages()[before:] {
		if string(m.Payload) != "meanwhile" {
			count[m.Topic]++
		}
	}
	for topic, n := range count {
		if n != 1 {
			t.Errorf("%s was sent %d times", topic, n)
		}
	}
}

// TestRetainedLostInADeadLink: a retained message of QoS 0 that was written
// into a link that was dead already is sent again.
func TestRetainedLostInADeadLink(t *testing.T) {
	c := newCentre(t, "")
	w := newWire(t, c.addr)
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{Addresses: []string{w.addr()}, Keepalive: time.Second, Rules: []Rule{{Filter: "a/#", Direction: Out}}})
	waitConnected(t, b)
	g.publish("a/x", "before", 0, true)
	eventually(t, 60*time.Second, "the value is there", func() bool { return retainedAt(t, c, "first")["a/x"] == "before" })
	w.hole.Store(true)
	g.publish("a/x", "into the hole", 0, true)
	eventually(t, 60*time.Second, "the dead link is noticed", func() bool { return b.Status().State != Connected })
	w.cut()
	w.hole.Store(false)
	waitConnected(t, b)
	eventually(t, 60*time.Second, "the value arrives", func() bool { return retainedAt(t, c, "second")["a/x"] == "into the hole" })
}

func TestReconcileOverflow(t *testing.T) {
	r := &reconcile{own: "local.x", rules: newRouter([]Rule{{Filter: "#", Direction: Out}}, false), qos: []mqtt.QoS{0}, changed: map[string]broker.Delivery{}}
	for i := range reconcileTopics + 5 {
		r.noteLocked(broker.Delivery{Retain: true, Message: &mqtt.Message{Topic: fmt.Sprint("t", i), Payload: []byte("x")}})
	}
	if len(r.order) != reconcileTopics || !r.overflow {
		t.Errorf("%d topics, overflow %v", len(r.order), r.overflow)
	}
	r.overflow = false
	r.noteLocked(broker.Delivery{Retain: true, Message: &mqtt.Message{Topic: "t0", Payload: make([]byte, reconcileBytes)}})
	if !r.overflow {
		t.Error("a payload beyond the bound was kept")
	}
}

package broker

import (
	"fmt"
	"slices"
	"testing"

	"gatewayd/mqtt"
	"gatewayd/store"
)

// classes gives three topics a class each; "commit" has none and thus the default.
func classes(o *Options) {
	o.Durability = []Durability{{"lazy/#", store.Lazy}, {"memory/#", store.Memory}, {"safe/#", store.Commit}}
}

// TestClassOfAnAcknowledgement: with the disk held, what is lazy or in memory is
// acknowledged, at QoS 1 and 2, and what is to be committed is not.
func TestClassOfAnAcknowledgement(t *testing.T) {
	for _, retain := range []bool{false, true} {
		s := newTable(t)
		s.close()
		classes(&s.opts)
		s.start()
		s.away("r", "#", 2)
		w := s.wire("p")
		s.shut()
		id := mqtt.PacketID(0)
		for _, class := range []string{"lazy", "memory"} {
			id++
			w.send(&mqtt.Publish{Topic: class + "/a", QoS: 1, ID: id, Payload: []byte("x"), Retain: retain})
			w.want(mqtt.PUBACK)
			id++
			w.send(&mqtt.Publish{Topic: class + "/a", QoS: 2, ID: id, Payload: []byte("x"), Retain: retain})
			w.want(mqtt.PUBREC)
			w.send(&mqtt.Pubrel{ID: id})
			w.want(mqtt.PUBCOMP)
		}
		for _, class := range []string{"safe", "commit"} {
			id++
			w.send(&mqtt.Publish{Topic: class + "/a", QoS: 1, ID: id, Payload: []byte("x"), Retain: retain})
		}
		s.held(w)
		s.open()
		w.want(mqtt.PUBACK)
		w.want(mqtt.PUBACK)
		s.close()
	}
}

// TestClassAfterACut: the queue of a client that was away, before and after a
// power cut, and what is retained.
func TestClassAfterACut(t *testing.T) {
	s := newServer(t, classes)
	w := s.durableWire("r")
	w.subscribe("#", 1)
	w.send(&mqtt.Disconnect{})
	eventually(t, "r is away", func() bool { return !s.b.Clients()[0].Connected })
	p := s.wire("p")
	for i := range 3 {
		for _, class := range []string{"lazy", "memory", "safe", "commit"} {
			if code := p.publish(fmt.Sprintf("%s/%d", class, i), []byte("x"), true); code.Failed() {
				t.Fatal(code)
			}
		}
	}
	for i := range 3 { // QoS 2 of a lazy topic for a subscription with QoS 1 waits for no hold
		p.send(&mqtt.Publish{Topic: fmt.Sprintf("lazy/two/%d", i), QoS: 2, ID: mqtt.PacketID(100 + i), Payload: []byte("x")})
		p.want(mqtt.PUBREC)
	}
	all := s.queued("r", 15)
	if !slices.IsSorted(all["lazy"]) || len(all["lazy"]) != 6 || len(all["memory"]) != 3 || len(all["safe"]) != 3 || len(all["commit"]) != 3 {
		t.Errorf("before: %v", all)
	}
	// What is lazy is written after a minute, or with what is committed after it:
	// it may be there or not.
	cut := s.crashed()
	after := cut.queued("r", -1)
	if len(after["memory"]) != 0 || len(after["safe"]) != 3 || len(after["commit"]) != 3 {
		t.Errorf("after a power cut: %v", after)
	}
	fresh := cut.wire("fresh")
	fresh.send(&mqtt.Subscribe{ID: 1, Requests: []mqtt.Request{{Filter: "#", Options: 0}}})
	fresh.want(mqtt.SUBACK)
	kept := map[string]int{}
	for range 6 {
		kept[classOf(fresh.want(mqtt.PUBLISH))]++
	}
	fresh.quiet()
	if kept["safe"] != 3 || kept["commit"] != 3 {
		t.Errorf("retained after a power cut: %v", kept)
	}
}

// TestClassChanges: a retained message from before its topic was in memory does
// not come back.
func TestClassChanges(t *testing.T) {
	s := newServer(t, nil)
	s.wire("p").publish("memory/a", []byte("old"), true)
	s.close()
	classes(&s.opts)
	s.start()
	s.close()
	s.opts.Durability = nil
	s.start()
	w := s.wire("w")
	w.subscribe("#", 0)
	w.quiet()
}

func classOf(p mqtt.Packet) string {
	topic := p.(*mqtt.Publish).Topic
	for i := range topic {
		if topic[i] == '/' {
			return topic[:i]
		}
	}
	return topic
}

// queued connects a durable session, takes n messages without acknowledging
// them, and leaves; -1: what there is.
func (s *server) queued(id string, n int) map[string][]string {
	s.t.Helper()
	w := s.wire("")
	w.send(durableConnect(id))
	w.want(mqtt.CONNACK)
	got := map[string][]string{}
	if n < 0 {
		eventually(s.t, "the queue is known", func() bool { return s.depth(id) > 0 })
		n = s.depth(id)
	}
	for range n {
		p := w.want(mqtt.PUBLISH)
		got[classOf(p)] = append(got[classOf(p)], p.(*mqtt.Publish).Topic)
	}
	w.quiet()
	w.Close()
	return got
}

// depth is the number of messages that wait for a client or are under way to it.
func (s *server) depth(id string) int {
	for _, c := range s.b.Clients() {
		if c.ID == id {
			return c.Queued
		}
	}
	return 0
}

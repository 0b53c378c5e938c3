package broker

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"testing"

	"gatewayd/mqtt"
)

// feedAtOnce has the broker read packets of a client as if one read had brought
// them, and returns how many bytes of them were forwarded as a run.
func (s *server) feedAtOnce(id string, b []byte) (used int) {
	s.t.Helper()
	s.b.sessionsMu.RLock()
	se := s.b.sessions[id]
	s.b.sessionsMu.RUnlock()
	se.mu.Lock()
	c := se.conn
	se.mu.Unlock()
	done := make(chan int)
	c.tr.post(func(t *turn) {
		n := c.publishRun(b, t)
		c.feed(b[n:], t)
		done <- n
	})
	return <-done
}

// TestPublishRun: whoever wants a run of messages gets each of them, in order,
// whether they can be forwarded as they came or not.
func TestPublishRun(t *testing.T) {
	const topic, last = "run/a", "run/end"
	payloads := []string{"", "1", string(bytes.Repeat([]byte("x"), 150)), "3", "4"}
	for _, from := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		t.Run(fmt.Sprint(from), func(t *testing.T) {
			s := newServer(t, func(o *Options) {
				below := o.Listeners[0]
				below.MountPoint = "run/"
				o.Listeners = append(o.Listeners, below)
			})
			connect := func(id string, v mqtt.Version, props *mqtt.Properties) *wire {
				w := s.wire("")
				w.v = v
				w.send(&mqtt.Connect{Version: v, ClientID: id, CleanStart: true, Properties: props})
				w.want(mqtt.CONNACK)
				return w
			}
			p := connect("p", from, nil)
			all := append(slices.Clone(payloads), "end")
			type receiver struct {
				w     *wire
				topic string
				want  []string
			}
			receivers := map[string]receiver{}
			add := func(id string, v mqtt.Version, props *mqtt.Properties, sub mqtt.Subscribe) {
				w := connect(id, v, props)
				sub.ID = 1
				sub.Requests = []mqtt.Request{{Filter: "run/#"}}
				w.send(&sub)
				w.want(mqtt.SUBACK)
				receivers[id] = receiver{w, topic, all}
			}
			add("3.1", mqtt.V31, nil, mqtt.Subscribe{})
			add("3.1.1", mqtt.V311, nil, mqtt.Subscribe{})
			add("5", mqtt.V5, nil, mqtt.Subscribe{})
			add("5 identifier", mqtt.V5, nil, mqtt.Subscribe{Properties: &mqtt.Properties{SubscriptionIDs: []uint32{7}}})
			add("5 alias", mqtt.V5, &mqtt.Properties{TopicAliasMaximum: 3}, mqtt.Subscribe{})
			add("5 small", mqtt.V5, &mqtt.Properties{MaximumPacketSize: 100}, mqtt.Subscribe{})
			small := receivers["5 small"]
			small.want = slices.Delete(slices.Clone(all), 2, 3) // [MQTT-3.1.2-24]
			receivers["5 small"] = small
			c, err := net.Dial("tcp", s.b.Addr(1).String())
			if err != nil {
				t.Fatal(err)
			}
			below := s.wireOver(c, "below")
			below.subscribe("#", 0)
			receivers["mounted"] = receiver{below, "a", all}
			p.subscribe("run/#", 0)
			receivers["itself"] = receiver{p, topic, all}
			own := connect("own", mqtt.V5, nil)
			own.send(&mqtt.Subscribe{ID: 1, Requests: []mqtt.Request{{Filter: "run/#", Options: 4}}})
			own.want(mqtt.SUBACK)

			// The first publish makes the route known, the second that it stays.
			for range 2 {
				p.send(&mqtt.Publish{Topic: topic, Payload: []byte("first")})
				for id, r := range receivers {
					if got := string(r.w.want(mqtt.PUBLISH).(*mqtt.Publish).Payload); got != "first" {
						t.Fatalf("%s: %q", id, got)
					}
				}
				own.want(mqtt.PUBLISH)
			}
			p.quiet() // what was counted before is added up
			before := s.b.Stats()
			var run []byte
			for _, payload := range payloads {
				run = (&mqtt.Publish{Topic: topic, Payload: []byte(payload)}).Append(run, from)
			}
			b := (&mqtt.Publish{Topic: last, Payload: []byte("end")}).Append(slices.Clone(run), from)
			if used := s.feedAtOnce("p", b); used != len(run) {
				t.Fatalf("the run is %d bytes, %d were taken for one", len(run), used)
			}
			for id, r := range receivers {
				var got []string
				for {
					m := r.w.want(mqtt.PUBLISH).(*mqtt.Publish)
					got = append(got, string(m.Payload))
					if string(m.Payload) == "end" {
						break
					}
					if m.Topic != r.topic && !(id == "5 alias" && m.Topic == "") {
						t.Errorf("%s: topic %q", id, m.Topic)
					}
					if m.QoS != 0 || m.Retain || m.Dup {
						t.Errorf("%s: %+v", id, m)
					}
					if ids := m.Properties; id == "5 identifier" && (ids == nil || !slices.Equal(ids.SubscriptionIDs, []uint32{7})) {
						t.Errorf("%s: %+v", id, ids)
					}
				}
				if !slices.Equal(got, r.want) {
					t.Errorf("%s: got %.300q, want %.300q", id, got, r.want)
				}
				r.w.quiet()
			}
			after := s.b.Stats()
			in, out := len(all), 9*len(all)-1 // own included, small's lost one not
			if got := int(after.PublishesReceived - before.PublishesReceived); got != in {
				t.Errorf("%d publishes counted as received, want %d", got, in)
			}
			if got := int(after.PublishesSent - before.PublishesSent); got != out {
				t.Errorf("%d publishes counted as sent, want %d", got, out)
			}
			if got := after.PublishesDropped - before.PublishesDropped; got != 1 {
				t.Errorf("%d dropped, want 1", got)
			}
		})
	}
}

// TestPublishRunNotTaken: what a run may not pass by.
func TestPublishRunNotTaken(t *testing.T) {
	s := newServer(t, func(o *Options) { o.Listeners[0].MaxMessageSize = 10 })
	p, r := s.wire("p"), s.wire("r")
	r.subscribe("#", 0)
	for _, first := range []bool{true, false} {
		run := bytes.Repeat((&mqtt.Publish{Topic: "a", Payload: []byte("x")}).Append(nil, mqtt.V5), 3)
		used := s.feedAtOnce("p", run)
		if first && used != 0 {
			t.Errorf("a run before the client was allowed to publish there")
		}
		if !first && used != len(run) {
			t.Errorf("%d of the run's %d bytes", used, len(run))
		}
		for range 3 {
			r.want(mqtt.PUBLISH)
		}
	}
	over := bytes.Repeat((&mqtt.Publish{Topic: "a", Payload: []byte("longer than ten")}).Append(nil, mqtt.V5), 3)
	if used := s.feedAtOnce("p", over); used != 0 {
		t.Errorf("%d bytes of messages over the limit were forwarded", used)
	}
	p.quiet()
	r.quiet()
	r.subscribe("b", 0) // who wants what has changed
	run := bytes.Repeat((&mqtt.Publish{Topic: "a", Payload: []byte("x")}).Append(nil, mqtt.V5), 3)
	if used := s.feedAtOnce("p", run); used != 0 {
		t.Errorf("a run went by an old route")
	}
	for range 3 {
		r.want(mqtt.PUBLISH)
	}
}

package bridge

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"gatewayd/broker"
	"gatewayd/mqtt"
)

// userProperty returns the values of a user property.
func userProperty(p *mqtt.Publish, name string) (values []string) {
	if p.Properties == nil {
		return nil
	}
	for _, u := range p.Properties.User {
		if u.Name == name {
			values = append(values, u.Value)
		}
	}
	return values
}

// TestLxpBridge12HistoryIsMarked: what comes late says when it was of, what is
// of now says nothing, and a time that a message brought along stays
// (celsworth/lxp-bridge#12).
func TestLxpBridge12HistoryIsMarked(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprint("without marks ", plain), func(t *testing.T) {
			f := newFake(t, fakeOptions{})
			g, _ := newGateway(t, "", listenOptions())
			b, _ := g.bridge(Options{Start: Manual, NoMark: plain, NotificationsLocalOnly: true, Addresses: []string{f.addr()}, Rules: outRule(1)})
			eventually(t, 60*time.Second, "waits", func() bool { return b.Status().State == Waiting })
			before := time.Now()
			g.publish("a/old", "1", 1, false)
			between := time.Now()
			stamped := broker.Publication{Topic: "a/stamped", QoS: 1, Properties: &mqtt.PublishProperties{User: []mqtt.UserProperty{{Name: "timestamp", Value: "2020-02-02T02:02:02Z"}}}}
			if err := g.Publish(t.Context(), stamped, nil); err != nil {
				t.Fatal(err)
			}
			eventually(t, 60*time.Second, "both wait", func() bool { return b.Status().QueueMessages == 2 })
			time.Sleep(20 * time.Millisecond)
			b.Resume()
			waitConnected(t, b)
			g.publish("a/new", "2", 1, false)
			eventually(t, 60*time.Second, "all arrive", func() bool { return len(f.published()) == 3 })
			for _, p := range f.published() {
				at, marks := userProperty(&p, "timestamp"), userProperty(&p, "is_historical")
				switch {
				case plain && p.Topic != "a/stamped" || p.Topic == "a/new":
					if at != nil || marks != nil {
						t.Errorf("%s is marked %v %v", p.Topic, at, marks)
					}
				case p.Topic == "a/stamped":
					if !slices.Equal(at, []string{"2020-02-02T02:02:02Z"}) || plain != (marks == nil) {
						t.Errorf("%s is marked %v %v", p.Topic, at, marks)
					}
				default:
					if len(at) != 1 || !slices.Equal(marks, []string{"true"}) {
						t.Fatalf("%s is marked %v %v", p.Topic, at, marks)
					}
					origin, err := time.Parse(time.RFC3339, at[0])
					if err != nil || origin.Before(before.Add(-10*time.Second)) || origin.After(between.Add(10*time.Second)) { // with a stall between two clocks
						t.Errorf("published between %v and %v, marked %s (%v)", before, between, at[0], err)
					}
				}
			}
		})
	}
}

// TestLiveLane: while history is on its way, a live message of another topic
// goes before what was not sent, one of its topic behind it; with LiveFirst that
// one too.
func TestLiveLane(t *testing.T) {
	for _, lanes := range []Lanes{ByTopic, LiveFirst, OneLane} {
		t.Run(fmt.Sprint("lanes ", lanes), func(t *testing.T) {
			const old, window = 60, 5
			first, goOn := make(chan struct{}), make(chan struct{})
			var once sync.Once
			f := newFake(t, fakeOptions{onPublish: func(f *fake, c net.Conn, v mqtt.Version, p *mqtt.Publish) {
				once.Do(func() { // the window fills, and the live messages come meanwhile
					close(first)
					<-goOn
				})
				_, _ = c.Write((&mqtt.Puback{ID: p.ID}).Append(nil, v))
			}})
			g, _ := newGateway(t, "", listenOptions())
			b, _ := g.bridge(Options{Start: Manual, Lanes: lanes, ReceiveMaximum: window, NotificationsLocalOnly: true, Addresses: []string{f.addr()}, Rules: outRule(1)})
			eventually(t, 60*time.Second, "waits", func() bool { return b.Status().State == Waiting })
			for i := range old {
				g.publish("a/x", fmt.Sprint(i), 1, false)
			}
			b.Resume()
			<-first
			g.publish("a/x", "same topic", 1, false)
			g.publish("a/y", "other topic", 1, false)
			close(goOn)
			eventually(t, 60*time.Second, "all arrive", func() bool { return len(f.published()) == old+2 })
			place := map[string]int{}
			next := 0
			for i, p := range f.published() {
				place[string(p.Payload)] = i
				if p.Topic == "a/x" && string(p.Payload) == fmt.Sprint(next) {
					next++
				}
			}
			if next != old {
				t.Errorf("history is not in order: %d of %d", next, old)
			}
			same, other := place["same topic"], place["other topic"]
			if wantOther := lanes != OneLane; wantOther != (other <= window+1) {
				t.Errorf("the other topic's message came as number %d of %d", other, old+2)
			}
			if wantSame := lanes == LiveFirst; wantSame != (same <= window+1) {
				t.Errorf("the same topic's message came as number %d of %d", same, old+2)
			}
		})
	}
}

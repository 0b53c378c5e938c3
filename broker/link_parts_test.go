package broker

import (
	"errors"
	"fmt"
	"testing"

	"gatewayd/mqtt"
	"gatewayd/store"
)

// What waits under one subscription of a link has bounds and an answer of its
// own, on the disk and in memory.
func TestPartsOfALink(t *testing.T) {
	for _, volatile := range []bool{false, true} {
		t.Run(fmt.Sprint("volatile=", volatile), func(t *testing.T) {
			s := newServer(t, nil)
			o := LinkOptions{ClientID: "bridge", Expiry: neverExpires,
				Limits: &QueueLimits{Messages: 3, OnFull: DropOldest},
				Parts: []QueuePart{
					{SubscriptionID: 1, Limits: &QueueLimits{Messages: 2, OnFull: DropNewest}},
					{SubscriptionID: 2, Limits: &QueueLimits{Messages: 2, OnFull: LatestPerTopic}},
					{SubscriptionID: 3},
				}}
			if volatile {
				o.Expiry, o.CleanStart = 0, true
			}
			l, err := s.b.Link(o)
			if err != nil {
				t.Fatal(err)
			}
			for id, filter := range []string{"rest/#", "alarm/#", "state/#", "told/#"} {
				if err := l.Subscribe(uint32(id), mqtt.Request{Filter: filter, Options: 1}); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 4 {
				publishWait(t, s.b, "alarm/a", fmt.Sprint(i), 1)
				publishWait(t, s.b, fmt.Sprint("state/", i%2), fmt.Sprint(i), 1)
				publishWait(t, s.b, "told/t", fmt.Sprint(i), 1)
				publishWait(t, s.b, "rest/r", fmt.Sprint(i), 1)
			}
			p := l.Parts()
			want := []PartState{
				{Messages: 2, Drops: LinkDrops{Drops: store.Drops{Newest: 2}}},
				{Messages: 2, Drops: LinkDrops{Drops: store.Drops{Topic: 2}}},
				{Messages: 1, Drops: LinkDrops{Drops: store.Drops{Oldest: 3}}},
			}
			for i := range p {
				p[i].Bytes = 0
			}
			if fmt.Sprint(p) != fmt.Sprint(want) {
				t.Errorf("parts are %v, want %v", p, want)
			}
			if d := l.Drops(); d.Drops != (store.Drops{Oldest: 5, Newest: 2, Topic: 2}) {
				t.Errorf("in all %+v were lost", d)
			}
			l.Resume(10)
			if got, want := fmt.Sprint(steps(t, l, 7)), "[alarm/a 0 alarm/a 1 state/0 2 rest/r 2 state/1 3 told/t 3 rest/r 3]"; got != want {
				t.Errorf("left are %s, want %s", got, want)
			}
		})
	}
}

// A part that rejects refuses the publisher of its own messages only.
func TestPartThatRejects(t *testing.T) {
	s := newServer(t, nil)
	l, err := s.b.Link(LinkOptions{ClientID: "bridge", Expiry: neverExpires,
		Parts: []QueuePart{{SubscriptionID: 7, Limits: &QueueLimits{Messages: 1, OnFull: Reject}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Subscribe(7, mqtt.Request{Filter: "a", Options: 1}), l.Subscribe(0, mqtt.Request{Filter: "b", Options: 1})); err != nil {
		t.Fatal(err)
	}
	publishWait(t, s.b, "a", "1", 1)
	err = s.b.Publish(t.Context(), Publication{Topic: "a", Payload: []byte("2"), QoS: 1}, nil)
	if !errors.Is(err, store.ErrQuota) {
		t.Fatalf("the publisher of a second message was told %v", err)
	}
	publishWait(t, s.b, "b", "1", 1)
	publishWait(t, s.b, "b", "2", 1)
	if p := l.Parts(); p[0].Messages != 1 {
		t.Fatal(p)
	}
}

func TestPartID(t *testing.T) {
	taken := map[uint32]bool{}
	a := PartID("sensor/#", taken)
	if b := PartID("sensor/#", map[uint32]bool{}); a != b || a == 0 {
		t.Fatal(a, b)
	}
	for i := range 1000 {
		before := len(taken)
		if id := PartID(fmt.Sprint("t/", i), taken); id == 0 || len(taken) != before+1 {
			t.Fatalf("%d is used twice", id)
		}
	}
}

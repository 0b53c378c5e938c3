package broker

import (
	"fmt"
	"testing"

	"gatewayd/mqtt"
)

func kept(t *testing.T, l *Link) (list []string) {
	t.Helper()
	if err := l.Kept(t.Context(), 100, func(k Kept) {
		list = append(list, fmt.Sprintf("%s %s %d %v", k.Message.Topic, k.Message.Payload, k.QoS, k.Retain))
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// What is moved aside is neither lost nor sent, through a crash too; it goes
// back to its place in the queue, once.
func TestMovedAsideAndBack(t *testing.T) {
	s := newServer(t, nil)
	open := func() (*Link, *Link) {
		var links []*Link
		for _, id := range []string{"bridge", "bridge.parked"} {
			l, err := s.b.Link(LinkOptions{ClientID: id, Expiry: neverExpires, Lanes: TopicOrder})
			if err != nil {
				t.Fatal(err)
			}
			links = append(links, l)
		}
		return links[0], links[1]
	}
	l, aside := open()
	if err := l.Subscribe(0, mqtt.Request{Filter: "#", Options: 2}); err != nil {
		t.Fatal(err)
	}
	l.Resume(10)
	for i := range 6 {
		publishWait(t, s.b, fmt.Sprint("t/", i%2), fmt.Sprint(i), mqtt.QoS(1+i%2))
	}
	next := func() Delivery {
		t.Helper()
		d, err := l.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	var all []Delivery
	for range 6 {
		all = append(all, next())
	}
	for i := range all[:5] { // the last one is under way when the process dies
		d := &all[i]
		switch {
		case i == 2 || i == 3: // one of each QoS
			if !l.MoveTo(aside, d.PacketID) {
				t.Fatalf("%d was not moved", i)
			}
		default:
			finish(t, l, d)
		}
	}
	want := "[t/0 2 1 false t/1 3 2 false]"
	if got := fmt.Sprint(kept(t, aside)); got != want {
		t.Fatalf("aside are %s, want %s", got, want)
	}
	publishWait(t, s.b, "t/2", "6", 2) // with its commit all that came before is on the disk
	s = s.crashed()
	l, aside = open()
	if got := fmt.Sprint(kept(t, aside)); got != want {
		t.Fatalf("after the crash aside are %s, want %s", got, want)
	}
	if n, _, _ := aside.Depth(); n != 2 {
		t.Fatal(n)
	}
	if err := l.Survey(t.Context()); err != nil {
		t.Fatal(err)
	}
	n, err := aside.Return(l)
	if err != nil || n != 2 {
		t.Fatal(n, err)
	}
	l.Resume(10)
	seen := map[string]int{}
	for seen["t/0 2"]*seen["t/1 3"]*seen["t/1 5"]*seen["t/2 6"] == 0 {
		seen[steps(t, l, 1)[0]]++
	}
	delete(seen, "t/0 0") // QoS 1, acknowledged less than a second before the crash
	delete(seen, "t/0 4")
	if got := fmt.Sprint(seen); got != "map[t/0 2:1 t/1 3:1 t/1 5:1 t/2 6:1]" {
		t.Fatal(got)
	}
	if got := kept(t, aside); len(got) > 0 {
		t.Fatal(got)
	}
}

func TestReturnWhileSendingAndGiveUp(t *testing.T) {
	s := newServer(t, nil)
	l, err := s.b.Link(LinkOptions{ClientID: "bridge", Expiry: neverExpires, Lanes: TopicOrder})
	if err != nil {
		t.Fatal(err)
	}
	aside, err := s.b.Link(LinkOptions{ClientID: "bridge.parked", Expiry: neverExpires})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Subscribe(0, mqtt.Request{Filter: "#", Options: 1}); err != nil {
		t.Fatal(err)
	}
	l.Resume(3)
	for i := range 9 {
		publishWait(t, s.b, fmt.Sprint("t/", i), "x", 1)
	}
	var ids []uint64
	for range 9 {
		d, err := l.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !l.MoveTo(aside, d.PacketID) {
			t.Fatal("not moved: ", d.Message.Topic)
		}
	}
	if err := aside.Kept(t.Context(), 4, func(k Kept) { ids = append(ids, k.ID) }); err != nil || len(ids) != 4 {
		t.Fatal(ids, err)
	}
	if n, err := aside.GiveUp(ids[1]); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := aside.Return(l, ids[0], ids[1], ids[3]); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if got := fmt.Sprint(steps(t, l, 2)); got != "[t/0 x t/3 x]" {
		t.Fatal(got)
	}
	if n, err := aside.GiveUp(); n != 6 || err != nil {
		t.Fatal(n, err)
	}
	if n, _, _ := aside.Depth(); n != 0 {
		t.Fatal(n)
	}
	if l.MoveTo(aside, 4711) {
		t.Fatal("what is not known was moved")
	}
}

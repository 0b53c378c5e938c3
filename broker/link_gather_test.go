package broker

import (
	"fmt"
	"testing"

	"gatewayd/mqtt"
)

// TestGatheredPubrecs: PUBRECs that came together are written together, and
// answered in their order, none before; after a restart all of them are asked to
// be released, none is sent again.
func TestGatheredPubrecs(t *testing.T) {
	s := newServer(t, nil)
	const n = gatherMost + 20
	l := laneLink(t, s, LinkOptions{}, 2, n, "a")
	l.Resume(n)
	var pids []mqtt.PacketID
	for len(pids) < n {
		d, err := l.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, d.PacketID)
	}
	answered := make(chan mqtt.PacketID, n)
	rec := func(pid mqtt.PacketID) {
		err := l.Rec(pid, mqtt.Success, func(err error) {
			if err != nil {
				t.Error(err)
			}
			answered <- pid
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.st.Flush(t.Context())
	before := s.st.Stats().Commits
	afters := make(chan int, 10)
	l.Gather(func() { afters <- len(answered) })
	for _, pid := range pids {
		rec(pid)
	}
	for _, want := range pids[:gatherMost] { // as many as are gathered at most
		if got := <-answered; got != want {
			t.Fatalf("%d is released, want %d", got, want)
		}
	}
	s.st.Flush(t.Context())
	if len(answered) > 0 {
		t.Errorf("%d are released before they are written", len(answered))
	}
	l.Flush()
	for _, want := range pids[gatherMost:] {
		if got := <-answered; got != want {
			t.Fatalf("%d is released, want %d", got, want)
		}
	}
	s.st.Flush(t.Context())
	for range 2 { // the end of each batch is told
		<-afters
	}
	if k := s.st.Stats().Commits - before; k > n/4 { // two, and what else the store has to do
		t.Errorf("%d commits for %d PUBRECs", k, n)
	}
	l.Flush() // nothing is there
	l.Close()
	s.restart()
	l, err := s.b.Link(LinkOptions{ClientID: "bridge", Expiry: neverExpires})
	if err != nil {
		t.Fatal(err)
	}
	l.Resume(n)
	got := map[mqtt.PacketID]bool{}
	for len(got) < n {
		d, err := l.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !d.Release {
			t.Fatal("sent again: ", fmt.Sprint(d))
		}
		got[d.PacketID] = true
	}
}

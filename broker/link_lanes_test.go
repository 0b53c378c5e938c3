package broker

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"gatewayd/mqtt"
)

// laneLink is a link with two lanes that has been away while n messages of each
// topic were published at a QoS.
func laneLink(t *testing.T, s *server, o LinkOptions, qos mqtt.QoS, n int, topics ...string) *Link {
	t.Helper()
	o.ClientID, o.Expiry = "bridge", neverExpires
	l, err := s.b.Link(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Subscribe(0, mqtt.Request{Filter: "#", Options: mqtt.Options(qos)}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		for _, topic := range topics {
			publishWait(t, s.b, topic, fmt.Sprintf("old %d", i), qos)
		}
	}
	return l
}

func publishWait(t *testing.T, b *Broker, topic, payload string, qos mqtt.QoS) {
	t.Helper()
	done := make(chan error, 1)
	if err := b.Publish(t.Context(), Publication{Topic: topic, Payload: []byte(payload), QoS: qos}, func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func publish(t *testing.T, b *Broker, topic, payload string, qos mqtt.QoS) {
	t.Helper()
	if err := b.Publish(t.Context(), Publication{Topic: topic, Payload: []byte(payload), QoS: qos}, nil); err != nil {
		t.Fatal(err)
	}
}

// steps takes n messages and finishes them; order is what they were.
func steps(t *testing.T, l *Link, n int) (order []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for len(order) < n {
		d, err := l.Next(ctx)
		if err != nil {
			t.Fatalf("%d of %d came: %v; %q", len(order), n, err, order)
		}
		if d.Release {
			if err := l.Comp(d.PacketID); err != nil {
				t.Fatal(err)
			}
			continue
		}
		order = append(order, d.Message.Topic+" "+string(d.Message.Payload))
		finish(t, l, &d)
	}
	return order
}

func finish(t *testing.T, l *Link, d *Delivery) {
	t.Helper()
	switch d.QoS {
	case 1:
		if err := l.Ack(d.PacketID, mqtt.Success); err != nil {
			t.Fatal(err)
		}
	case 2:
		released := make(chan error, 1)
		if err := l.Rec(d.PacketID, mqtt.Success, func(err error) { released <- err }); err != nil {
			t.Fatal(err)
		}
		if err := <-released; err != nil {
			t.Fatal(err)
		}
		if err := l.Comp(d.PacketID); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLiveGoesFirst: after an outage what is published now passes what has
// waited, unless its topic waits too; every topic keeps its order, nothing is
// missing and nothing comes twice.
func TestLiveGoesFirst(t *testing.T) {
	for _, qos := range []mqtt.QoS{1, 2} {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			s := newServer(t, nil)
			const old = 400
			l := laneLink(t, s, LinkOptions{Lanes: TopicOrder, HistoryRate: 1000}, qos, old, "a", "b")
			l.Resume(20)
			got := steps(t, l, 30) // history is under way
			for i := range 10 {    // safe before the remote goes on: how long that takes does not matter
				publishWait(t, s.b, "new", fmt.Sprintf("live %d", i), qos)
				publishWait(t, s.b, "a", fmt.Sprintf("old %d", old+i), qos)
			}
			got = append(got, steps(t, l, 2*old+20-30)...)
			checkOrder(t, got, map[string]int{"a": old + 10, "b": old, "new": 10})
			last := 0
			for i, x := range got {
				if x[:3] == "new" {
					last = i
				}
			}
			if last > 30+20+10 { // the window was full of history; without lanes they come behind 770
				t.Errorf("the last live message came as number %d of %d", last, len(got))
			}
			if n, _, _ := l.Depth(); n != 0 {
				eventually(t, "the queue is drained", func() bool { n, _, _ := l.Depth(); return n == 0 })
			}
		})
	}
}

// checkOrder: per topic the numbers behind the payloads count up from 0.
func checkOrder(t *testing.T, got []string, want map[string]int) {
	t.Helper()
	next := map[string]int{}
	for _, x := range got {
		var topic, word string
		var n int
		fmt.Sscan(x, &topic, &word, &n)
		if n != next[topic] {
			t.Fatalf("%q came when %d was due", x, next[topic])
		}
		next[topic]++
	}
	for topic, n := range want {
		if next[topic] != n {
			t.Errorf("%d of %q came, want %d", next[topic], topic, n)
		}
	}
}

// TestLanesAfterRestart: what waited before the process started is known by its
// topics, so that only other topics pass.
func TestLanesAfterRestart(t *testing.T) {
	s := newServer(t, nil)
	l := laneLink(t, s, LinkOptions{Lanes: TopicOrder}, 1, 100, "a")
	l.Close()
	s.restart()
	l, err := s.b.Link(LinkOptions{ClientID: "bridge", Expiry: neverExpires, Lanes: TopicOrder, HistoryRate: 200})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Survey(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.Resume(10)
	publish(t, s.b, "a", "old 100", 1)
	publish(t, s.b, "new", "live 0", 1)
	got := steps(t, l, 102)
	checkOrder(t, got, map[string]int{"a": 101, "new": 1})
	if i := indexOf(got, "new live 0"); i > 60 {
		t.Errorf("the live message came as number %d", i)
	}
}

// TestLanesWithoutSurvey: as long as it is not known what waits, nothing passes.
func TestLanesWithoutSurvey(t *testing.T) {
	s := newServer(t, nil)
	l := laneLink(t, s, LinkOptions{Lanes: TopicOrder}, 1, 100, "a")
	l.Close()
	s.restart()
	l, err := s.b.Link(LinkOptions{ClientID: "bridge", Expiry: neverExpires, Lanes: TopicOrder, HistoryRate: 500})
	if err != nil {
		t.Fatal(err)
	}
	l.Resume(10)
	publish(t, s.b, "a", "old 100", 1)
	checkOrder(t, steps(t, l, 101), map[string]int{"a": 101})
}

// TestSurveyWhileSending: what waits is learned while it is being sent, read
// ahead and acknowledged; from then on only other topics pass, and every topic
// is let go of when its last message is sent.
func TestSurveyWhileSending(t *testing.T) {
	for _, qos := range []mqtt.QoS{1, 2} {
		s := newServer(t, nil)
		l := laneLink(t, s, LinkOptions{Lanes: TopicOrder}, qos, 100, "a", "b", "c")
		l.Close()
		s.restart()
		l, err := s.b.Link(LinkOptions{ClientID: "bridge", Expiry: neverExpires, Lanes: TopicOrder, HistoryRate: 500})
		if err != nil {
			t.Fatal(err)
		}
		l.Resume(10)
		got := steps(t, l, 60)
		publish(t, s.b, "early", "live 0", 1) // not known yet: behind all of it
		if err := l.Survey(t.Context()); err != nil {
			t.Fatal(err)
		}
		publish(t, s.b, "new", "live 0", 1)
		publish(t, s.b, "a", "old 100", qos)
		got = append(got, steps(t, l, 300+3-60)...)
		checkOrder(t, got, map[string]int{"a": 101, "b": 100, "c": 100, "new": 1, "early": 1})
		if i := indexOf(got, "new live 0"); i > 250 {
			t.Errorf("QoS %d: the live message came as number %d", qos, i)
		}
		eventually(t, "the queue is empty", func() bool { n, _, _ := l.Depth(); return n == 0 && l.Inflight() == 0 })
		l.s.mu.Lock()
		if f := l.s.flow.lanes; len(f.topics) > 0 || f.others > 0 {
			t.Errorf("QoS %d: still counted: %v and %d", qos, f.topics, f.others)
		}
		l.s.mu.Unlock()
	}
}

func indexOf(list []string, x string) int {
	for i := range list {
		if list[i] == x {
			return i
		}
	}
	return -1
}

// TestLaneFirst: everything that is published now passes; an old value does not
// become the retained one again.
func TestLaneFirst(t *testing.T) {
	s := newServer(t, nil)
	l, err := s.b.Link(LinkOptions{ClientID: "bridge", Expiry: neverExpires, Lanes: LaneFirst, HistoryRate: 100})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Subscribe(0, mqtt.Request{Filter: "#", Options: (mqtt.OptionRetainAsPublished | 1).WithRetainHandling(2)}); err != nil {
		t.Fatal(err)
	}
	retained := func(topic, payload string) {
		done := make(chan error, 1)
		if err := s.b.Publish(t.Context(), Publication{Topic: topic, Payload: []byte(payload), QoS: 1, Retain: true}, func(err error) { done <- err }); err != nil {
			t.Fatal(err)
		}
		<-done
	}
	for i := range 50 {
		retained("a", fmt.Sprint("old ", i))
	}
	retained("b", "stays")
	retained("gone", "x")
	retained("gone", "")
	time.Sleep(2 * time.Millisecond) // the clock counts in ms
	l.Resume(5)
	retained("a", "now")
	var order []string
	flags := map[string]bool{}
	for range 54 {
		d, err := l.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		x := d.Message.Topic + " " + string(d.Message.Payload)
		order, flags[x] = append(order, x), d.Retain
		if d.Origin.IsZero() {
			t.Errorf("%s has no origin", x)
		}
		finish(t, l, &d)
	}
	if i := indexOf(order, "a now"); i < 0 || i > 25 {
		t.Errorf("the new value came as number %d", i)
	}
	for x, want := range map[string]bool{"a now": true, "a old 49": false, "b stays": true, "gone x": false, "gone ": true} {
		if flags[x] != want {
			t.Errorf("%s: retain flag %v, want %v", x, flags[x], want)
		}
	}
}

// TestHistoryIsPaced: what had queued up comes at the rate asked for, and what
// comes meanwhile does not wait for it.
func TestHistoryIsPaced(t *testing.T) {
	s := newServer(t, nil)
	l := laneLink(t, s, LinkOptions{Lanes: TopicOrder, HistoryRate: 100}, 1, 60, "a")
	start := time.Now()
	l.Resume(20)
	steps(t, l, 60)
	if took := time.Since(start); took < 400*time.Millisecond { // 100 ms at once, 50 messages at 100 a second
		t.Errorf("60 messages took %v", took)
	}
}

// TestLanesBounded: topics beyond the bound are not told apart, and then hold
// everything unknown back; they are let go of again.
func TestLanesBounded(t *testing.T) {
	l := &lanes{order: TopicOrder}
	name := func(i int) string { return fmt.Sprint("t/", i) }
	const n = laneTopics + 500
	for i := range n {
		l.waits(name(i))
		l.waits(name(i))
	}
	if len(l.topics) != laneTopics || l.others != 2*500 {
		t.Fatalf("%d topics, %d others", len(l.topics), l.others)
	}
	for i := n - 1; i >= 0; i-- {
		if l.topics[name(i)] == 0 && l.others == 0 {
			t.Fatalf("%s waits and is not known", name(i))
		}
		l.left(name(i))
		l.left(name(i))
	}
	if len(l.topics) != 0 || l.others != 0 || l.bytes != 0 {
		t.Fatalf("left: %d topics, %d others, %d bytes", len(l.topics), l.others, l.bytes)
	}
}

// TestLanesOutage publishes on many topics at QoS 1 and 2 while the remote
// comes and goes: every topic keeps its order, QoS 2 comes once, nothing is
// missing.
func TestLanesOutage(t *testing.T) {
	for _, lane := range []LaneOrder{OneLane, TopicOrder} {
		limits := &QueueLimits{Messages: 100_000, OnFull: DropOldest}
		s := newServer(t, nil)
		l, err := s.b.Link(LinkOptions{ClientID: "bridge", Expiry: neverExpires, Lanes: lane, Limits: limits})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Subscribe(0, mqtt.Request{Filter: "#", Options: 2}); err != nil {
			t.Fatal(err)
		}
		const topics, each = 12, 300
		r := &laneRemote{t: t, link: l, got: map[string][]uint32{}, held: map[mqtt.PacketID]bool{}}
		var pubs sync.WaitGroup
		acked := make(chan struct{}, topics*each)
		for n := range topics {
			pubs.Go(func() {
				for i := range uint32(each) {
					p := binary.BigEndian.AppendUint32(nil, i)
					err := s.b.Publish(t.Context(), Publication{Topic: fmt.Sprint("t/", n), QoS: mqtt.QoS(1 + n%2), Payload: p}, func(err error) {
						if err != nil {
							t.Error(err)
						}
						acked <- struct{}{}
					})
					if err != nil {
						t.Error(err)
						return
					}
					if (i+uint32(n))%40 == 0 {
						time.Sleep(3 * time.Millisecond)
					}
				}
			})
		}
		for i := range 8 {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			l.Resume(10)
			go func() {
				defer close(done)
				r.run(ctx)
			}()
			if i < 7 {
				time.Sleep(15 * time.Millisecond)
			} else {
				pubs.Wait()
				for range topics * each {
					<-acked
				}
				eventually(t, "the queue is drained", func() bool { return r.total() >= topics*each })
				eventually(t, "the queue is drained", func() bool { n, _, _ := l.Depth(); return n == 0 && l.Inflight() == 0 })
			}
			cancel()
			<-done
			l.Pause()
			time.Sleep(5 * time.Millisecond)
		}
		r.check(topics, each)
		l.s.mu.Lock()
		if f := l.s.flow; f.lanes != nil && (len(f.lanes.topics) != 0 || f.lanes.others != 0) {
			t.Errorf("still counted: %v and %d", f.lanes.topics, f.lanes.others)
		}
		l.s.mu.Unlock()
		if q := s.st.Stats(); q.Messages != 0 {
			t.Errorf("%d messages are still in the store", q.Messages)
		}
	}
}

// laneRemote acknowledges what the link hands out, and notes it by topic.
type laneRemote struct {
	t    *testing.T
	link *Link
	mu   sync.Mutex
	got  map[string][]uint32 // first deliveries
	held map[mqtt.PacketID]bool
}

func (r *laneRemote) run(ctx context.Context) {
	for {
		d, err := r.link.Next(ctx)
		if err != nil {
			return
		}
		switch {
		case d.Release:
			r.mu.Lock()
			delete(r.held, d.PacketID)
			r.mu.Unlock()
			r.link.Comp(d.PacketID)
		case d.QoS == 1:
			r.note(&d)
			r.link.Ack(d.PacketID, mqtt.Success)
		default:
			r.mu.Lock()
			repeat := r.held[d.PacketID]
			r.held[d.PacketID] = true
			r.mu.Unlock()
			if !repeat {
				r.note(&d)
			}
			pid := d.PacketID
			r.link.Rec(pid, mqtt.Success, func(err error) {
				if err != nil {
					return
				}
				go func() {
					r.mu.Lock()
					delete(r.held, pid)
					r.mu.Unlock()
					r.link.Comp(pid)
				}()
			})
		}
	}
}

func (r *laneRemote) note(d *Delivery) {
	n := binary.BigEndian.Uint32(d.Message.Payload)
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.got[d.Message.Topic]
	switch {
	case len(list) == 0 && n == 0 || len(list) > 0 && n == list[len(list)-1]+1:
		r.got[d.Message.Topic] = append(list, n)
	case d.QoS == 1 && len(list) > 0 && n <= list[len(list)-1]: // again
	default:
		r.t.Errorf("%s: %d came after %d", d.Message.Topic, n, len(list))
	}
}

func (r *laneRemote) total() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, list := range r.got {
		n += len(list)
	}
	return n
}

func (r *laneRemote) check(topics, each int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := range topics {
		if got := len(r.got[fmt.Sprint("t/", n)]); got != each {
			r.t.Errorf("t/%d: %d of %d came", n, got, each)
		}
	}
}

package bridge_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatewayd/mqtt"
)

// hand is a connection whose packets the test sends and takes one by one.
type hand struct {
	t       testing.TB
	conn    net.Conn
	packets chan mqtt.Packet
	present bool
}

func newHand(t testing.TB, addr, id string, version mqtt.Version) *hand {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	h := &hand{t: t, conn: conn, packets: make(chan mqtt.Packet, 1000)}
	t.Cleanup(func() { conn.Close() })
	p := &mqtt.Connect{Version: version, ClientID: id, KeepAlive: 60}
	if version == mqtt.V5 {
		p.Properties = &mqtt.Properties{SessionExpiry: 3600}
	}
	h.send(version, p)
	go func() {
		defer close(h.packets)
		_ = packets(conn, func(b []byte) error {
			p, err := mqtt.Decode(version, slices.Clone(b))
			if err == nil {
				h.packets <- p
			}
			return err
		})
	}()
	h.present = take[*mqtt.Connack](h).SessionPresent
	return h
}

func (h *hand) send(version mqtt.Version, p mqtt.Packet) {
	h.t.Helper()
	if _, err := h.conn.Write(p.Append(nil, version)); err != nil {
		h.t.Fatal(err)
	}
}

// take waits for the next packet of a kind; others are a fault.
func take[P mqtt.Packet](h *hand) P {
	h.t.Helper()
	select {
	case p, ok := <-h.packets:
		if want, fits := p.(P); fits {
			return want
		}
		h.t.Fatalf("got %#v (%v)", p, ok)
	case <-time.After(20 * time.Second):
		h.t.Fatalf("nothing came")
	}
	panic("unreachable")
}

// TestImportFromMosquitto lets Debian's mosquitto save retained messages, subscriptions with their options, queues and
// exchanges in every state in flight, imports the file, and each client goes on where it was.
func TestImportFromMosquitto(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t, "max_inflight_messages 2\n")
	const v = mqtt.V5
	sub := func(h *hand, filter string, o mqtt.Options, id uint32) {
		p := &mqtt.Subscribe{ID: 1, Requests: []mqtt.Request{{Filter: filter, Options: o}}}
		if id != 0 {
			p.Properties = &mqtt.Properties{SubscriptionIDs: []uint32{id}}
		}
		h.send(v, p)
		take[*mqtt.Suback](h)
	}
	// away has a queue, old is one of 3.1.1, mine must not get its own, gone ends before the import.
	away := newHand(t, m.addr, "away", v)
	sub(away, "q/#", mqtt.Options(0).WithQoS(2), 77)
	away.conn.Close()
	old := newHand(t, m.addr, "old", mqtt.V311)
	old.send(mqtt.V311, &mqtt.Subscribe{ID: 1, Requests: []mqtt.Request{{Filter: "q/+", Options: 1}}})
	take[*mqtt.Suback](old)
	old.conn.Close()
	mine := newHand(t, m.addr, "mine", v)
	const noLocal = 4
	sub(mine, "q/#", mqtt.Options(noLocal).WithQoS(1), 0)
	// flying has one message of QoS 1 and one of QoS 2 on the way; released lacks a PUBCOMP only.
	flying := newHand(t, m.addr, "flying", v)
	sub(flying, "f/#", mqtt.Options(0).WithQoS(2), 0)
	released := newHand(t, m.addr, "released", v)
	sub(released, "r/#", mqtt.Options(0).WithQoS(2), 0)

	say := newHand(t, m.addr, "say", v)
	id := mqtt.PacketID(0)
	publish := func(topic, payload string, qos mqtt.QoS, retain bool, props *mqtt.Properties) {
		id++
		p := &mqtt.Publish{ID: id, Topic: topic, Payload: []byte(payload), QoS: qos, Retain: retain, Properties: props}
		if qos == 0 {
			p.ID = 0
		}
		say.send(v, p)
		switch qos {
		case 1:
			take[*mqtt.Puback](say)
		case 2:
			take[*mqtt.Pubrec](say)
			say.send(v, &mqtt.Pubrel{ID: id})
			take[*mqtt.Pubcomp](say)
		}
	}
	for i := range 20 {
		publish("q/a", fmt.Sprint(i), mqtt.QoS(1+i%2), false, nil)
	}
	publish("q/props", "with", 1, false, &mqtt.Properties{MessageExpiry: 600, ContentType: "text/plain", ResponseTopic: "back", Correlation: []byte("c"),
		User: []mqtt.UserProperty{{Name: "k", Value: "v"}}})
	publish("q/short", "gone", 1, false, &mqtt.Properties{MessageExpiry: 1})
	publish("kept/0", "zero", 0, true, nil)
	publish("kept/1", "one", 1, true, &mqtt.Properties{ContentType: "text/plain"})
	publish("kept/short", "gone", 1, true, &mqtt.Properties{MessageExpiry: 1})
	mine.send(v, &mqtt.Publish{ID: 9, Topic: "q/mine", Payload: []byte("own"), QoS: 1})
	for {
		if _, ok := (<-mine.packets).(*mqtt.Puback); ok {
			break
		}
	}
	mine.conn.Close()
	publish("f/1", "first", 1, false, nil)
	publish("f/2", "second", 2, false, nil)
	publish("f/3", "third", 1, false, nil) // beyond the window of two: queued
	first, second := take[*mqtt.Publish](flying), take[*mqtt.Publish](flying)
	publish("r/2", "half", 2, false, nil)
	half := take[*mqtt.Publish](released)
	released.send(v, &mqtt.Pubrec{ID: half.ID})
	take[*mqtt.Pubrel](released)
	// A publisher with one message held and not released.
	holder := newHand(t, m.addr, "holder", v)
	holder.send(v, &mqtt.Publish{ID: 5, Topic: "q/held", Payload: []byte("held"), QoS: 2})
	take[*mqtt.Pubrec](holder)
	for _, h := range []*hand{flying, released, holder, say} {
		h.conn.Close()
	}
	time.Sleep(1500 * time.Millisecond) // the short ones end their life
	m.end(syscall.SIGTERM)
	file := filepath.Join(m.dir, "mosquitto.db")
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}

	g := newGatewayd(t, "")
	data := filepath.Join(g.dir, "data")
	out, err := gatewayd(t, "store", "import", "-d", data, file)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(out, "2 retained messages, 7 sessions with 5 subscriptions") {
		t.Errorf("%s", out)
	}
	if out, err := gatewayd(t, "store", "verify", "-d", data); err != nil {
		t.Errorf("verify: %v\n%s", err, out)
	}
	g.start()

	again := func(id string) *hand {
		h := newHand(t, g.addr, id, v)
		if !h.present {
			t.Errorf("%s: no session", id)
		}
		return h
	}
	// queue takes n messages and acknowledges them.
	queue := func(h *hand, version mqtt.Version, n int) (got []mqtt.Publish) {
		for len(got) < n {
			switch p := (<-h.packets).(type) {
			case *mqtt.Publish:
				got = append(got, *p)
				if p.QoS == 1 {
					h.send(version, &mqtt.Puback{ID: p.ID})
				} else if p.QoS == 2 {
					h.send(version, &mqtt.Pubrec{ID: p.ID})
				}
			case *mqtt.Pubrel:
				h.send(version, &mqtt.Pubcomp{ID: p.ID})
			case nil:
				t.Fatalf("closed after %d of %d messages", len(got), n)
			}
		}
		return got
	}
	inOrder := func(who string, got []mqtt.Publish) {
		i := 0
		for _, p := range got {
			if p.Topic == "q/a" {
				if string(p.Payload) != fmt.Sprint(i) {
					t.Errorf("%s: message %d is %q", who, i, p.Payload)
				}
				i++
			}
		}
		if i != 20 {
			t.Errorf("%s: %d of 20 messages", who, i)
		}
	}
	h := again("away")
	got := queue(h, v, 23)
	inOrder("away", got)
	for _, want := range []string{"q/props with", "q/mine own", "q/held held"} {
		if !slices.ContainsFunc(got, func(p mqtt.Publish) bool { return p.Topic+" "+string(p.Payload) == want }) {
			t.Errorf("away did not get %s", want)
		}
	}
	for _, p := range got {
		if p.Properties == nil || !slices.Equal(p.Properties.SubscriptionIDs, []uint32{77}) {
			t.Errorf("%s has properties %+v, want subscription identifier 77", p.Topic, p.Properties)
			continue
		}
		if q := p.Properties; p.Topic == "q/props" && (q.ContentType != "text/plain" || q.ResponseTopic != "back" || string(q.Correlation) != "c" || len(q.User) != 1 ||
			q.MessageExpiry == 0 || q.MessageExpiry > 600) {
			t.Errorf("properties %+v", q)
		}
	}
	h = newHand(t, g.addr, "old", mqtt.V311)
	inOrder("old", queue(h, mqtt.V311, 23))
	mine = again("mine")
	inOrder("mine", queue(mine, v, 22)) // without its own
	mine.send(v, &mqtt.Publish{ID: 1, Topic: "q/mine", Payload: []byte("own"), QoS: 1})
	take[*mqtt.Puback](mine) // and no PUBLISH: no-local was taken over

	h = again("flying")
	var topics []string
	for _, p := range queue(h, v, 3) {
		topics = append(topics, p.Topic)
		if p.Topic == "f/2" && (p.ID != second.ID || !p.Dup) {
			t.Errorf("QoS 2 comes again under id %d, dup %v; it was %d", p.ID, p.Dup, second.ID)
		}
	}
	slices.Sort(topics)
	if !slices.Equal(topics, []string{"f/1", "f/2", "f/3"}) || first.Topic != "f/1" {
		t.Errorf("flying got %v", topics)
	}
	h = again("released")
	if rel := take[*mqtt.Pubrel](h); rel.ID != half.ID {
		t.Errorf("PUBREL %d, want %d", rel.ID, half.ID)
	}
	again("holder")
	kept := listen(t, g.addr, "reader", mqtt.Options(8), "kept/#")
	kept.expect("kept/0", "zero")
	if one := kept.expect("kept/1", "one"); one.Properties == nil || one.Properties.ContentType != "text/plain" {
		t.Errorf("kept/1 has properties %+v", one.Properties)
	}
	if n := len(kept.messages()); n != 2 {
		t.Errorf("%d retained messages, want two: the third has expired", n)
	}
}

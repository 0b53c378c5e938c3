package conformance

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"
)

// TestMemoryCeiling lets a subscriber that acknowledges nothing drive a real process to its memory ceiling: first newcomers are refused,
// then QoS 0 is dropped, then publishers are told so. It is not killed, it stays near the ceiling, and when the culprit is gone
// everything is as before. (What waits in memory for one client is bounded long before that, so the bound is out of the way here.)
func TestMemoryCeiling(t *testing.T) {
	t.Parallel()
	const ceiling, allowed = 64 << 20, 88 << 20 // the process beside the heap: program text, stacks, the store's mapped files
	addr, p := configuredProcess(t, "mqtt: {memory_limit: 64MiB, max_queued_memory: 1GiB}\nstore: {persistence: false}\n")
	culprit := connect(t, addr, options{v: 5, props: props{pReceiveMaximum: uint16(1)}})
	culprit.subscribe(sub{"flood", 1})
	witness := connect(t, addr, options{v: 4})
	witness.subscribe(sub{"witness", 1})
	publisher := connect(t, addr, options{v: 5})

	// What is still served, in the order in which it may end.
	type service struct{ newcomers, qos0, publishers bool }
	serves := func() (s service) {
		if conn, err := net.DialTimeout("tcp", addr, patience); err == nil {
			o := options{v: 4, id: unique("new")}
			_ = conn.SetDeadline(time.Now().Add(patience))
			_, _ = conn.Write(o.encode())
			if ack, err := readPacket(bufio.NewReader(conn), 4); err == nil && ack.typ == tConnack && ack.code == 0 {
				s.newcomers = true
			}
			conn.Close()
		}
		publisher.send(msg{topic: "witness", payload: "zero"})
		id := publisher.send(msg{topic: "witness", payload: "one", qos: 1})
		ack := publisher.want(tPuback)
		if ack.id != id || ack.code != 0 && ack.code != 0x97 {
			t.Fatalf("got %v", ack)
		}
		s.publishers = ack.code == 0
		witness.write([]byte{tPingreq << 4, 0})
		for {
			m, err := witness.recv(patience)
			if err != nil {
				t.Fatal(err)
			}
			if m.typ == tPingresp {
				return s
			}
			s.qos0 = s.qos0 || m.payload == "zero"
			if witness.complete(m); m.payload == "one" && ack.code != 0 {
				t.Error("refused, and delivered all the same")
			}
		}
	}

	payload := strings.Repeat("x", 64<<10)
	flood := func(bytes int) {
		for ; bytes > 0; bytes -= len(payload) {
			publisher.send(msg{topic: "flood", payload: payload, qos: 1})
			if ack := publisher.want(tPuback); ack.code != 0 && ack.code != 0x97 {
				t.Fatalf("got %v", ack)
			}
		}
	}
	full := service{true, true, true}
	if got := serves(); got != full {
		t.Fatalf("at the start %+v", got)
	}
	for m, err := p.Memory(); err == nil && m.Anon < 52<<20; m, err = p.Memory() {
		flood(1 << 20)
	}
	var seen []service
	for last := full; last.publishers; {
		flood(1 << 20) // a third of what lies between two steps
		time.Sleep(1100 * time.Millisecond)
		if now := serves(); now != last {
			seen, last = append(seen, now), now
		}
		if len(seen) > 10 {
			break
		}
		m, err := p.Memory()
		if err != nil || m.Anon > allowed {
			t.Fatalf("%d MB of anonymous memory with a ceiling of %d MB: %v; so far %+v", m.Anon>>20, ceiling>>20, err, seen)
		}
	}
	t.Logf("service on the way: %+v", seen)
	// Measured once a second; each step is passed through, none is skipped back.
	want := []service{{false, true, true}, {false, false, true}, {false, false, false}}
	if len(seen) != len(want) {
		t.Errorf("the steps are %+v, want %+v", seen, want)
	} else {
		for i := range want {
			if seen[i] != want[i] {
				t.Errorf("step %d is %+v, want %+v", i+1, seen[i], want[i])
			}
		}
	}
	culprit.vanish()
	for deadline := time.Now().Add(patience); serves() != full; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the culprit is gone, and this is served: %+v", serves())
		}
	}
}

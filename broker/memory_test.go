package broker

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"gatewayd/mqtt"
)

var sink [][]byte

// TestMemoryMeasure: what is held counts, garbage does not.
func TestMemoryMeasure(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // so that garbage lies about
	runtime.GC()
	held, _ := heldMemory()
	limit := held + 64<<20
	var m memoryState
	for range 100 { // 100 MB of garbage, as far as the collector lets it lie
		sink = [][]byte{make([]byte, 1<<20)}
	}
	sink = nil
	if full, _ := heldMemory(); levelOf(full, limit) == memoryFine {
		t.Fatal("the garbage is gone: this test proves nothing")
	}
	m.cycles = gcCycles()
	m.measure(limit)
	if level := m.level.Load(); level != memoryFine {
		t.Errorf("level %d for garbage", level)
	}
	for range 70 {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		sink = append(sink, b)
	}
	m.cycles = gcCycles()
	m.measure(limit)
	if level := m.level.Load(); level != memoryNoPublish {
		t.Errorf("level %d with more held than the limit", level)
	}
	sink = nil
	m.measure(limit)
	if level := m.level.Load(); level != memoryFine {
		t.Errorf("level %d after it was let go", level)
	}
}

func gcCycles() uint64 {
	_, cycles := heldMemory()
	return cycles
}

// TestMemorySteps: the order in which service degrades, and that it recovers.
func TestMemorySteps(t *testing.T) {
	s := newServer(t, nil)
	sub := s.wire("sub")
	sub.subscribe("t", 1)
	pub := s.wire("pub")
	expect := func(step string, payload string) {
		t.Helper()
		p, ok := sub.read().(*mqtt.Publish)
		if !ok || string(p.Payload) != payload {
			t.Fatalf("%s: got %+v, want %q", step, p, payload)
		}
		if p.QoS == 1 {
			sub.send(&mqtt.Puback{ID: p.ID})
		}
	}
	newcomer := func() bool {
		c, err := s.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		c.Write((&mqtt.Connect{Version: mqtt.V5, ClientID: "new", CleanStart: true}).Append(nil, mqtt.V5))
		b := make([]byte, 4)
		_, err = c.Read(b)
		return err == nil && b[0] == 0x20 && b[3] == 0
	}
	for _, step := range []struct {
		level                 int32
		newcomers, qos0, qos1 bool
		name                  string
	}{
		{memoryFine, true, true, true, "fine"},
		{memoryNoConnections, false, true, true, "no connections"},
		{memoryNoQoS0, false, false, true, "no QoS 0"},
		{memoryNoPublish, false, false, false, "no publishers"},
		{memoryFine, true, true, true, "fine again"},
	} {
		s.b.memory.level.Store(step.level)
		if got := newcomer(); got != step.newcomers {
			t.Errorf("%s: a newcomer is let in: %v", step.name, got)
		}
		pub.send(&mqtt.Publish{Topic: "t", Payload: []byte("zero")})
		code := pub.publish("t", []byte("one"), false)
		if code.Failed() == step.qos1 || !step.qos1 && code != mqtt.QuotaExceeded {
			t.Errorf("%s: PUBACK %v", step.name, code)
		}
		if step.qos0 {
			expect(step.name, "zero")
		}
		if step.qos1 {
			expect(step.name, "one")
		}
		sub.send(&mqtt.Pingreq{})
		if p := sub.read(); p.Type() != mqtt.PINGRESP {
			t.Errorf("%s: got %v besides", step.name, p.Type())
		}
	}
}

package broker

import (
	"bufio"
	"context"
	"testing"

	"gatewayd/mqtt"
	"gatewayd/store"
)

// TestBusyStore floods a store that takes little at a time: publishes wait, the
// socket is not read beyond that, every one is acknowledged in order, and pings
// of others are answered meanwhile.
func TestBusyStore(t *testing.T) {
	clock := NewClock()
	st, err := store.Open(t.TempDir(), store.Options{Now: clock.Now, MaxPending: 8 << 10, MaxBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(Options{Clock: clock, SysInterval: -1, Loops: 1, Listeners: []Listener{{Address: "127.0.0.1:0"}}}, st)
	if err != nil {
		t.Fatal(err)
	}
	sctx, sstop := context.WithCancel(context.Background())
	bctx, bstop := context.WithCancel(context.Background())
	sdone, bdone := make(chan error, 1), make(chan error, 1)
	go func() { sdone <- st.Run(sctx) }()
	go func() { bdone <- b.Run(bctx) }()
	<-b.Ready()
	s := &server{t: t, b: b, st: st}
	defer func() {
		bstop()
		<-bdone
		sstop()
		<-sdone
		st.Close()
	}()

	sub := s.wire("")
	sub.send(&mqtt.Connect{Version: mqtt.V5, ClientID: "sub", Properties: &mqtt.Properties{SessionExpiry: 1000}})
	sub.read()
	sub.send(&mqtt.Subscribe{ID: 1, Requests: []mqtt.Request{{Filter: "#", Options: 2}}})
	sub.read()
	sub.Close()

	pub := s.wire("")
	pub.v = mqtt.V311
	pub.send(&mqtt.Connect{Version: mqtt.V311, ClientID: "pub", CleanStart: true})
	pub.read()
	const n = 600
	payload := make([]byte, 1000)
	go func() {
		w := bufio.NewWriter(pub.Conn)
		var buf []byte
		for i := range n {
			buf = (&mqtt.Publish{Topic: "t", QoS: 1, ID: mqtt.PacketID(i + 1), Payload: payload}).Append(buf[:0], mqtt.V311)
			w.Write(buf)
		}
		w.Flush()
	}()
	other := s.wire("other")
	for i := range n {
		ack, ok := pub.read().(*mqtt.Puback)
		if !ok || ack.ID != mqtt.PacketID(i+1) {
			t.Fatalf("acknowledgement %d is %+v", i+1, ack)
		}
		if i%200 == 0 {
			other.send(&mqtt.Pingreq{})
			other.read()
		}
	}
	for _, c := range b.Clients() {
		if c.ID == "sub" && c.Queued != n {
			t.Errorf("%d messages queued, want %d", c.Queued, n)
		}
	}
}

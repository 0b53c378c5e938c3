package discovery

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"gatewayd/broker"
	"gatewayd/mqtt"
	"gatewayd/sensors"
	"gatewayd/store"
)

// house is a broker and somebody who hears what is said below homeassistant/.
type house struct {
	*broker.Broker
	heard *broker.Link

	mu   sync.Mutex
	said []said
}

type said struct{ topic, payload string }

func newHouse(t *testing.T) *house {
	t.Helper()
	st, err := store.Open("", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(broker.Options{}, st)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = st.Run(ctx) })
	wg.Go(func() { _ = b.Run(ctx) })
	<-b.Ready()
	h := &house{Broker: b}
	if h.heard, err = b.Link(broker.LinkOptions{ClientID: "listener", CleanStart: true}); err != nil {
		t.Fatal(err)
	}
	if err := h.heard.Subscribe(0, mqtt.Request{Filter: "homeassistant/device/#"}); err != nil {
		t.Fatal(err)
	}
	h.heard.Resume(20)
	wg.Go(func() {
		for {
			d, err := h.heard.Next(ctx)
			if err != nil {
				return
			}
			h.mu.Lock()
			h.said = append(h.said, said{d.Message.Topic, string(d.Message.Payload)})
			h.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		st.Close()
	})
	return h
}

// take returns what was said until n messages came and then nothing for a
// while.
func (h *house) take(t *testing.T, n int) []said {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		h.mu.Lock()
		got := len(h.said)
		h.mu.Unlock()
		if got >= n {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d messages heard, want %d", got, n)
		}
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(150 * time.Millisecond) // what is one too many would come now
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.said
	h.said = nil
	if len(out) != n {
		t.Fatalf("%d messages heard, want %d: %v", len(out), n, out)
	}
	return out
}

// settle is long enough for a busy machine to hand out what is retained.
const settle = time.Second

func (h *house) announce(t *testing.T, docs map[string]Document) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	a := New(Options{Client: "discovery", Broker: h, Documents: docs, Settle: settle, Jitter: time.Millisecond})
	go func() { done <- a.Run(ctx) }()
	return func() {
		cancel()
		<-done
	}
}

func TestAnnouncesOnceAndTakesBack(t *testing.T) {
	h := newHouse(t)
	g := Gateway{ID: "gw"}
	two := []sensors.Entity{
		{Kind: "sensor", Probe: "room1", Quantity: sensors.QuantityOf("temperature"), Topic: "room1/temperature"},
		{Kind: "sensor", Probe: "room1", Quantity: sensors.QuantityOf("humidity"), Topic: "room1/humidity"},
		{Kind: "switch", Probe: "lamp", Topic: "hall/lamp", Command: "hall/lamp/set", On: "on", Off: "off"},
	}
	stop := h.announce(t, Documents(g, two, nil))
	first := h.take(t, 3)
	if first[0].topic != "homeassistant/device/gatewayd_gw/config" {
		t.Errorf("%s came first, want the gateway that the others refer to", first[0].topic)
	}
	stop()

	// A restart that changes nothing says nothing.
	stop = h.announce(t, Documents(g, two, nil))
	time.Sleep(settle + 300*time.Millisecond)
	h.take(t, 0)
	stop()

	// The lamp is gone as a device, the humidity as a component.
	stop = h.announce(t, Documents(g, two[:1], nil))
	defer stop()
	changed := h.take(t, 3)
	var d Document
	if err := json.Unmarshal([]byte(changed[0].payload), &d); err != nil || d.Components["humidity"] != (Component{Platform: "sensor"}) {
		t.Errorf("first %s, want humidity with its platform alone", changed[0].payload)
	}
	if strings.Contains(changed[1].payload, "humidity") {
		t.Errorf("then %s, want no humidity", changed[1].payload)
	}
	if changed[2] != (said{"homeassistant/device/gatewayd_gw_lamp/config", ""}) {
		t.Errorf("last %v, want the lamp cleared", changed[2])
	}
}

func TestAnnouncesAgainAtBirth(t *testing.T) {
	h := newHouse(t)
	stop := h.announce(t, Documents(Gateway{ID: "gw"}, nil, nil))
	defer stop()
	h.take(t, 1)
	for _, text := range []string{"offline", "online"} {
		if err := h.Publish(context.Background(), broker.Publication{Topic: "homeassistant/status", Payload: []byte(text)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	h.take(t, 1)
}

func TestLeavesOthersAlone(t *testing.T) {
	h := newHouse(t)
	for object, d := range map[string]Document{
		"zigbee":              {Origin: Origin{Name: "Zigbee2MQTT"}, Device: Device{Identifiers: []string{"z"}}, Components: map[string]Component{"a": {Platform: "sensor"}}},
		"gatewayd_other_room": {Origin: Origin{Name: originName}, Device: Device{Identifiers: []string{"x"}, ViaDevice: "gatewayd_other"}, Components: map[string]Component{"a": {Platform: "sensor"}}},
	} {
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Publish(context.Background(), broker.Publication{Topic: "homeassistant/device/" + object + "/config", Payload: text, QoS: 1, Retain: true}, nil); err != nil {
			t.Fatal(err)
		}
	}
	h.take(t, 2)
	stop := h.announce(t, Documents(Gateway{ID: "gw"}, nil, nil))
	defer stop()
	if got := h.take(t, 1); got[0].topic != "homeassistant/device/gatewayd_gw/config" {
		t.Errorf("said %v", got)
	}
}

package sparkplug

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"gatewayd/broker"
	"gatewayd/mqtt"
	"gatewayd/sensors"
	"gatewayd/store"
)

// house is a broker with a host application that hears everything below
// spBv1.0/ and can command.
type house struct {
	*broker.Broker
	t    *testing.T
	mu   sync.Mutex
	said []said
}

type said struct {
	kind, device string
	seen
	qos    mqtt.QoS
	retain bool
}

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
	h := &house{Broker: b, t: t}
	link, err := b.Link(broker.LinkOptions{ClientID: "host", CleanStart: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := link.Subscribe(0, mqtt.Request{Filter: "spBv1.0/plant/#", Options: mqtt.Options(0).WithQoS(1)}); err != nil {
		t.Fatal(err)
	}
	link.Resume(1000)
	wg.Go(func() {
		for {
			d, err := link.Next(ctx)
			if err != nil {
				return
			}
			if d.QoS > 0 {
				_ = link.Ack(d.PacketID, mqtt.Success)
			}
			if d.Message == nil {
				continue
			}
			level := strings.Split(d.Message.Topic, "/")
			if level[2] == "NCMD" || level[2] == "DCMD" {
				continue
			}
			s := said{kind: level[2], seen: see(t, d.Message.Payload), qos: d.QoS, retain: d.Retain}
			if len(level) > 4 {
				s.device = level[4]
			}
			h.mu.Lock()
			h.said = append(h.said, s)
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

// wait takes what was said once cond likes it.
func (h *house) wait(what string, cond func([]said) bool) []said {
	h.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		h.mu.Lock()
		if cond(h.said) {
			out := h.said
			h.said = nil
			h.mu.Unlock()
			return out
		}
		heard := describe(h.said)
		h.mu.Unlock()
		if time.Now().After(end) {
			h.t.Fatalf("waiting for %s, heard %s", what, heard)
		}
	}
}

// until waits for the given kinds in order, "DBIRTH room1" or "NDEATH".
func (h *house) until(want string) []said {
	h.t.Helper()
	return h.wait(want, func(all []said) bool { return describe(all) == want })
}

func describe(all []said) string {
	var words []string
	for _, s := range all {
		w := s.kind
		if s.device != "" {
			w += " " + s.device
		}
		words = append(words, w)
	}
	return strings.Join(words, ", ")
}

func (h *house) publish(topic string, payload []byte, retain bool) {
	h.t.Helper()
	if err := h.Publish(context.Background(), broker.Publication{Topic: topic, Payload: payload, QoS: 1, Retain: retain}, nil); err != nil {
		h.t.Fatal(err)
	}
}

// memo is a Keeper in memory.
type memo struct {
	mu    sync.Mutex
	bdSeq uint64
	alive bool
	ok    bool
}

func (m *memo) Load() (uint64, bool, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bdSeq, m.alive, m.ok
}

func (m *memo) Save(b uint64, alive bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bdSeq, m.alive, m.ok = b, alive, true
}

var things = []sensors.Entity{
	{Kind: "sensor", Probe: "room1", Quantity: sensors.QuantityOf("temperature")},
	{Kind: "sensor", Probe: "room1", Quantity: sensors.QuantityOf("humidity")},
	{Kind: "switch", Probe: "lamp", Command: "hall/lamp/set", On: "on", Off: "off"},
}

// run starts a node with the things and gives the way to stop it.
func (h *house) run(o Options) (n *Node, stop func()) {
	h.t.Helper()
	o.Group, o.Node, o.Broker, o.Client, o.Log = "plant", "gw", h, "sparkplug", slog.New(slog.DiscardHandler)
	if o.Entities == nil {
		o.Entities = things
	}
	n, err := New(o)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	return n, func() { cancel(); <-done }
}

func online(name string, on bool) sensors.Event {
	return sensors.Event{Name: name, Online: &on, At: time.Now()}
}
func state(name string, on bool) sensors.Event {
	return sensors.Event{Name: name, State: &on, At: time.Now()}
}

func reading(q string, v float64, at time.Time, quality sensors.Quality, reason string) sensors.Event {
	r := sensors.Of(q, v)
	r.Probe, r.At, r.Quality, r.Reason = "room1", at, quality, reason
	return sensors.Event{Name: "room1", Reading: &r, At: at}
}

func good(q string, v float64) sensors.Event { return reading(q, v, time.Now(), sensors.Good, "") }

func TestBirthsDataAndDeaths(t *testing.T) {
	h := newHouse(t)
	n, stop := h.run(Options{Properties: map[string]string{"Model": "Pi"}})
	first := h.until("NBIRTH")[0]
	if first.seq != 0 || first.qos != 0 || first.retain { // [tck-id-topics-nbirth-mqtt] [tck-id-payloads-nbirth-seq]
		t.Errorf("NBIRTH %+v", first)
	}
	if m, ok := first.metric("bdSeq"); !ok || m.datatype != uint64(Int64) || m.value != uint64(0) { // [tck-id-topics-nbirth-bdseq-included]
		t.Errorf("bdSeq %+v", m)
	}
	if m, ok := first.metric(nameRebirth); !ok || m.datatype != uint64(Boolean) || m.value != false { // [tck-id-operational-behavior-data-commands-rebirth-name]
		t.Errorf("rebirth %+v", m)
	}
	if m, _ := first.metric("Properties/Model"); m.value != "Pi" {
		t.Errorf("model %+v", m)
	}
	at := time.UnixMilli(1700000000123)
	n.Observe(online("room1", true))
	n.Observe(reading("temperature", 21.5, at, sensors.Good, ""))
	n.Observe(reading("humidity", 40, at, sensors.Uncertain, "warming up"))
	birth := h.until("DBIRTH room1")[0]
	if birth.seq != 1 || len(birth.metrics) != 2 { // [tck-id-payloads-dbirth-order]
		t.Errorf("DBIRTH %+v", birth)
	}
	temperature, _ := birth.metric("temperature")
	humidity, _ := birth.metric("humidity")
	if temperature.value != 21.5 || temperature.timestamp != 1700000000123 || temperature.datatype != uint64(Double) || temperature.alias == humidity.alias ||
		temperature.alias < 0 || temperature.properties[keyUnit] != "°C" || temperature.properties[keyQuality] != uint32(192) {
		t.Errorf("temperature %+v", temperature)
	}
	if humidity.value != 40.0 || humidity.properties[keyQuality] != uint32(500) || humidity.properties[keyReason] != "warming up" {
		t.Errorf("humidity %+v", humidity)
	}

	// Data: aliases without names, numbers that go on, a bad value is null.
	n.Observe(good("temperature", 22))
	n.Observe(reading("humidity", 0, time.Now(), sensors.Bad, "checksum"))
	data := h.until("DDATA room1")[0]
	if data.seq != 2 || data.qos != 0 || len(data.metrics) != 2 {
		t.Errorf("DDATA %+v", data)
	}
	for _, m := range data.metrics {
		switch m.alias {
		case temperature.alias:
			if m.value != 22.0 || m.name != "" || m.historical {
				t.Errorf("temperature %+v", m)
			}
		case humidity.alias:
			if !m.null || m.value != nil || m.properties[keyQuality] != uint32(0) {
				t.Errorf("humidity %+v", m)
			}
		default:
			t.Errorf("alias %d was never born", m.alias)
		}
	}

	n.Observe(online("lamp", true))
	n.Observe(state("lamp", false))
	h.until("DBIRTH lamp")
	n.Observe(state("lamp", false)) // the same: nothing is said
	n.Observe(online("room1", false))
	if d := h.until("DDEATH room1")[0]; d.seq != 4 || d.timestamp == 0 { // [tck-id-payloads-ddeath-seq-inc]
		t.Errorf("DDEATH %+v", d)
	}
	// What a device had measured before it went is not born again with it.
	n.Observe(online("room1", true))
	n.Observe(good("humidity", 41))
	again := h.until("DBIRTH room1")[0]
	if m, _ := again.metric("temperature"); !m.null || m.properties[keyQuality] != uint32(0) {
		t.Errorf("temperature %+v", m)
	}
	stop()
	death := h.until("NDEATH")[0]
	if death.seq != -1 || death.qos != 1 || death.retain || len(death.metrics) != 1 { // [tck-id-payloads-ndeath-seq] [tck-id-topics-ndeath-payload]
		t.Errorf("NDEATH %+v", death)
	}
	if m, _ := death.metric("bdSeq"); m.value != uint64(0) { // [tck-id-payloads-ndeath-bdseq]
		t.Errorf("bdSeq %+v", m)
	}
}

func TestSequenceGoesRoundAt255(t *testing.T) {
	h := newHouse(t)
	n, stop := h.run(Options{})
	defer stop()
	n.Observe(online("room1", true))
	n.Observe(good("temperature", 0))
	h.until("NBIRTH, DBIRTH room1")
	for i := range 600 {
		n.Observe(good("temperature", float64(i+1)))
	}
	all := h.wait("600 values", func(all []said) bool { return len(all) == 600 })
	for i, s := range all { // [tck-id-topics-ddata-seq-num]
		if s.seq != (i+2)%256 {
			t.Fatalf("message %d has number %d, want %d", i, s.seq, (i+2)%256)
		}
	}
}

func TestRebirth(t *testing.T) {
	h := newHouse(t)
	n, stop := h.run(Options{})
	defer stop()
	n.Observe(online("room1", true))
	n.Observe(good("temperature", 20))
	n.Observe(good("temperature", 21))
	h.until("NBIRTH, DBIRTH room1, DDATA room1")
	ask := func(m Metric, retain bool) {
		m.Type = Boolean
		h.publish("spBv1.0/plant/NCMD/gw", Payload{Timestamp: 1, Metrics: []Metric{m}}.Append(nil), retain)
	}
	for _, m := range []Metric{{Name: nameRebirth, Value: true}, {Alias: aliasRebirth, HasAlias: true, Value: true}} {
		ask(m, false)
		all := h.until("NBIRTH, DBIRTH room1")
		if all[0].seq != 0 || all[1].seq != 1 { // [tck-id-operational-behavior-data-commands-rebirth-action-2]
			t.Errorf("numbers %d, %d", all[0].seq, all[1].seq)
		}
		if m, _ := all[0].metric("bdSeq"); m.value != uint64(0) { // [tck-id-operational-behavior-data-commands-rebirth-action-3]
			t.Errorf("bdSeq %v, want the will's", m.value)
		}
		if m, _ := all[1].metric("temperature"); m.value != 21.0 {
			t.Errorf("temperature %+v, want the latest", m)
		}
	}
	ask(Metric{Name: nameRebirth, Value: false}, false)
	h.publish("spBv1.0/plant/NCMD/gw", []byte("\xffrubbish"), false)
	n.Observe(good("temperature", 22))
	h.until("DDATA room1")
}

func TestCommandsReachOutputs(t *testing.T) {
	h := newHouse(t)
	heard := make(chan string, 10)
	link, err := h.Link(broker.LinkOptions{ClientID: "lamp", CleanStart: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := link.Subscribe(0, mqtt.Request{Filter: "hall/lamp/set"}); err != nil {
		t.Fatal(err)
	}
	link.Resume(10)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for {
			d, err := link.Next(ctx)
			if err != nil {
				return
			}
			heard <- string(d.Message.Payload)
		}
	}()
	n, stop := h.run(Options{})
	defer stop()
	n.Observe(online("lamp", true))
	n.Observe(state("lamp", false))
	birth := h.until("NBIRTH, DBIRTH lamp")[1]
	m, _ := birth.metric(nameState)
	ask := func(device string, c Metric) {
		h.publish("spBv1.0/plant/DCMD/gw/"+device, Payload{Timestamp: 1, Metrics: []Metric{c}}.Append(nil), false)
	}
	for _, c := range []struct {
		m    Metric
		want string
	}{
		{Metric{Alias: uint64(m.alias), HasAlias: true, Type: Boolean, Value: true}, "on"},
		{Metric{Name: nameState, Type: Boolean, Value: false}, "off"},
	} {
		ask("lamp", c.m)
		if got := <-heard; got != c.want {
			t.Errorf("lamp was told %q, want %q", got, c.want)
		}
	}
	ask("room1", Metric{Name: "temperature", Type: Double, Value: 3.0})
	ask("lamp", Metric{Name: nameState, Type: String, Value: "x"})
	ask("nobody", Metric{Name: nameState, Type: Boolean, Value: true})
	ask("lamp", Metric{Name: nameState, Type: Boolean, Value: true})
	if got := <-heard; got != "on" {
		t.Errorf("lamp was told %q after commands that it cannot obey", got)
	}
}

func TestWaitsForThePrimaryHost(t *testing.T) {
	h := newHouse(t)
	keep := &memo{}
	n, stop := h.run(Options{PrimaryHost: "scada", Keeper: keep, Buffer: 3})
	defer stop()
	host := func(online bool, at int) {
		h.publish("spBv1.0/STATE/scada", fmt.Appendf(nil, `{"online":%v,"timestamp":%d}`, online, at), true)
	}
	n.Observe(online("room1", true))
	n.Observe(online("lamp", true))
	for i := range 5 {
		n.Observe(reading("temperature", float64(i), time.UnixMilli(int64(1000+i)), sensors.Good, ""))
	}
	host(false, 10)
	host(true, 20)
	// [tck-id-message-flow-edge-node-birth-publish-phid-wait]: nothing before the host is online; then births, then what waited.
	all := h.until("NBIRTH, DBIRTH room1, DBIRTH lamp, DDATA room1")
	if m, _ := all[0].metric(nameLost); m.value != uint64(2) {
		t.Errorf("lost %v, want the two that the buffer had no room for", m.value)
	}
	for i, m := range all[3].metrics {
		if !m.historical || m.value != float64(i+2) || m.timestamp != uint64(1002+i) {
			t.Errorf("value %d: %+v", i, m)
		}
	}
	if all[3].seq != 3 {
		t.Errorf("historical data has number %d", all[3].seq)
	}
	n.Observe(good("temperature", 6))
	if d := h.until("DDATA room1")[0]; d.metrics[0].historical {
		t.Error("live data is marked as historical")
	}

	host(false, 19) // an old will, overtaken
	n.Observe(good("temperature", 7))
	h.until("DDATA room1")
	host(false, 20) // [tck-id-message-flow-edge-node-birth-publish-phid-offline]
	death := h.until("NDEATH")[0]
	if m, _ := death.metric("bdSeq"); m.value != uint64(0) {
		t.Errorf("NDEATH of life %v", m.value)
	}
	n.Observe(good("temperature", 8))
	n.Observe(online("room1", false)) // gone before the host is back: its value is not lost
	time.Sleep(3 * gather)
	host(true, 30)
	all = h.until("NBIRTH, DBIRTH lamp, DBIRTH room1, DDATA room1, DDEATH room1")
	if m, _ := all[0].metric("bdSeq"); m.value != uint64(1) { // [tck-id-payloads-nbirth-bdseq-repeat]
		t.Errorf("born as %v, want 1", m.value)
	}
	if m := all[3].metrics[0]; !m.historical || m.value != 8.0 {
		t.Errorf("value %+v", m)
	}
}

// Hosts behind a bridge: the node lives while the bridge is connected, and the
// connection's will carries the number of the birth that follows.
func TestLivesWithTheBridge(t *testing.T) {
	h := newHouse(t)
	const upstream = "$SYS/broker/connection/gw-centre/state"
	n, stop := h.run(Options{Upstream: upstream, Keeper: &memo{bdSeq: 254, ok: true}})
	defer stop()
	n.Observe(online("room1", true))
	n.Observe(good("temperature", 1))
	for want := range 3 {
		will := n.Will()
		if will.Topic != "spBv1.0/plant/NDEATH/gw" || will.QoS != 1 || will.Retain { // [tck-id-topics-ndeath-mqtt]
			t.Fatalf("will %+v", will)
		}
		life, _ := see(t, will.Payload).metric("bdSeq")
		h.publish(upstream, []byte("1"), true)
		all := h.wait("birth", func(all []said) bool {
			return strings.HasSuffix(describe(all), "NBIRTH, DBIRTH room1, DDATA room1")
		})
		if m, _ := all[len(all)-3].metric("bdSeq"); m.value != life.value || m.value != uint64((255+want)%256) {
			t.Errorf("born as %v, the will says %v, want %d", m.value, life.value, (255+want)%256)
		}
		h.publish(upstream, []byte("0"), true)
		h.until("NDEATH")
		n.Observe(good("temperature", 2))
	}
}

// A node that was killed is said dead before it is born with the next number.
func TestANodeThatWasKilled(t *testing.T) {
	h := newHouse(t)
	_, stop := h.run(Options{Keeper: &memo{bdSeq: 255, alive: true, ok: true}})
	defer stop()
	all := h.until("NDEATH, NBIRTH")
	old, _ := all[0].metric("bdSeq")
	now, _ := all[1].metric("bdSeq")
	if old.value != uint64(255) || now.value != uint64(0) {
		t.Errorf("dead %v, born %v", old.value, now.value)
	}
}

func TestNamesAreTopicLevels(t *testing.T) {
	for _, o := range []Options{{Group: "a/b", Node: "n"}, {Group: "g", Node: ""}, {Group: "g", Node: "n", PrimaryHost: "x#"}, {Group: "+", Node: "n"}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

func TestAliasesAreUnique(t *testing.T) {
	n, err := New(Options{Group: "g", Node: "n", Entities: things})
	if err != nil {
		t.Fatal(err)
	}
	names := map[uint64]string{aliasRebirth: nameRebirth, aliasLost: nameLost}
	for m := range maps.Values(n.byAlias) {
		if other, ok := names[m.alias]; ok {
			t.Errorf("%s and %s have one alias", m.name, other)
		}
		names[m.alias] = m.name
	}
	if len(names) != 5 {
		t.Errorf("%d aliases for 5 metrics", len(names))
	}
}

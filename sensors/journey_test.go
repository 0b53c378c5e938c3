package sensors_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatewayd/board/sim"
	"gatewayd/sensors"
)

// sink is a broker that remembers.
type sink struct {
	mu       sync.Mutex
	messages []sensors.Message
	at       []time.Time
	handlers map[string]func(sensors.Incoming)
	retained map[string]string
	block    chan struct{}
}

func (s *sink) Publish(ctx context.Context, m sensors.Message) error {
	if s.block != nil {
		select {
		case <-s.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, m)
	s.at = append(s.at, time.Now())
	return nil
}

func (s *sink) Subscribe(topic string, _ byte, h func(sensors.Incoming)) (func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handlers == nil {
		s.handlers = map[string]func(sensors.Incoming){}
	}
	s.handlers[topic] = h
	if v, ok := s.retained[topic]; ok {
		go h(sensors.Incoming{Payload: []byte(v), Retained: true})
	}
	return func() {}, nil
}

func (s *sink) send(topic, payload string) {
	s.mu.Lock()
	h := s.handlers[topic]
	s.mu.Unlock()
	h(sensors.Incoming{Payload: []byte(payload)})
}

// on lists the payloads of one topic.
func (s *sink) on(topic string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, m := range s.messages {
		if m.Topic == topic {
			out = append(out, string(m.Payload))
		}
	}
	return out
}

func (s *sink) times(topic string) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []time.Time
	for i, m := range s.messages {
		if m.Topic == topic {
			out = append(out, s.at[i])
		}
	}
	return out
}

func (s *sink) last(topic string) string {
	all := s.on(topic)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// bare hides what a board can do beyond Buses, such as freeing a bus.
type bare struct{ sensors.Buses }

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// house runs a scheduler on a simulated board inside a synctest bubble.
type house struct {
	t     *testing.T
	board *sim.Board
	sink  *sink
	sched *sensors.Scheduler
	stop  func()
}

func newHouse(t *testing.T, so sim.Options, o sensors.Options) *house {
	t.Helper()
	b, err := sim.New(so)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, board: b, sink: &sink{}}
	if _, ok := o.Buses.(bare); ok {
		o.Buses = bare{b}
	} else {
		o.Buses = b
	}
	o.Gateway = "gw"
	if o.Sink == nil {
		o.Sink = h.sink
	}
	if o.Log == nil {
		o.Log = quiet()
	}
	if h.sched, err = sensors.New(o); err != nil {
		t.Fatal(err)
	}
	h.stop = run(t, b, h.sched)
	return h
}

// run starts a scheduler and gives what stops it and its board.
func run(tb testing.TB, b *sim.Board, s *sensors.Scheduler) (stop func()) {
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	return func() { cancel(); <-done; b.Close() }
}

func room1(every time.Duration) sensors.ProbeConfig {
	return sensors.ProbeConfig{Name: "room1", Driver: "bme280", Bus: "i2c-1", Every: every, Topic: "sensor/room1/{quantity}", QoS: 1, Retain: true}
}

func TestBME280Journey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, sim.Options{}, sensors.Options{Probes: []sensors.ProbeConfig{room1(10 * time.Second)}})
		defer h.stop()
		for q, v := range map[string]float64{"temperature": 26.3, "humidity": 51.2, "pressure": 998.7} {
			if err := h.board.Set("bme280", q, v); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second) // the first reading comes within a second
		for topic, want := range map[string]string{
			"sensor/room1/temperature": "26.3", "sensor/room1/humidity": "51.2", "sensor/room1/pressure": "998.7",
			"gateway/gw/room1/availability": "online",
		} {
			if got := h.sink.last(topic); got != want {
				t.Errorf("%s is %q after one second, want %q", topic, got, want)
			}
		}
		<-h.sched.Ready()
		time.Sleep(30 * time.Second)
		if n := len(h.sink.on("sensor/room1/temperature")); n != 4 {
			t.Errorf("%d temperatures in 31 s at 10 s, want 4", n)
		}
		at := h.sink.times("sensor/room1/temperature")
		for i := 1; i < len(at); i++ {
			if d := at[i].Sub(at[i-1]); d < 9950*time.Millisecond || d > 10050*time.Millisecond {
				t.Errorf("reading %d came after %v, want 10 s", i, d)
			}
		}
	})
}

func TestDS18B20Journey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parts := []sim.Part{}
		probes := []sensors.ProbeConfig{}
		for i := range 3 {
			addr := fmt.Sprintf("28-00000000%04x", i+1)
			parts = append(parts, sim.Part{Kind: "ds18b20", Name: addr, Address: addr, Signals: map[string]sim.Signal{"temperature": {Base: float64(-10 * i)}}})
			probes = append(probes, sensors.ProbeConfig{Name: fmt.Sprint("t", i), Driver: "ds18b20", Bus: "w1-1", Address: addr, Every: 2 * time.Second})
		}
		h := newHouse(t, sim.Options{Parts: parts}, sensors.Options{Probes: probes})
		defer h.stop()
		time.Sleep(time.Second) // three conversions of 752 ms run side by side
		for i, want := range []string{"0", "-10", "-20"} {
			if got := h.sink.last(fmt.Sprintf("t%d/temperature", i)); got != want {
				t.Errorf("t%d is %q, want %q", i, got, want)
			}
		}
		time.Sleep(10 * time.Second)
		if n := len(h.sink.on("t2/temperature")); n != 6 {
			t.Errorf("%d readings in 11 s at 2 s, want 6", n)
		}
	})
}

func TestSoCTemperature(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, sim.Options{}, sensors.Options{Probes: []sensors.ProbeConfig{{Name: "soc", Driver: "soc", Every: time.Second}}})
		defer h.stop()
		if err := h.board.Set("soc", "temperature", 51.5); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1100 * time.Millisecond)
		if got := h.sink.last("soc/temperature"); got != "51.5" {
			t.Errorf("soc is %q", got)
		}
	})
}

func TestUnplugAndReplug(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, sim.Options{}, sensors.Options{Probes: []sensors.ProbeConfig{room1(time.Second)}})
		defer h.stop()
		time.Sleep(5 * time.Second)
		if err := h.board.Plug("bme280", false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if got := h.sink.last("gateway/gw/room1/availability"); got != "offline" {
			t.Errorf("availability is %q after unplugging, want offline", got)
		}
		before := len(h.sink.on("sensor/room1/temperature"))
		time.Sleep(time.Minute)
		if n := len(h.sink.on("sensor/room1/temperature")); n != before {
			t.Errorf("%d readings of a part that is not there", n-before)
		}
		if err := h.board.Plug("bme280", true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * time.Second)
		if got := h.sink.last("gateway/gw/room1/availability"); got != "online" {
			t.Errorf("availability is %q after plugging in again, want online", got)
		}
		if n := len(h.sink.on("sensor/room1/temperature")); n == before {
			t.Error("no reading after plugging in again")
		}
	})
}

func TestAHungBusDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parts := []sim.Part{
			{Kind: "bme280", Name: "a", Bus: "i2c-0", Faults: []sim.Fault{{Kind: sim.FaultHang, After: 10 * time.Second, For: 20 * time.Second}}},
			{Kind: "bme280", Name: "b", Bus: "i2c-1"},
		}
		a, b := room1(time.Second), room1(time.Second)
		a.Name, a.Bus, a.Topic = "a", "i2c-0", ""
		b.Name, b.Topic = "b", ""
		h := newHouse(t, sim.Options{Parts: parts}, sensors.Options{Buses: bare{}, Probes: []sensors.ProbeConfig{a, b}})
		defer h.stop()
		time.Sleep(25 * time.Second)
		if got := h.sink.last("gateway/gw/a/availability"); got != "offline" {
			t.Errorf("a is %q while its bus hangs", got)
		}
		if n := len(h.sink.on("b/temperature")); n != 25 {
			t.Errorf("%d readings of b in 25 s, want 25", n)
		}
		time.Sleep(40 * time.Second)
		if got := h.sink.last("gateway/gw/a/availability"); got != "online" {
			t.Errorf("a is %q after its bus came back", got)
		}
	})
}

func TestNACKsAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parts := []sim.Part{{Kind: "bme280", Faults: []sim.Fault{{Kind: sim.FaultNACK, Chance: 0.05, After: time.Second}}}}
		h := newHouse(t, sim.Options{Parts: parts}, sensors.Options{Probes: []sensors.ProbeConfig{room1(time.Second)}})
		defer h.stop()
		time.Sleep(100 * time.Second)
		st := h.sched.Snapshot()[0]
		if len(h.sink.on("sensor/room1/temperature")) < 95 {
			t.Errorf("%d readings of 100 with 5 %% of NACKs (%d turns failed)", len(h.sink.on("sensor/room1/temperature")), st.Errors)
		}
	})
}

func TestInputLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, sim.Options{}, sensors.Options{Lines: []sensors.LineConfig{
			{Name: "door", Line: "GPIO17", Direction: "in", Pull: "up", Active: "low", Debounce: 20 * time.Millisecond, Topic: "hall/door"}}})
		defer h.stop()
		time.Sleep(10 * time.Millisecond)
		if got := h.sink.on("hall/door"); fmt.Sprint(got) != "[off]" {
			t.Fatalf("at start: %v", got)
		}
		for range 5 { // bouncing
			_ = h.board.SetLine("GPIO17", false)
			time.Sleep(2 * time.Millisecond)
			_ = h.board.SetLine("GPIO17", true)
			time.Sleep(2 * time.Millisecond)
		}
		_ = h.board.SetLine("GPIO17", false)
		time.Sleep(50 * time.Millisecond)
		_ = h.board.SetLine("GPIO17", true)
		time.Sleep(50 * time.Millisecond)
		if got := h.sink.on("hall/door"); fmt.Sprint(got) != "[off on off]" {
			t.Errorf("after one press: %v", got)
		}
		for _, m := range h.sink.messages {
			if m.Topic == "hall/door" && !m.Retain {
				t.Error("a state that is not retained")
			}
		}
	})
}

func TestNoEdgeIsLostWhileTheBrokerIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{block: make(chan struct{})}
		h := newHouse(t, sim.Options{}, sensors.Options{Sink: s, Lines: []sensors.LineConfig{{Name: "in", Line: "5", Topic: "in"}}})
		defer h.stop()
		time.Sleep(time.Millisecond)
		for i := range 1000 {
			_ = h.board.SetLine("GPIO5", i%2 == 0)
			time.Sleep(time.Millisecond)
		}
		close(s.block)
		time.Sleep(time.Second)
		if n := len(s.on("in")); n != 1001 {
			t.Errorf("%d states for 1000 edges and a start", n)
		}
	})
}

func TestPulseCounter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, sim.Options{}, sensors.Options{Lines: []sensors.LineConfig{
			{Name: "water", Line: "GPIO6", Topic: "water/{quantity}", Count: "rising", PerUnit: 10, Unit: "L", Every: 10 * time.Second}}})
		defer h.stop()
		time.Sleep(11 * time.Second)
		for range 50 {
			_ = h.board.SetLine("GPIO6", true)
			time.Sleep(time.Millisecond)
			_ = h.board.SetLine("GPIO6", false)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		if got := h.sink.last("water/count"); got != "5" {
			t.Errorf("50 pulses at 10 a litre are %q, want 5", got)
		}
		if got := h.sink.last("water/rate"); got != "30" {
			t.Errorf("5 L in 10 s are %q L/min, want 30", got)
		}
	})
}

func TestOutputLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, sim.Options{}, sensors.Options{Lines: []sensors.LineConfig{
			{Name: "lamp", Line: "GPIO27", Direction: "out", Topic: "hall/lamp", CommandTopic: "hall/lamp/set", Active: "low", FailSafe: "off"}}})
		level := func() bool { high, _, _ := h.board.Line("GPIO27"); return high }
		time.Sleep(10 * time.Millisecond)
		if !level() {
			t.Error("an active-low output that is off must be high")
		}
		for _, step := range []struct {
			send string
			high bool
			want string
		}{{"on", false, "on"}, {"OFF", true, "off"}, {"toggle", false, "on"}, {"nonsense", false, "on"}, {"0", true, "off"}, {"true", false, "on"}} {
			h.sink.send("hall/lamp/set", step.send)
			time.Sleep(10 * time.Millisecond)
			if level() != step.high || h.sink.last("hall/lamp") != step.want {
				t.Errorf("after %q: level high %v, state %q", step.send, level(), h.sink.last("hall/lamp"))
			}
		}
		h.sink.send("hall/lamp/set", "on 2s")
		time.Sleep(1900 * time.Millisecond)
		if level() {
			t.Error("on 2s went off early")
		}
		time.Sleep(200 * time.Millisecond)
		if !level() || h.sink.last("hall/lamp") != "off" {
			t.Error("on 2s did not go off")
		}
		h.sink.send("hall/lamp/set", "on")
		time.Sleep(10 * time.Millisecond)
		h.stop()
		if !level() || h.sink.last("hall/lamp") != "off" {
			t.Error("the fail-safe value was not taken at the end")
		}
	})
}

func TestInterlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, sim.Options{}, sensors.Options{Lines: []sensors.LineConfig{
			{Name: "up", Line: "GPIO20", Direction: "out", Topic: "up", CommandTopic: "up/set", Interlock: "blind", Settle: 500 * time.Millisecond},
			{Name: "down", Line: "GPIO21", Direction: "out", Topic: "down", CommandTopic: "down/set", Interlock: "blind", Settle: 500 * time.Millisecond}}})
		defer h.stop()
		time.Sleep(10 * time.Millisecond)
		h.sink.send("up/set", "on")
		time.Sleep(10 * time.Millisecond)
		h.sink.send("down/set", "on")
		time.Sleep(100 * time.Millisecond)
		up, _, _ := h.board.Line("GPIO20")
		down, _, _ := h.board.Line("GPIO21")
		if up || down {
			t.Errorf("while settling: up %v, down %v", up, down)
		}
		time.Sleep(time.Second)
		up, _, _ = h.board.Line("GPIO20")
		down, _, _ = h.board.Line("GPIO21")
		if up || !down {
			t.Errorf("afterwards: up %v, down %v", up, down)
		}
	})
}

func TestConfigErrors(t *testing.T) {
	b, err := sim.New(sim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	good := room1(time.Second)
	for want, change := range map[string]func(*sensors.Options){
		`unknown driver "bme281", did you mean "bme280"?`: func(o *sensors.Options) { o.Probes[0].Driver = "bme281" },
		`no I2C bus "i2c-7"`:                              func(o *sensors.Options) { o.Probes[0].Bus = "i2c-7" },
		`cannot be at 0x20`:                               func(o *sensors.Options) { o.Probes[0].Address = "0x20" },
		`unknown filter "mediann", did you mean "median"?`: func(o *sensors.Options) {
			o.Probes[0].Filters = map[string][]sensors.FilterSpec{"temperature": {{Name: "mediann", Arg: 5}}}
		},
		`no quantity "temprature"`: func(o *sensors.Options) {
			o.Probes[0].Filters = map[string][]sensors.FilterSpec{"temprature": {{Name: "median", Arg: 5}}}
		},
		`needs {quantity}`:        func(o *sensors.Options) { o.Probes[0].Topic = "room1" },
		`name is taken`:           func(o *sensors.Options) { o.Probes = append(o.Probes, good) },
		`has no key "resolution"`: func(o *sensors.Options) { o.Probes[0].Options = map[string]any{"resolution": 9} },
		`neither in nor out`: func(o *sensors.Options) {
			o.Lines = []sensors.LineConfig{{Name: "x", Line: "1", Topic: "x", Direction: "sideways"}}
		},
	} {
		o := sensors.Options{Buses: b, Sink: &sink{}, Probes: []sensors.ProbeConfig{good}}
		change(&o)
		_, err := sensors.New(o)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %s", err, want)
		}
	}
}

func TestStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{block: make(chan struct{})}
		parts := []sim.Part{{Kind: "bme280", Faults: []sim.Fault{{Kind: sim.FaultSlow, Amount: 30000, After: 5 * time.Second, For: time.Second}}}}
		h := newHouse(t, sim.Options{Parts: parts}, sensors.Options{Sink: s, Buses: bare{}, Probes: []sensors.ProbeConfig{room1(time.Second)}})
		defer h.stop()
		time.Sleep(4 * time.Second)
		if got := fmt.Sprint(h.sched.Stuck(3 * time.Second)); got != "[publisher]" {
			t.Errorf("with a broker that takes nothing: %s", got)
		}
		close(s.block)
		time.Sleep(20 * time.Second)
		if got := fmt.Sprint(h.sched.Stuck(10 * time.Second)); got != "[i2c:i2c-1]" {
			t.Errorf("with a part that stretches the clock: %s", got)
		}
		if got := s.last("gateway/gw/room1/availability"); got != "offline" {
			t.Errorf("its sensor is %q meanwhile", got)
		}
		time.Sleep(2 * time.Minute)
		if got := h.sched.Stuck(10 * time.Second); len(got) != 0 {
			t.Errorf("afterwards: %v", got)
		}
	})
}

// An output that keeps its state is on again after a restart; one that does
// not ignores what is retained. Both end at their longest time.
func TestKeptOutputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{retained: map[string]string{"pump": `{"state":"on"}`, "lamp": "on", "lamp/set": "on"}}
		h := newHouse(t, sim.Options{}, sensors.Options{Sink: s, Lines: []sensors.LineConfig{
			{Name: "pump", Line: "GPIO20", Direction: "out", Topic: "pump", CommandTopic: "pump/set", Initial: "keep", MaxOn: time.Minute, Format: sensors.FormatJSON},
			{Name: "lamp", Line: "GPIO21", Direction: "out", Topic: "lamp", CommandTopic: "lamp/set"},
			{Name: "fan", Line: "GPIO22", Direction: "out", Topic: "fan", Initial: "on", MaxOn: 10 * time.Second}}})
		defer h.stop()
		time.Sleep(time.Second)
		level := func(line string) bool { high, _, _ := h.board.Line(line); return high }
		if !level("GPIO20") || level("GPIO21") || !level("GPIO22") {
			t.Errorf("pump %v, lamp %v, fan %v; want on, off, on", level("GPIO20"), level("GPIO21"), level("GPIO22"))
		}
		time.Sleep(30 * time.Second)
		if !level("GPIO20") || level("GPIO22") {
			t.Errorf("after 31 s: pump %v, fan %v; want on, off", level("GPIO20"), level("GPIO22"))
		}
		time.Sleep(30 * time.Second)
		if level("GPIO20") {
			t.Error("the pump is on for more than a minute")
		}
	})
}

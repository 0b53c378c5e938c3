package sim

import (
	"errors"
	"math"
	"sync"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/physic"
)

// LinePart is a part that hangs on the board's lines: it sees what outputs do
// and puts levels on inputs.
type LinePart interface {
	Lines() []string                       // outputs it listens to
	Wire(set func(line string, high bool)) // called once, before anything else
	Output(line string, high bool)         // an output it listens to has changed
}

// HC-SR04: after a pulse on trigger, a pulse on echo as long as the sound
// needs to the obstacle and back.
var kindHCSR04 = Kind{Name: "hcsr04", DefaultBus: "pins", Signals: map[string]Signal{"distance": {Base: 1.2, Swing: 0.5, Noise: 0.003}},
	New: func(w *World, p Part) (any, error) {
		trigger, _ := p.Options["trigger"].(string)
		echo, _ := p.Options["echo"].(string)
		if trigger == "" || echo == "" {
			return nil, errors.New("needs the lines trigger and echo")
		}
		return &hcsr04{w: w, trigger: trigger, echo: echo, speed: 331.3 + 0.606*optNumber(p, "temperature", 20)}, nil
	}}

type hcsr04 struct {
	w             *World
	trigger, echo string
	speed         float64
	set           func(line string, high bool)
	high          bool
}

func (d *hcsr04) Lines() []string                       { return []string{d.trigger} }
func (d *hcsr04) Wire(set func(line string, high bool)) { d.set = set }

func (d *hcsr04) Output(_ string, high bool) {
	was := d.high
	d.high = high
	if !was || high || d.w.disturb().absent {
		return
	}
	d.w.Sample()
	width := time.Duration(2 * d.w.Value("distance") / d.speed * float64(time.Second))
	time.AfterFunc(450*time.Microsecond, func() { d.set(d.echo, true) })
	time.AfterFunc(450*time.Microsecond+width, func() { d.set(d.echo, false) })
}

// Avia HX711: ten conversions a second; data falls when one is ready, and each
// clock shifts one bit out.
var kindHX711 = Kind{Name: "hx711", DefaultBus: "pins", Signals: map[string]Signal{"raw": {Base: 84000, Swing: 2000, Noise: 20}},
	New: func(w *World, p Part) (any, error) {
		clock, _ := p.Options["clock"].(string)
		data, _ := p.Options["data"].(string)
		if clock == "" || data == "" {
			return nil, errors.New("needs the lines clock and data")
		}
		d := &hx711{w: w, clock: clock, data: data}
		return d, nil
	}}

type hx711 struct {
	w           *World
	clock, data string

	mu    sync.Mutex // guards the fields below
	high  bool
	ready time.Time
	bits  int
	value uint32
}

func (d *hx711) Pins() map[string]gpio.PinIO {
	return map[string]gpio.PinIO{d.clock: &simPin{name: d.clock, out: d.tick}, d.data: &simPin{name: d.data, in: d.level, wait: d.waitReady}}
}

// tick is the clock: each rise shifts.
func (d *hx711) tick(high bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rise := high && !d.high
	d.high = high
	if !rise || time.Now().Before(d.ready) {
		return
	}
	if d.bits == 0 {
		d.w.Sample()
		d.value = uint32(int32(min(max(math.Round(d.w.Value("raw")), -(1<<23)), 1<<23-1))) & 0xFFFFFF
	}
	if d.bits++; d.bits == 25 {
		d.bits, d.ready = 0, time.Now().Add(100*time.Millisecond)
	}
}

// level of the data line; one that is not connected is pulled up.
func (d *hx711) level() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.w.unplugged() || time.Now().Before(d.ready) {
		return true
	}
	return d.bits > 0 && d.value>>(24-min(d.bits, 24))&1 == 1
}

func (d *hx711) waitReady(timeout time.Duration) bool {
	for end := time.Now().Add(timeout); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if !d.level() {
			return true
		}
	}
	return false
}

// simPin is a line for bit-banging.
type simPin struct {
	name string
	out  func(high bool)
	in   func() bool
	wait func(time.Duration) bool
}

func (p *simPin) String() string         { return p.name }
func (p *simPin) Halt() error            { return nil }
func (p *simPin) Name() string           { return p.name }
func (p *simPin) Number() int            { return -1 }
func (p *simPin) Function() string       { return "" }
func (p *simPin) Pull() gpio.Pull        { return gpio.PullNoChange }
func (p *simPin) DefaultPull() gpio.Pull { return gpio.PullNoChange }

func (p *simPin) In(gpio.Pull, gpio.Edge) error         { return nil }
func (p *simPin) PWM(gpio.Duty, physic.Frequency) error { return errors.New("no PWM") }

func (p *simPin) Read() gpio.Level {
	return p.in != nil && gpio.Level(p.in())
}

func (p *simPin) WaitForEdge(timeout time.Duration) bool {
	return p.wait != nil && p.wait(timeout)
}

func (p *simPin) Out(l gpio.Level) error {
	if p.out != nil {
		p.out(bool(l))
	}
	return nil
}

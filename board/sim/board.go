package sim

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/onewire"
	"periph.io/x/conn/v3/spi"
)

// Options says what is on the simulated board.
type Options struct {
	Seed   uint64
	Parts  []Part   // nil: DefaultParts
	Lines  int      // GPIO0 and up; zero: 28, as on a Raspberry Pi header
	Script []Action // what happens to lines and parts over time
}

// Part is one simulated part.
type Part struct {
	Kind    string // as the driver is called: "bme280"
	Name    string // for Set and scripts; empty: Kind
	Bus     string // "i2c-1", "w1-1", "spi0.0", "ttyAMA0"
	Address string // "0x76", a 1-wire serial; empty: the part's usual one
	Signals map[string]Signal
	Faults  []Fault
	Options map[string]any
}

// DefaultParts is what hangs on a simulated board when nothing is said: what
// the built-in configuration reads.
func DefaultParts() []Part {
	return []Part{
		{Kind: "bme280", Bus: "i2c-1", Address: "0x76"},
		{Kind: "ds18b20", Bus: "w1-1"},
	}
}

// Ports that a board has whether or not something hangs on them.
var (
	standardSPI    = []string{"spi0.0", "spi0.1"}
	standardSerial = []string{"ttyAMA0", "serial0", "ttyUSB0"}
)

// noPart is an open end: nothing comes from it.
type noPart struct{}

func (noPart) Transfer(_, r []byte) error {
	for i := range r {
		r[i] = 0xFF
	}
	return nil
}

func (noPart) Baud() int                     { return 0 }
func (noPart) Receive([]byte) []byte         { return nil }
func (noPart) Send() ([]byte, time.Duration) { return nil, 0 }

// Board is a simulated board. All methods are safe for concurrent use.
type Board struct {
	start   time.Time
	i2c     map[string]*i2cBus
	onewire map[string]*oneWireBus
	spi     map[string]*spiPort
	serial  map[string]*serialPort
	pins    map[string]gpio.PinIO
	worlds  map[string]*World
	lines   *lines
	sys     *memFS
	muxes   map[string]*pca9548
	ports   map[string]expanderSlot

	stop     chan struct{}
	stopOnce sync.Once
	scripts  sync.WaitGroup
}

// New builds a board. Standard buses exist even where no part hangs on them.
func New(o Options) (*Board, error) {
	if o.Parts == nil {
		o.Parts = DefaultParts()
	}
	if o.Lines == 0 {
		o.Lines = 28
	}
	b := &Board{
		start: time.Now(), i2c: map[string]*i2cBus{}, onewire: map[string]*oneWireBus{}, spi: map[string]*spiPort{},
		serial: map[string]*serialPort{}, pins: map[string]gpio.PinIO{}, worlds: map[string]*World{},
		lines: newLines(o.Lines), sys: newMemFS(), muxes: map[string]*pca9548{}, ports: map[string]expanderSlot{}, stop: make(chan struct{}),
	}
	b.i2cBus("i2c-0")
	b.i2cBus("i2c-1")
	b.oneWireBus("w1-1")
	nobody := newWorld("", 0, nil, nil, b.start)
	for _, n := range standardSPI {
		b.spi[n] = &spiPort{name: n, part: noPart{}, world: nobody}
	}
	for _, n := range standardSerial {
		b.serial[n] = newSerialPort(noPart{}, nobody)
	}
	for i, p := range o.Parts {
		if err := b.add(p, o.Seed+uint64(i)*0x9E3779B97F4A7C15); err != nil {
			return nil, fmt.Errorf("simulated part %d (%s): %w", i+1, p.Kind, err)
		}
	}
	soc := newWorld("soc", o.Seed^0x50C, map[string]Signal{"temperature": {Base: 48, Swing: 4, Period: 200, Noise: 0.3}}, nil, b.start)
	b.worlds["soc"] = soc
	b.sys.add("class/thermal/thermal_zone0/type", func() []byte { return []byte("cpu-thermal\n") })
	b.sys.add("class/thermal/thermal_zone0/temp", func() []byte {
		soc.Sample()
		return fmt.Appendf(nil, "%d\n", int(soc.Value("temperature")*1000))
	})
	for _, a := range o.Script {
		if err := b.checkAction(a); err != nil {
			return nil, err
		}
	}
	if len(o.Script) > 0 {
		b.scripts.Go(func() { b.play(o.Script) })
	}
	return b, nil
}

// add puts one part on its bus.
func (b *Board) add(p Part, seed uint64) error {
	k, ok := findKind(p.Kind)
	if !ok {
		return fmt.Errorf("nobody simulates that part; known: %s", strings.Join(KindNames(), ", "))
	}
	if p.Name == "" {
		p.Name = p.Kind
		for n := 2; b.worlds[p.Name] != nil; n++ {
			p.Name = fmt.Sprintf("%s-%d", p.Kind, n)
		}
	}
	if b.worlds[p.Name] != nil {
		return fmt.Errorf("a part named %q is there already", p.Name)
	}
	signals := map[string]Signal{}
	for q, s := range k.Signals {
		signals[q] = s
	}
	for q, s := range p.Signals {
		signals[q] = s
	}
	for _, f := range p.Faults {
		if err := f.check(); err != nil {
			return err
		}
	}
	if p.Bus == "" {
		p.Bus = k.DefaultBus
	}
	w := newWorld(p.Name, seed, signals, p.Faults, b.start)
	dev, err := k.New(w, p)
	if err != nil {
		return err
	}
	b.worlds[p.Name] = w
	switch d := dev.(type) {
	case I2CPart:
		addr := k.Address
		if p.Address != "" {
			if addr, err = parseAddress(p.Address); err != nil {
				return err
			}
		}
		if strings.Contains(p.Bus, "/") {
			return b.attachBehind(p.Bus, addr, d, w)
		}
		if m, ok := d.(*pca9548); ok {
			b.muxes[p.Name] = m
		}
		if e, ok := d.(ExpanderPart); ok {
			b.ports[p.Name] = expanderSlot{e, b.i2cBus(p.Bus)}
		}
		return b.i2cBus(p.Bus).attach(addr, d, w)
	case OneWirePart:
		return b.oneWireBus(p.Bus).attach(d, w)
	case SPIPart:
		if have := b.spi[p.Bus]; have != nil && have.part != SPIPart(noPart{}) {
			return fmt.Errorf("%s is taken", p.Bus)
		}
		b.spi[p.Bus] = &spiPort{name: p.Bus, part: d, world: w}
	case SerialPart:
		if have := b.serial[p.Bus]; have != nil && have.part != SerialPart(noPart{}) {
			return fmt.Errorf("%s is taken", p.Bus)
		}
		b.serial[p.Bus] = newSerialPort(d, w)
	case PinPart:
		for name, pin := range d.Pins() {
			b.pins[name] = pin
		}
	case LinePart:
		return b.lines.attach(d)
	case SysPart:
		for name, content := range d.Files() {
			b.sys.add(name, content)
		}
	default:
		return fmt.Errorf("%T is no kind of part", dev)
	}
	return nil
}

func (b *Board) i2cBus(name string) *i2cBus {
	if b.i2c[name] == nil {
		b.i2c[name] = &i2cBus{name: name, parts: map[uint16]*i2cSlot{}}
	}
	return b.i2c[name]
}

func (b *Board) oneWireBus(name string) *oneWireBus {
	if b.onewire[name] == nil {
		b.onewire[name] = &oneWireBus{name: name}
	}
	return b.onewire[name]
}

// I2C gives a bus by name.
func (b *Board) I2C(name string) (i2c.Bus, error) {
	if bus := b.i2c[name]; bus != nil {
		return bus, nil
	}
	return nil, fmt.Errorf("the simulated board has no I2C bus %q, only %s", name, keys(b.i2c))
}

// OneWire gives a 1-wire bus by name.
func (b *Board) OneWire(name string) (onewire.Bus, error) {
	if bus := b.onewire[name]; bus != nil {
		return bus, nil
	}
	return nil, fmt.Errorf("the simulated board has no 1-wire bus %q, only %s", name, keys(b.onewire))
}

// SPI gives an SPI port by name.
func (b *Board) SPI(name string) (spi.Port, error) {
	if p := b.spi[name]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("the simulated board has nothing at SPI port %q, only at %s", name, keys(b.spi))
}

// Serial opens a serial port by name.
func (b *Board) Serial(name string, baud int) (io.ReadWriteCloser, error) {
	if p := b.serial[name]; p != nil {
		return p.open(baud)
	}
	return nil, fmt.Errorf("the simulated board has nothing at serial port %q, only at %s", name, keys(b.serial))
}

// Pin gives a line for bit-banging.
func (b *Board) Pin(name string) (gpio.PinIO, error) {
	if p := b.pins[name]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("nothing is connected to the simulated line %q that could be clocked by hand", name)
}

// Figures are what a simulated machine tells of itself.
func (b *Board) Figures() map[string]float64 {
	soc := b.worlds["soc"]
	soc.Sample()
	return map[string]float64{"temperature": soc.Value("temperature"), "load": 0.25, "memory_total": 1 << 30, "memory_available": 600 << 20,
		"disk_total": 32e9, "disk_free": 20e9, "uptime": time.Since(b.start).Seconds(), "clock_synchronised": 1, "under_voltage": 0}
}

// Sys is what the simulated kernel shows under /sys.
func (b *Board) Sys() fs.FS { return b.sys }

// Buses lists the names of all buses.
func (b *Board) Buses() []string {
	names := append(strings.Fields(strings.ReplaceAll(keys(b.i2c), ",", "")), strings.Fields(strings.ReplaceAll(keys(b.onewire), ",", ""))...)
	for n := range b.spi {
		names = append(names, n)
	}
	for n := range b.serial {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// expanderSlot is an expander and the bus whose lock guards it.
type expanderSlot struct {
	part ExpanderPart
	bus  *i2cBus
}

// expanderPin finds "exp1:3".
func (b *Board) expanderPin(line string) (expanderSlot, int, bool) {
	name, num, _ := strings.Cut(line, ":")
	e, ok := b.ports[name]
	n, err := strconv.Atoi(num)
	return e, n, ok && err == nil
}

// Recover frees a hung I2C bus, as nine clocks do on a real one.
func (b *Board) Recover(bus string) error {
	if i := b.i2c[bus]; i != nil {
		i.recover()
		return nil
	}
	return fmt.Errorf("no I2C bus %q", bus)
}

// Set fixes what a part measures from now on.
func (b *Board) Set(part, quantity string, value float64) error {
	w := b.worlds[part]
	if w == nil {
		return fmt.Errorf("no part named %q, only %s", part, keys(b.worlds))
	}
	return w.set(quantity, value)
}

// Value is what a part measured last.
func (b *Board) Value(part, quantity string) (float64, error) {
	w := b.worlds[part]
	if w == nil {
		return 0, fmt.Errorf("no part named %q, only %s", part, keys(b.worlds))
	}
	return w.Value(quantity), nil
}

// Plug connects or disconnects a part.
func (b *Board) Plug(part string, connected bool) error {
	w := b.worlds[part]
	if w == nil {
		return fmt.Errorf("no part named %q, only %s", part, keys(b.worlds))
	}
	w.plug(connected)
	return nil
}

// PowerCycle takes a part's supply away for an instant: nothing of that shows
// on the bus, but the part has forgotten what it was told.
func (b *Board) PowerCycle(part string) error {
	w := b.worlds[part]
	if w == nil {
		return fmt.Errorf("no part named %q, only %s", part, keys(b.worlds))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dipped = true
	return nil
}

// Close ends scripts and watchers.
func (b *Board) Close() error {
	b.stopOnce.Do(func() { close(b.stop) })
	b.scripts.Wait()
	b.lines.close()
	return nil
}

var errClosed = errors.New("the board is closed")

func keys[V any](m map[string]V) string {
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

package board

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/onewire"
	"periph.io/x/conn/v3/spi"

	"gatewayd/board/sim"
)

// Mode says which board to use.
type Mode string

const (
	ModeAuto     Mode = "auto"     // the hardware, or a simulated board where there is none
	ModeSim      Mode = "sim"      // a simulated board
	ModeNone     Mode = "none"     // no board at all: every bus and line is missing
	ModeHardware Mode = "hardware" // the hardware or an error
)

// Options says which board to open.
type Options struct {
	Mode Mode         // empty: auto
	Sim  sim.Options  // what the simulated board has
	Log  *slog.Logger // nil: slog.Default()
	// DataDir tells which disk the board's figures are about; empty: the root.
	DataDir string
	Root    string // where /proc, /sys and /dev are found; empty: "/"
}

// Info is what is known about the board. It is published as JSON.
type Info struct {
	Model     string   `json:"model"`
	Maker     string   `json:"maker,omitempty"`
	Serial    string   `json:"serial,omitempty"`
	Simulated bool     `json:"simulated"`
	Reason    string   `json:"reason,omitempty"` // why it is simulated or missing
	Notes     []string `json:"notes,omitempty"`  // what this board cannot do, one sentence each
	Buses     []string `json:"buses"`
	Lines     []string `json:"lines,omitempty"` // GPIO chips with their number of lines
	Kernel    string   `json:"kernel,omitempty"`
	Arch      string   `json:"arch"`
	CPUs      int      `json:"cpus"`
	Memory    uint64   `json:"memory,omitempty"` // bytes
}

// backend is a real, simulated or missing board.
type backend interface {
	I2C(name string) (i2c.Bus, error)
	OneWire(name string) (onewire.Bus, error)
	SPI(name string) (spi.Port, error)
	Serial(name string, baud int) (io.ReadWriteCloser, error)
	Pin(name string) (gpio.PinIO, error)
	Sys() fs.FS
	WatchInput(ctx context.Context, line string, pull gpio.Pull, debounce time.Duration,
		edge func(high bool, at time.Time, seq uint64)) error
	Output(line string, high bool) (set func(bool) error, release func() error, err error)
	Recover(bus string) error
	Buses() []string
	Close() error
}

// Board is an open board.
type Board struct {
	info Info
	back backend
	sim  *sim.Board // nil on hardware
	root string
	data string
}

// Open finds out where we are and opens that. Nothing is touched on any bus.
func Open(o Options) (*Board, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Mode == "" {
		o.Mode = ModeAuto
	}
	if o.Root == "" {
		o.Root = "/"
	}
	d := Detect(o.Root)
	b := &Board{info: d.Info, root: o.Root, data: o.DataDir}
	switch o.Mode {
	case ModeAuto:
		if d.Usable {
			b.back = newHardware(d, o.Root)
			break
		}
		return b.simulate(o, d.Why)
	case ModeHardware:
		if !d.Usable && len(d.chips) == 0 { // GPIO alone is not worth giving up the simulation for, but it is hardware
			return nil, fmt.Errorf("board: hardware was asked for, but %s", d.Why)
		}
		b.back = newHardware(d, o.Root)
	case ModeSim:
		return b.simulate(o, "the configuration asks for it")
	case ModeNone:
		b.back = none{}
		b.info.Reason, b.info.Buses, b.info.Lines = "the configuration says board: none", nil, nil
	default:
		return nil, fmt.Errorf("board: mode %q is not auto, sim, hardware or none", o.Mode)
	}
	o.Log.Info("board", "model", b.info.Model, "simulated", false, "buses", b.info.Buses, "lines", b.info.Lines)
	for _, n := range b.info.Notes {
		o.Log.Warn("board: " + n)
	}
	return b, nil
}

func (b *Board) simulate(o Options, why string) (*Board, error) {
	s, err := sim.New(o.Sim)
	if err != nil {
		return nil, fmt.Errorf("board: %w", err)
	}
	b.back, b.sim = s, s
	b.info.Simulated, b.info.Reason = true, why
	b.info.Buses, b.info.Lines, b.info.Notes = s.Buses(), []string{"gpiochip0 (simulated)"}, nil
	o.Log.Warn("the board is SIMULATED: all readings are made up", "why", why, "model", b.info.Model)
	return b, nil
}

// Info tells which board this is.
func (b *Board) Info() Info { return b.info }

// Sim is the simulated board, for tests and scripts; nil on hardware.
func (b *Board) Sim() *sim.Board { return b.sim }

// I2C gives a bus by name: "i2c-1", "1", "I2C1", "/dev/i2c-1".
func (b *Board) I2C(name string) (i2c.Bus, error) { return b.back.I2C(busName(name)) }

// OneWire gives a 1-wire bus by name: "w1-1" is the kernel's w1_bus_master1.
func (b *Board) OneWire(name string) (onewire.Bus, error) { return b.back.OneWire(busName(name)) }

// SPI gives an SPI port by name: "spi0.0" is bus 0, chip select 0.
func (b *Board) SPI(name string) (spi.Port, error) { return b.back.SPI(busName(name)) }

// Serial opens a serial port: "ttyAMA0", "serial0".
func (b *Board) Serial(name string, baud int) (io.ReadWriteCloser, error) {
	return b.back.Serial(serialName(name), baud)
}

// Pin gives a line for bit-banging.
func (b *Board) Pin(name string) (gpio.PinIO, error) {
	n, err := lineName(name)
	if err != nil {
		return nil, err
	}
	return b.back.Pin(n)
}

// Sys is what the kernel shows under /sys.
func (b *Board) Sys() fs.FS { return b.back.Sys() }

// WatchInput makes the line an input and calls edge with its level (seq 0) and
// with every edge after debouncing, in order, until ctx is done.
func (b *Board) WatchInput(ctx context.Context, line string, pull gpio.Pull, debounce time.Duration,
	edge func(high bool, at time.Time, seq uint64)) error {
	n, err := lineName(line)
	if err != nil {
		return err
	}
	return b.back.WatchInput(ctx, n, pull, debounce, edge)
}

// Output makes the line an output that starts high or low.
func (b *Board) Output(line string, high bool) (set func(bool) error, release func() error, err error) {
	n, err := lineName(line)
	if err != nil {
		return nil, nil, err
	}
	return b.back.Output(n, high)
}

// Recover tries to free an I2C bus that a part holds.
func (b *Board) Recover(bus string) error { return b.back.Recover(busName(bus)) }

// Close gives everything back.
func (b *Board) Close() error { return b.back.Close() }

// none is a machine without a board.
type none struct{}

var errNone = errors.New("there is no board: the configuration says board: none")

func (none) I2C(string) (i2c.Bus, error)                                 { return nil, errNone }
func (none) OneWire(string) (onewire.Bus, error)                         { return nil, errNone }
func (none) SPI(string) (spi.Port, error)                                { return nil, errNone }
func (none) Serial(string, int) (io.ReadWriteCloser, error)              { return nil, errNone }
func (none) Pin(string) (gpio.PinIO, error)                              { return nil, errNone }
func (none) Sys() fs.FS                                                  { return noFS{} }
func (none) Output(string, bool) (func(bool) error, func() error, error) { return nil, nil, errNone }
func (none) Recover(string) error                                        { return errNone }
func (none) Buses() []string                                             { return nil }
func (none) Close() error                                                { return nil }

func (none) WatchInput(context.Context, string, gpio.Pull, time.Duration, func(bool, time.Time, uint64)) error {
	return errNone
}

type noFS struct{}

func (noFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

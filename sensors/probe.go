package sensors

import (
	"context"
	"io"
	"io/fs"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/onewire"
	"periph.io/x/conn/v3/spi"
)

// Buses is what a driver may ask the board for. A bus is shared and safe for
// concurrent use; whoever asked does not close it.
type Buses interface {
	I2C(name string) (i2c.Bus, error)         // "i2c-1"
	OneWire(name string) (onewire.Bus, error) // "w1-1"
	SPI(name string) (spi.Port, error)        // "spi0.0"
	Serial(name string, baud int) (io.ReadWriteCloser, error)
	Pin(name string) (gpio.PinIO, error) // for parts that are clocked by hand
	Sys() fs.FS                          // what the kernel shows under /sys

	// WatchInput makes the line an input and calls edge with its level at
	// start (seq 0) and after each debounced edge, in order, from one
	// goroutine, until ctx is done. seq counts edges; a jump means that many
	// were lost.
	WatchInput(ctx context.Context, line string, pull gpio.Pull, debounce time.Duration,
		edge func(high bool, at time.Time, seq uint64)) error
	// Output makes the line an output that starts at level high; release
	// leaves it as it was last set and gives the line back.
	Output(line string, high bool) (set func(high bool) error, release func() error, err error)
}

// Probe is a part that is being read. Read and Close are called by one
// goroutine at a time. Read returns when it has emitted one set of readings;
// it must come back when ctx is done (every bus call fails from then on).
type Probe interface {
	Read(ctx context.Context, emit func(Reading)) error
	Close() error
}

// Starter is met by probes whose conversion takes long: Start begins one and
// says how long to wait before Read; the bus serves others meanwhile.
type Starter interface {
	Start(ctx context.Context) (time.Duration, error)
}

// BusKind is the sort of wires a driver needs.
type BusKind string

const (
	BusI2C     BusKind = "i2c"
	BusOneWire BusKind = "1-wire"
	BusSPI     BusKind = "spi"
	BusSerial  BusKind = "serial"
	BusPins    BusKind = "pins"
	BusSys     BusKind = "sysfs"
)

// Driver is the code for a part number.
type Driver struct {
	Name       string   // as in the configuration: "bme280"
	Part       string   // as people know it: "Bosch BME280"
	Bus        BusKind  // what Params.Bus names
	Addresses  []uint16 // where an I2C part may answer; the first is the default
	Quantities []string // what Read emits
	Options    []string // keys it takes in Params.Options
	// Emits narrows Quantities by what the options ask for; nil: all of them.
	Emits    func(Params) []string
	MinEvery time.Duration
	// Latched: what a register answers stays until the next measurement, and
	// reading changes nothing. The part has no checksum, so every read is made
	// twice and compared, that of its calibration too.
	Latched bool
	Timeout time.Duration // of one Open or Read, where 5 s is not enough
	// Open finds the part and prepares it. It does not keep going when the
	// part does not answer or answers as something else: it returns an error.
	Open func(Buses, Params) (Probe, error)
	// Identify tells, by reading only, whether this part answers at addr; nil
	// where the part cannot be told.
	Identify func(bus i2c.Bus, addr uint16) bool
}

// Params is what the configuration says about one probe.
type Params struct {
	Name    string
	Bus     string
	Address string // "0x76", "28-000005e2fdc3"; empty: the driver's default
	Options map[string]any

	driver Driver // set by OpenProbe
}

// OpenProbe finds the part and prepares it for reading.
func (d Driver) OpenProbe(b Buses, p Params) (Probe, error) {
	p.driver = d
	return d.Open(b, p)
}

package sim

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"periph.io/x/conn/v3/gpio"
)

// Kind is the simulation of a part number.
type Kind struct {
	Name       string
	DefaultBus string
	Address    uint16            // of an I2C part, where none is given
	Signals    map[string]Signal // what it measures when nothing is said
	// New makes the part: an I2CPart, OneWirePart, SPIPart, SerialPart,
	// PinPart or SysPart.
	New func(w *World, p Part) (any, error)
}

// Kinds is the list of all simulated parts. A new one is one file
// part_<name>.go and one line here.
func Kinds() []Kind {
	return []Kind{
		kindBME280, kindBMP280, kindBMP180, kindBME680,
		kindAHT20, kindAM2320, kindHDC302x, kindSHT3x, kindSHT4x,
		kindMCP9808, kindTMP102, kindLM75,
		kindSCD4x, kindSGP30, kindCCS811, kindENS160, kindMHZ19, kindPMS5003,
		kindBH1750, kindTSL2561, kindVEML7700, kindVEML6075,
		kindADS1115, kindADS1015, kindMCP3008, kindMCP3208, kindINA219,
		kindADXL345, kindMPU6050, kindTLV493D, kindAS7262, kindHX711, kindHCSR04,
		kindAS3935, kindCAP1188,
		kindDHT22, kindIIO, kindHwmon,
		kindPCA9548, kindMCP23017, kindMCP23008, kindPCF8575, kindXL9535, kindPCF8574,
		kindDS18B20,
	}
}

// I2CPart answers one transaction: what is written after its address, then,
// if r is not empty, what it sends back. An error is a missing acknowledge.
// Calls come one at a time.
type I2CPart interface {
	Tx(w, r []byte) error
}

// OneWirePart answers one transaction after it has been selected.
type OneWirePart interface {
	ROM() uint64 // family in the low byte, checksum in the high one
	Do(w, r []byte)
}

// SPIPart answers one full-duplex transfer; w and r have the same length.
type SPIPart interface {
	Transfer(w, r []byte) error
}

// SerialPart talks on a serial line. Receive takes what the host wrote and
// gives the answer; Send gives what the part sends by itself since the last
// call, and when to ask again (zero: never).
type SerialPart interface {
	Baud() int
	Receive(b []byte) []byte
	Send() (b []byte, again time.Duration)
}

// PinPart is clocked by hand over lines.
type PinPart interface {
	Pins() map[string]gpio.PinIO
}

// SysPart is a part that the kernel drives: it shows files under /sys.
type SysPart interface {
	Files() map[string]func() []byte
}

func findKind(name string) (Kind, bool) {
	for _, k := range Kinds() {
		if k.Name == name {
			return k, true
		}
	}
	return Kind{}, false
}

// KindNames lists the parts that can be simulated.
func KindNames() []string {
	var names []string
	for _, k := range Kinds() {
		names = append(names, k.Name)
	}
	slices.Sort(names)
	return names
}

func parseAddress(s string) (uint16, error) {
	v, err := strconv.ParseUint(s, 0, 10)
	if err != nil {
		return 0, fmt.Errorf("%q is not an I2C address", s)
	}
	return uint16(v), nil
}

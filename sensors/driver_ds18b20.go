package sensors

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"periph.io/x/conn/v3/onewire"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/devices/v3/ds18b20"
)

// Maxim DS18B20 and DS18S20 on a 1-wire bus. A conversion at 12 bits takes
// 752 ms, in which the bus serves others.
var driverDS18B20 = Driver{
	Name: "ds18b20", Part: "Maxim DS18B20", Bus: BusOneWire,
	Quantities: []string{"temperature"}, Options: []string{"resolution"},
	MinEvery: time.Second, Open: openDS18B20,
}

type ds18b20Probe struct {
	bus  onewire.Dev
	dev  *ds18b20.Dev
	wait time.Duration
	last float64
}

func openDS18B20(b Buses, p Params) (Probe, error) {
	bus, err := b.OneWire(p.Bus)
	if err != nil {
		return nil, err
	}
	addr, err := parseROM(p.Address)
	if err != nil {
		return nil, err
	}
	if addr == 0 {
		if addr, err = onlyThermometer(bus); err != nil {
			return nil, err
		}
	}
	bits, err := p.optNumber("resolution", 12)
	if err != nil || bits < 9 || bits > 12 {
		return nil, fmt.Errorf("resolution is 9 to 12 bits")
	}
	dev, err := ds18b20.New(bus, addr, int(bits))
	if err != nil {
		return nil, err
	}
	return &ds18b20Probe{bus: onewire.Dev{Bus: bus, Addr: addr}, dev: dev,
		wait: 94 * time.Millisecond << (int(bits) - 9)}, nil
}

// onlyThermometer is the part when none is named and just one is there.
func onlyThermometer(bus onewire.Bus) (onewire.Address, error) {
	all, err := bus.Search(false)
	if err != nil {
		return 0, err
	}
	var found []onewire.Address
	for _, a := range all {
		if f := ds18b20.Family(a & 0xff); f == ds18b20.DS18B20 || f == ds18b20.DS18S20 {
			found = append(found, a)
		}
	}
	switch len(found) {
	case 0:
		return 0, errors.New("no DS18B20 on the bus")
	case 1:
		return found[0], nil
	}
	names := make([]string, len(found))
	for i, a := range found {
		names[i] = FormatROM(a)
	}
	return 0, fmt.Errorf("several thermometers on the bus, say which by address: %s", strings.Join(names, ", "))
}

func (p *ds18b20Probe) Start(context.Context) (time.Duration, error) {
	return p.wait, p.bus.TxPower([]byte{0x44}, nil) // convert T
}

func (p *ds18b20Probe) Read(_ context.Context, emit func(Reading)) error {
	t, err := p.dev.LastTemp()
	if err != nil {
		return err
	}
	r := Of("temperature", celsius(t))
	// The part wakes up with 85 °C; the library means to refuse that and
	// compares it with the wrong zero. A true 85 °C comes from near by.
	if r.Value == 85 && math.Abs(p.last-85) > 2 {
		return errors.New("85 °C, the value of a part that has not converted: did its supply dip?")
	}
	p.last = r.Value
	switch {
	case t == physic.ZeroCelsius-127*physic.Celsius:
		r.bad("-127 °C: the part answered with all ones")
	case r.Value < -55 || r.Value > 125:
		r.bad("outside the part's range of -55 to 125 °C")
	}
	emit(r)
	return nil
}

func (p *ds18b20Probe) Close() error { return nil }

// parseROM reads "28-000005e2fdc3" as the kernel writes it, or 16 hexadecimal
// digits with the family last and the checksum first. Empty is 0.
func parseROM(s string) (onewire.Address, error) {
	if s == "" {
		return 0, nil
	}
	wrong := fmt.Errorf("%q is not a 1-wire address like 28-000005e2fdc3", s)
	if family, serial, ok := strings.Cut(s, "-"); ok {
		f, err := strconv.ParseUint(family, 16, 8)
		if err != nil {
			return 0, wrong
		}
		n, err := strconv.ParseUint(serial, 16, 48)
		if err != nil || len(serial) > 12 {
			return 0, wrong
		}
		rom := f | n<<8
		var b [7]byte
		for i := range b {
			b[i] = byte(rom >> (8 * i))
		}
		return onewire.Address(rom | uint64(onewire.CalcCRC(b[:]))<<56), nil
	}
	v, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64)
	if err != nil || v>>56 == 0 && v&0xff == 0 {
		return 0, wrong
	}
	return onewire.Address(v), nil
}

// FormatROM writes a 1-wire address as the kernel does.
func FormatROM(a onewire.Address) string {
	return fmt.Sprintf("%02x-%012x", uint64(a)&0xff, uint64(a)>>8&0xffffffffffff)
}

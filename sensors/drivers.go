package sensors

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Drivers is the list of all parts this program can read. A new driver is one
// file driver_<part>.go and one line here.
func Drivers() []Driver {
	return []Driver{
		driverBME280, driverBMP280, driverBMP180, driverBME680,
		driverAHT20, driverAM2320, driverHDC302x, driverSHT3x, driverSHT4x,
		driverMCP9808, driverTMP102, driverLM75,
		driverSCD4x, driverSGP30, driverCCS811, driverENS160, driverMHZ19, driverPMS5003,
		driverBH1750, driverTSL2561, driverVEML7700, driverVEML6075,
		driverADS1115, driverADS1015, driverMCP3008, driverMCP3208, driverINA219,
		driverADXL345, driverMPU6050, driverTLV493D, driverAS7262, driverHX711, driverHCSR04,
		driverAS3935, driverCAP1188,
		driverDHT22, driverIIO, driverHwmon,
		driverDS18B20,
		driverSoC, driverBoard,
	}
}

// FindDriver looks a driver up by its name.
func FindDriver(name string) (Driver, bool) {
	for _, d := range Drivers() {
		if d.Name == name {
			return d, true
		}
	}
	return Driver{}, false
}

// DriverNames lists the names for an error message.
func DriverNames() []string {
	var names []string
	for _, d := range Drivers() {
		names = append(names, d.Name)
	}
	slices.Sort(names)
	return names
}

// ParseAddress reads an I2C address, "0x76" or "118"; empty is the driver's
// default.
func (d Driver) ParseAddress(s string) (uint16, error) {
	if s == "" {
		if len(d.Addresses) == 0 {
			return 0, fmt.Errorf("%s needs an address", d.Name)
		}
		return d.Addresses[0], nil
	}
	v, err := strconv.ParseUint(s, 0, 10)
	if err != nil {
		return 0, fmt.Errorf("%q is not an I2C address like 0x76", s)
	}
	if len(d.Addresses) > 0 && !slices.Contains(d.Addresses, uint16(v)) {
		return 0, fmt.Errorf("a %s cannot be at %#x; it answers at %s", d.Part, v, hexList(d.Addresses))
	}
	return uint16(v), nil
}

func (d Driver) checkAddress(s string) error {
	switch d.Bus {
	case BusI2C:
		_, err := d.ParseAddress(s)
		return err
	case BusOneWire:
		_, err := parseROM(s)
		return err
	}
	return nil
}

// checkBus sees that the bus exists and gives the key under which probes share
// one goroutine: parts behind a multiplexer share the wires before it.
func (d Driver) checkBus(b *layers, name string) (key string, err error) {
	switch d.Bus {
	case BusI2C:
		if name == "" {
			return "", fmt.Errorf("%s needs the name of its I2C bus, such as i2c-1", d.Name)
		}
		_, err = b.I2C(name)
	case BusOneWire:
		if name == "" {
			return "", fmt.Errorf("%s needs the name of its 1-wire bus, such as w1-1", d.Name)
		}
		_, err = b.OneWire(name)
	case BusSPI:
		if name == "" {
			return "", fmt.Errorf("%s needs the name of its SPI port, such as spi0.0", d.Name)
		}
		_, err = b.SPI(name)
	case BusSerial:
		if name == "" {
			return "", fmt.Errorf("%s needs the name of its serial port, such as ttyAMA0", d.Name)
		}
	case BusSys:
		if name == "" {
			name = "sys"
		}
	}
	if err != nil {
		return "", err
	}
	return string(d.Bus) + ":" + b.root(name), nil
}

// BusName brings the names people use for a bus to one form: "1", "I2C1" and
// "/dev/i2c-1" are "i2c-1".
func BusName(name string) string {
	name = strings.TrimPrefix(name, "/dev/")
	n := strings.ToLower(name)
	if _, err := strconv.Atoi(n); err == nil {
		return "i2c-" + n
	}
	if rest, ok := strings.CutPrefix(n, "i2c"); ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
		return "i2c-" + rest
	}
	if rest, ok := strings.CutPrefix(n, "spidev"); ok {
		return "spi" + rest
	}
	for _, kind := range []string{"i2c-", "spi", "w1-"} {
		if strings.HasPrefix(n, kind) {
			return n
		}
	}
	return name // a serial port's capitals count
}

func hexList(a []uint16) string {
	s := make([]string, len(a))
	for i, v := range a {
		s[i] = fmt.Sprintf("%#x", v)
	}
	return strings.Join(s, ", ")
}

// optNumber reads a driver's own key as a number.
func (p Params) optNumber(key string, def float64) (float64, error) {
	return field(p.Options, key, def)
}

// optText reads a driver's own key as text.
func (p Params) optText(key, def string) string {
	if v, ok := p.Options[key]; ok {
		return fmt.Sprint(v)
	}
	return def
}

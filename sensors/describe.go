package sensors

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// DriverTable is the table of drivers in docs/SENSORS.md, made of what the
// drivers say of themselves.
func DriverTable() string {
	var b strings.Builder
	b.WriteString("| driver | part | bus | address | quantities | wiring | configuration | own keys and remarks |\n|---|---|---|---|---|---|---|---|\n")
	for _, d := range Drivers() {
		about := descriptions[d.Name]
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | `{%s}` | %s |\n", d.Name, cmp.Or(about.parts, d.Part), d.busText(), d.addressText(), d.quantityText(),
			d.wiring(), strings.Join(d.example(), ", "), about.remarks)
	}
	return b.String()
}

func (d Driver) busText() string {
	switch d.Bus {
	case BusSys:
		return "the kernel's"
	case BusPins:
		return "two lines"
	}
	return string(d.Bus)
}

func (d Driver) addressText() string {
	switch {
	case d.Bus == BusOneWire:
		return "`28-…`"
	case d.Bus == BusSPI:
		return "`spi0.0`, `spi0.1`"
	case len(d.Addresses) == 0:
		return "–"
	case len(d.Addresses) > 3:
		return fmt.Sprintf("0x%02X–0x%02X", slices.Min(d.Addresses), slices.Max(d.Addresses))
	}
	var all []string
	for _, a := range d.Addresses {
		all = append(all, fmt.Sprintf("0x%02X", a))
	}
	return strings.Join(all, ", ")
}

// quantityText lists quantities with their units; a row of numbered ones as
// its first and last.
func (d Driver) quantityText() string {
	var all []string
	for i := 0; i < len(d.Quantities); i++ {
		q := QuantityOf(d.Quantities[i])
		text := q.Name
		last := i
		if base, ok := strings.CutSuffix(q.Name, "_0"); ok {
			for last+1 < len(d.Quantities) && d.Quantities[last+1] == fmt.Sprintf("%s_%d", base, last+1-i) {
				last++
			}
			if last > i {
				text += " … " + d.Quantities[last]
			}
		}
		if q.Unit != "" {
			text += " (" + q.Unit + ")"
		}
		all = append(all, text)
		i = last
	}
	return strings.Join(all, ", ")
}

// wiring is where the part goes on the header of docs/boards.
func (d Driver) wiring() string {
	switch d.Bus {
	case BusI2C:
		return "SDA 3, SCL 5, 3.3 V, ground"
	case BusOneWire:
		return "data 7 with 4.7 kΩ to 3.3 V, ground"
	case BusSPI:
		return "MOSI 19, MISO 21, SCLK 23, CE0 24, 3.3 V, ground"
	case BusSerial:
		return "its TX to RXD 10, its RX to TXD 8, 5 V, ground"
	case BusPins:
		return "any two GPIO, ground"
	}
	if d.Name == "dht22" {
		return "data 7 (GPIO4) with 10 kΩ to 3.3 V, ground"
	}
	return "–"
}

// example is the least that a configuration says.
func (d Driver) example() []string {
	e := []string{"name: x", "driver: " + d.Name}
	switch d.Bus {
	case BusI2C:
		e = append(e, "bus: i2c-1", fmt.Sprintf("address: 0x%02X", d.Addresses[0]))
	case BusOneWire:
		e = append(e, "bus: w1-1")
	case BusSPI:
		e = append(e, "bus: spi0.0")
	case BusSerial:
		e = append(e, "bus: serial0")
	case BusPins:
		var lines []string
		for i, o := range d.Options[:2] {
			lines = append(lines, fmt.Sprintf("%s: GPIO%d", o, 5+i))
		}
		e = append(e, "options: {"+strings.Join(lines, ", ")+"}")
	}
	if d.MinEvery > 10e9 {
		e = append(e, "every: "+d.MinEvery.String())
	}
	return e
}

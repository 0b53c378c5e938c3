package sim

import (
	"fmt"
	"strconv"
	"strings"
)

// NXP PCA9548: a byte whose bits connect eight buses behind it. A part with
// Bus "mux1/3" hangs on the fourth bus of the part named mux1.
var kindPCA9548 = Kind{Name: "pca9548", DefaultBus: "i2c-1", Address: 0x70, Signals: map[string]Signal{},
	New: func(*World, Part) (any, error) { return &pca9548{}, nil }}

type pca9548 struct {
	open  byte
	buses [8]map[uint16]*i2cSlot
}

func (m *pca9548) Reset() { m.open = 0 }

func (m *pca9548) Tx(w, r []byte) error {
	if len(w) > 0 {
		m.open = w[len(w)-1]
	}
	for i := range r {
		r[i] = m.open
	}
	return nil
}

// behind finds the part that answers at addr through an open channel.
func (m *pca9548) behind(addr uint16) *i2cSlot {
	for i, b := range m.buses {
		if m.open>>i&1 == 1 && b[addr] != nil {
			return b[addr]
		}
	}
	return nil
}

// attachBehind puts a part on a bus behind a multiplexer.
func (b *Board) attachBehind(bus string, addr uint16, p I2CPart, w *World) error {
	name, ch, _ := strings.Cut(bus, "/")
	m := b.muxes[name]
	if m == nil {
		return fmt.Errorf("no multiplexer named %q before it in the list", name)
	}
	n, err := strconv.Atoi(ch)
	if err != nil || n < 0 || n > 7 {
		return fmt.Errorf("%q: a multiplexer has buses 0 to 7", bus)
	}
	if m.buses[n] == nil {
		m.buses[n] = map[uint16]*i2cSlot{}
	}
	m.buses[n][addr] = &i2cSlot{part: p, world: w}
	return nil
}

// Expanders: their lines are levels that a test sets or reads by the part's
// name, "exp1:3".

// pins16 are the lines of an expander.
type pins16 struct {
	outside uint16 // what tests put on the lines
	driven  uint16 // lines that tests hold
}

// level of all lines: outputs as latched, held inputs as held, others by pull.
func (p *pins16) level(inputs, latch, pulls uint16) uint16 {
	free := inputs &^ p.driven
	return latch&^inputs | p.outside&inputs&p.driven | pulls&free
}

// ExpanderPart is an expander whose lines tests reach.
type ExpanderPart interface {
	I2CPart
	SetPin(n int, high bool)
	Pin(n int) bool
}

func (p *pins16) SetPin(n int, high bool) {
	p.driven |= 1 << n
	p.outside &^= 1 << n
	if high {
		p.outside |= 1 << n
	}
}

// Microchip MCP23017, registers of both ports in turn.
var kindMCP23017 = Kind{Name: "mcp23017", DefaultBus: "i2c-1", Address: 0x20, Signals: map[string]Signal{},
	New: func(*World, Part) (any, error) {
		d := &regExpander{dir: 0x00, level: 0x12, latch: 0x14, pull: 0x0C, size: 22}
		d.Reset()
		return d, nil
	}}

// XINLUDA XL9535, TI TCA9535, NXP PCA9555.
var kindXL9535 = Kind{Name: "xl9535", DefaultBus: "i2c-1", Address: 0x20, Signals: map[string]Signal{},
	New: func(*World, Part) (any, error) {
		d := &regExpander{dir: 0x06, level: 0x00, latch: 0x02, size: 8, up: true}
		d.Reset()
		return d, nil
	}}

// regExpander is an expander with registers in pairs.
type regExpander struct {
	pins16
	reg                           [32]byte
	dir, level, latch, pull, size byte
	up                            bool // inputs are pulled up
}

func (d *regExpander) Reset() {
	d.reg = [32]byte{}
	d.reg[d.dir], d.reg[d.dir+1] = 0xFF, 0xFF
	if d.up {
		d.reg[d.latch], d.reg[d.latch+1] = 0xFF, 0xFF
	}
}

func (d *regExpander) pair(r byte) uint16 { return uint16(d.reg[r]) | uint16(d.reg[r+1])<<8 }

func (d *regExpander) levels() uint16 {
	pulls := uint16(0xFFFF)
	if !d.up {
		pulls = d.pair(d.pull)
	}
	return d.pins16.level(d.pair(d.dir), d.pair(d.latch), pulls)
}

func (d *regExpander) Pin(n int) bool { return d.levels()>>n&1 == 1 }

func (d *regExpander) Tx(w, r []byte) error {
	if len(w) == 0 {
		return errNACK
	}
	for i, v := range w[1:] {
		d.reg[(w[0]+byte(i))%32] = v
	}
	v := d.levels()
	d.reg[d.level], d.reg[d.level+1] = byte(v), byte(v>>8)
	for i := range r {
		r[i] = d.reg[(w[0]+byte(i))%d.size]
	}
	return nil
}

// NXP PCF8574: no registers; a line written high is a weak pull-up.
var kindPCF8574 = Kind{Name: "pcf8574", DefaultBus: "i2c-1", Address: 0x20, Signals: map[string]Signal{},
	New: func(*World, Part) (any, error) { return &pcf8574{latch: 0xFF}, nil }}

type pcf8574 struct {
	pins16
	latch byte
}

func (d *pcf8574) Reset() { d.latch = 0xFF }

func (d *pcf8574) levels() byte {
	return byte(d.pins16.level(uint16(d.latch), uint16(d.latch), uint16(d.latch)))
}

func (d *pcf8574) Pin(n int) bool { return d.levels()>>n&1 == 1 }

func (d *pcf8574) Tx(w, r []byte) error {
	if len(w) > 0 {
		d.latch = w[len(w)-1]
	}
	for i := range r {
		r[i] = d.levels()
	}
	return nil
}

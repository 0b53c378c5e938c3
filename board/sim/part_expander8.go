package sim

// Microchip MCP23008: the MCP23017's registers with one port.
var kindMCP23008 = Kind{Name: "mcp23008", DefaultBus: "i2c-1", Address: 0x20, Signals: map[string]Signal{},
	New: func(*World, Part) (any, error) {
		d := &mcp23008{}
		d.Reset()
		return d, nil
	}}

type mcp23008 struct {
	pins16
	reg [11]byte // direction 0x00, pull-up 0x06, level 0x09, latch 0x0A
}

func (d *mcp23008) Reset() { d.reg = [11]byte{0x00: 0xFF} }

func (d *mcp23008) levels() byte {
	return byte(d.pins16.level(uint16(d.reg[0x00]), uint16(d.reg[0x0A]), uint16(d.reg[0x06])))
}

func (d *mcp23008) Pin(n int) bool { return d.levels()>>n&1 == 1 }

func (d *mcp23008) Tx(w, r []byte) error {
	if len(w) == 0 {
		return errNACK
	}
	for i, v := range w[1:] {
		d.reg[(int(w[0])+i)%len(d.reg)] = v
	}
	d.reg[0x09] = d.levels()
	for i := range r {
		r[i] = d.reg[(int(w[0])+i)%len(d.reg)]
	}
	return nil
}

// NXP PCF8575: the PCF8574 with sixteen lines, the low ones first.
var kindPCF8575 = Kind{Name: "pcf8575", DefaultBus: "i2c-1", Address: 0x20, Signals: map[string]Signal{},
	New: func(*World, Part) (any, error) { return &pcf8575{latch: 0xFFFF}, nil }}

type pcf8575 struct {
	pins16
	latch uint16
}

func (d *pcf8575) Reset() { d.latch = 0xFFFF }

func (d *pcf8575) levels() uint16 { return d.pins16.level(d.latch, d.latch, d.latch) }

func (d *pcf8575) Pin(n int) bool { return d.levels()>>n&1 == 1 }

func (d *pcf8575) Tx(w, r []byte) error {
	if len(w) >= 2 {
		d.latch = uint16(w[0]) | uint16(w[1])<<8
	}
	for i := range r {
		r[i] = byte(d.levels() >> (8 * (i % 2)))
	}
	return nil
}

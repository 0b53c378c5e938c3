package sensors

import "errors"

// expanderKinds are the expanders by name. All lines start as inputs.
var expanderKinds = map[string]struct {
	lines     int
	addresses []uint16
	open      func(device) port
}{
	"mcp23017": {16, addressRange(0x20, 0x27), func(d device) port { return &mcp23017{d} }},
	"mcp23008": {8, addressRange(0x20, 0x27), func(d device) port { return &mcp23008{d} }},
	"pcf8574":  {8, append(addressRange(0x20, 0x27), addressRange(0x38, 0x3F)...), func(d device) port { return &pcf857x{d: d, bytes: 1} }},
	"pcf8575":  {16, addressRange(0x20, 0x27), func(d device) port { return &pcf857x{d: d, bytes: 2} }},
	"xl9535":   {16, addressRange(0x20, 0x27), func(d device) port { return &xl9535{d} }},
	"tca9535":  {16, addressRange(0x20, 0x27), func(d device) port { return &xl9535{d} }},
	"pca9555":  {16, addressRange(0x20, 0x27), func(d device) port { return &xl9535{d} }},
}

// mcp23017: registers of ports A and B in turn (IOCON.BANK 0): direction 0x00,
// interrupt on change 0x04, configuration 0x0A, pull-up 0x0C, level 0x12,
// latch 0x14.
type mcp23017 struct{ d device }

func (m *mcp23017) setup(in, up, out uint16) error {
	// Both interrupt lines joined and open drain.
	if err := m.d.write(0x0A, 0x44); err != nil {
		return err
	}
	// The latch before the direction: an output must not start at the wrong level.
	for _, w := range []struct {
		reg byte
		v   uint16
	}{{0x14, out}, {0x0C, up}, {0x04, in}, {0x00, in}} {
		if err := m.d.write(w.reg, byte(w.v), byte(w.v>>8)); err != nil {
			return err
		}
	}
	v, err := m.d.reg(0x00, 2)
	if err == nil && (v[0] != byte(in) || v[1] != byte(in>>8)) {
		err = errors.New("the part does not keep what is written")
	}
	return err
}

func (m *mcp23017) read() (uint16, error) {
	v, err := m.d.reg(0x12, 2)
	return uint16(v[0]) | uint16(v[1])<<8, err
}

func (m *mcp23017) write(out uint16) error { return m.d.write(0x14, byte(out), byte(out>>8)) }

// mcp23008: the same with one port.
type mcp23008 struct{ d device }

func (m *mcp23008) setup(in, up, out uint16) error {
	for _, w := range [][2]byte{{0x05, 0x04}, {0x0A, byte(out)}, {0x06, byte(up)}, {0x02, byte(in)}, {0x00, byte(in)}} {
		if err := m.d.write(w[0], w[1]); err != nil {
			return err
		}
	}
	return nil
}

func (m *mcp23008) read() (uint16, error) {
	v, err := m.d.reg(0x09, 1)
	return uint16(v[0]), err
}

func (m *mcp23008) write(out uint16) error { return m.d.write(0x0A, byte(out)) }

// pcf857x has no registers: what is written are the levels, and a line that is
// written high is weakly pulled up and can be read.
type pcf857x struct {
	d      device
	bytes  int
	inputs uint16
}

func (p *pcf857x) setup(in, _, out uint16) error {
	p.inputs = in
	return p.write(out)
}

func (p *pcf857x) read() (uint16, error) {
	v, err := p.d.read(p.bytes)
	if p.bytes == 1 {
		return uint16(v[0]), err
	}
	return uint16(v[0]) | uint16(v[1])<<8, err
}

func (p *pcf857x) write(out uint16) error {
	out |= p.inputs
	return p.d.write([]byte{byte(out), byte(out >> 8)}[:p.bytes]...)
}

// xl9535, TCA9535, PCA9555: levels 0x00, latch 0x02, direction 0x06.
type xl9535 struct{ d device }

func (x *xl9535) setup(in, _, out uint16) error {
	if err := x.write(out); err != nil {
		return err
	}
	if err := x.d.write(0x06, byte(in), byte(in>>8)); err != nil {
		return err
	}
	v, err := x.d.reg(0x06, 2)
	if err == nil && (v[0] != byte(in) || v[1] != byte(in>>8)) {
		err = errors.New("the part does not keep what is written")
	}
	return err
}

func (x *xl9535) read() (uint16, error) {
	v, err := x.d.reg(0x00, 2)
	return uint16(v[0]) | uint16(v[1])<<8, err
}

func (x *xl9535) write(out uint16) error { return x.d.write(0x02, byte(out), byte(out>>8)) }

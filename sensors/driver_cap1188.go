package sensors

import "context"

// Microchip CAP1188 and its kin: capacitive touch. touch_0 and on are 1 while
// touched; a touch between two readings is seen in the next, since the part
// keeps it until it is told that it was seen. Written here because the
// library's driver wants a reset line and switches the lights of the part.
var driverCAP1188 = Driver{
	Name: "cap1188", Part: "Microchip CAP1188, CAP1128, CAP1166, CAP1126, CAP1106", Bus: BusI2C, Addresses: []uint16{0x29, 0x28, 0x2A, 0x2B, 0x2C, 0x2D},
	Quantities: []string{"touch_0", "touch_1", "touch_2", "touch_3", "touch_4", "touch_5", "touch_6", "touch_7"},
	Latched:    true, Identify: chipID(0xFD, 0x50, 0x51, 0x52, 0x53, 0x55), Open: openCAP1188,
}

func openCAP1188(b Buses, p Params) (Probe, error) {
	d, err := p.device(b)
	if err != nil {
		return nil, err
	}
	id, err := d.reg(0xFD, 2)
	if err != nil {
		return nil, err
	}
	inputs := map[byte]int{0x50: 8, 0x52: 8, 0x51: 6, 0x53: 6, 0x55: 6}[id[0]]
	if id[1] != 0x5D || inputs == 0 {
		return nil, errOther(d, id)
	}
	return &parts{read: func(_ context.Context, emit func(Reading)) error {
		touched, err := d.reg(0x03, 1)
		if err != nil {
			return err
		}
		if err := d.write(0x00, 0x00); err != nil { // seen: what is let go of is forgotten
			return err
		}
		for i, q := range p.driver.Quantities[:inputs] {
			emit(Of(q, float64(touched[0]>>i&1)))
		}
		return nil
	}}, nil
}

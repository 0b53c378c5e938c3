package sensors

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// TI ADS1115 (16 bits) and ADS1015 (12 bits): four voltages. range is the
// largest voltage to be told: 6.144, 4.096, 2.048, 1.024, 0.512 or 0.256.
// Written here because the library waits the nominal conversion time, and when
// the part's own clock is slow reads the channel before.
var (
	driverADS1115 = adsDriver("ads1115", "TI ADS1115")
	driverADS1015 = adsDriver("ads1015", "TI ADS1015")
)

func adsDriver(name, part string) Driver {
	return Driver{
		Name: name, Part: part, Bus: BusI2C, Addresses: []uint16{0x48, 0x49, 0x4A, 0x4B},
		Latched:    true,
		Quantities: voltages(4), Emits: emitsVoltages(4), Options: []string{"channels", "range"},
		Open: openADS,
	}
}

var adsRanges = []float64{6.144, 4.096, 2.048, 1.024, 0.512, 0.256}

func openADS(b Buses, p Params) (Probe, error) {
	d, err := p.device(b)
	if err != nil {
		return nil, err
	}
	list, err := p.channels(4)
	if err != nil {
		return nil, err
	}
	span, err := p.optNumber("range", 4.096)
	if err != nil {
		return nil, err
	}
	pga := -1
	for i, r := range adsRanges {
		if r == span {
			pga = i
		}
	}
	if pga < 0 {
		return nil, fmt.Errorf("range is one of %v", adsRanges)
	}
	if _, err := d.reg(1, 2); err != nil {
		return nil, err
	}
	return &parts{read: func(_ context.Context, emit func(Reading)) error {
		for _, c := range list {
			raw, err := d.adsConvert(c, pga)
			if err != nil {
				return err
			}
			r := Of(voltages(4)[c], float64(raw)*span/32768)
			if raw == 0x7FFF || raw == -0x8000 {
				r.bad("beyond the range of %v V", span)
			}
			emit(r)
		}
		return nil
	}}, nil
}

// adsConvert converts one channel against ground and waits until it is done.
func (d device) adsConvert(channel, pga int) (int16, error) {
	// OS starts, MUX 100+channel, PGA, single shot, data rate 100 (128/s;
	// 1600/s for an ADS1015), comparator off.
	config := uint16(0x8000 | (4+channel)<<12 | pga<<9 | 1<<8 | 4<<5 | 3)
	if err := d.write(1, byte(config>>8), byte(config)); err != nil {
		return 0, err
	}
	for try := 0; ; try++ {
		time.Sleep(2 * time.Millisecond)
		v, err := d.reg(1, 2)
		if err != nil {
			return 0, err
		}
		if got := binary.BigEndian.Uint16(v); got&0x8000 != 0 {
			if got&0x7FFF != config&0x7FFF { // reset meanwhile, or another program
				return 0, errors.New("the part's configuration changed by itself")
			}
			break
		}
		if try == 20 {
			return 0, errors.New("the conversion does not end")
		}
	}
	raw, err := d.reg(0, 2)
	if err != nil {
		return 0, err
	}
	// A part that lost its supply just now answers 0 V.
	v, err := d.reg(1, 2)
	if err == nil && binary.BigEndian.Uint16(v)&0x7FFF != config&0x7FFF {
		err = errForgotten
	}
	return int16(binary.BigEndian.Uint16(raw)), err
}

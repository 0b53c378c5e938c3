package sensors

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"
)

// ScioSense ENS160: air quality index, organic compounds, equivalent CO2.
// temperature and humidity are what it is told about its surroundings.
var driverENS160 = Driver{
	Name: "ens160", Part: "ScioSense ENS160", Bus: BusI2C, Addresses: []uint16{0x53, 0x52},
	Quantities: []string{"aqi", "tvoc", "eco2"}, Options: []string{"temperature", "humidity"}, MinEvery: time.Second,
	Identify: chipID(0x00, 0x60), Open: openENS160,
}

func openENS160(b Buses, p Params) (Probe, error) {
	d, err := p.device(b)
	if err != nil {
		return nil, err
	}
	id, err := d.reg(0x00, 2)
	if err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint16(id) != 0x0160 {
		return nil, errOther(d, id)
	}
	t, err := p.optNumber("temperature", 25)
	if err != nil {
		return nil, err
	}
	h, err := p.optNumber("humidity", 50)
	if err != nil {
		return nil, err
	}
	mode, err := d.reg(0x10, 1)
	if err != nil {
		return nil, err
	}
	if mode[0] != 0x02 { // one that runs already stays warm
		if err := d.write(0x10, 0x02); err != nil {
			return nil, err
		}
		time.Sleep(20 * time.Millisecond)
	}
	env := binary.LittleEndian.AppendUint16([]byte{0x13}, uint16((t+273.15)*64))
	if err := d.write(binary.LittleEndian.AppendUint16(env, uint16(h*512))...); err != nil {
		return nil, err
	}
	ready := time.Now().Add(1100 * time.Millisecond)
	confirmed := false // the checksum was right once
	return &parts{
		start: func(context.Context) (time.Duration, error) { return time.Until(ready), nil },
		read:  func(_ context.Context, emit func(Reading)) error { return readENS160(d, &confirmed, emit) },
	}, nil
}

func readENS160(d device, confirmed *bool, emit func(Reading)) error {
	before, err := d.reg(0x38, 1) // running checksum of what is read from the data registers
	if err != nil {
		return err
	}
	v, err := d.reg(0x20, 6)
	if err != nil {
		return err
	}
	after, err := d.reg(0x38, 1)
	if err != nil {
		return err
	}
	sum := before[0]
	for _, x := range v {
		top := sum & 0x80
		sum = sum<<1 ^ x
		if top != 0 {
			sum ^= 0x1D
		}
	}
	*confirmed = *confirmed || sum == after[0]
	switch {
	case sum != after[0] && *confirmed:
		return errChecksum
	case v[0]&0x40 != 0:
		return fmt.Errorf("the part reports an error (status %#02x)", v[0])
	case v[0]&0x02 == 0:
		return errNotReady
	}
	for q, x := range map[string]uint16{"aqi": uint16(v[1] & 7), "tvoc": binary.LittleEndian.Uint16(v[2:]), "eco2": binary.LittleEndian.Uint16(v[4:])} {
		r := Of(q, float64(x))
		if !*confirmed {
			r.uncertain("checksum not confirmed")
		}
		switch v[0] >> 2 & 3 {
		case 1:
			r.uncertain("warming up")
		case 2:
			r.uncertain("the first hour of a new part")
		case 3:
			r.bad("the part calls its values invalid")
		}
		emit(r)
	}
	return nil
}

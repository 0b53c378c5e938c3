package sensors

import (
	"context"
	"encoding/binary"
	"time"
)

// InvenSense MPU-6050, MPU-6500 and MPU-9250 (without its compass): motion.
// Written here because the library's driver knows the last one on SPI only.
var driverMPU6050 = Driver{
	Name: "mpu6050", Part: "InvenSense MPU-6050", Bus: BusI2C, Addresses: []uint16{0x68, 0x69},
	Quantities: []string{"acceleration_x", "acceleration_y", "acceleration_z", "angular_velocity_x", "angular_velocity_y", "angular_velocity_z", "temperature"},
	Identify:   chipID(0x75, 0x68, 0x70, 0x71, 0x73),
	Open:       openMPU6050,
}

func openMPU6050(b Buses, p Params) (Probe, error) {
	d, err := p.device(b)
	if err != nil {
		return nil, err
	}
	id, err := d.reg(0x75, 1)
	if err != nil {
		return nil, err
	}
	perDegree, atZero := 340.0, 36.53
	switch id[0] {
	case 0x68:
	case 0x70, 0x71, 0x73: // MPU-6500, 9250, 9255
		perDegree, atZero = 333.87, 21
	default:
		return nil, errOther(d, id)
	}
	// Awake on the gyroscope's clock, ±500 °/s, ±4 g.
	for _, w := range [][]byte{{0x6B, 0x01}, {0x1B, 0x08}, {0x1C, 0x08}} {
		if err := d.write(w...); err != nil {
			return nil, err
		}
	}
	ready := time.Now().Add(100 * time.Millisecond)
	return &parts{
		start: func(context.Context) (time.Duration, error) { return time.Until(ready), nil },
		read: func(_ context.Context, emit func(Reading)) error {
			v, err := d.reg(0x3B, 14)
			if err != nil {
				return err
			}
			power, err := d.reg(0x6B, 1)
			if err != nil {
				return err
			}
			if power[0]&0x40 != 0 {
				return errForgotten
			}
			raw := func(i int) float64 { return float64(int16(binary.BigEndian.Uint16(v[2*i:]))) }
			for i, q := range p.driver.Quantities[:6] {
				n, scale := i, 9.80665/8192
				if i >= 3 {
					n, scale = i+1, 1/65.5
				}
				r := Of(q, raw(n)*scale)
				if x := raw(n); x == 32767 || x == -32768 {
					r.bad("beyond the part's range")
				}
				emit(r)
			}
			emit(Of("temperature", raw(3)/perDegree+atZero))
			return nil
		},
		close: func() error { return d.write(0x6B, 0x41) }, // asleep
	}, nil
}

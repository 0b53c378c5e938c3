package sensors

import (
	"context"
	"fmt"
	"time"

	"periph.io/x/conn/v3/physic"
	"periph.io/x/devices/v3/ina219"
)

// TI INA219: voltage, current, power. shunt is the sense resistor in ohm,
// max_current in ampere.
var driverINA219 = Driver{
	Name: "ina219", Part: "TI INA219", Bus: BusI2C, Addresses: addressRange(0x40, 0x4F),
	Quantities: []string{"voltage", "current", "power", "shunt_voltage"}, Options: []string{"shunt", "max_current"},
	Open: func(b Buses, p Params) (Probe, error) {
		d, err := p.device(b)
		if err != nil {
			return nil, err
		}
		shunt, err := p.optNumber("shunt", 0.1)
		if err != nil {
			return nil, err
		}
		most, err := p.optNumber("max_current", 3.2)
		if err != nil {
			return nil, err
		}
		if shunt <= 0 || most <= 0 {
			return nil, fmt.Errorf("shunt and max_current are above 0")
		}
		dev, err := ina219.New(d.bus, &ina219.Opts{Address: int(d.addr),
			SenseResistor: physic.ElectricResistance(shunt * float64(physic.Ohm)), MaxCurrent: physic.ElectricCurrent(most * float64(physic.Ampere))})
		if err != nil {
			return nil, err
		}
		cal, err := d.reg(0x05, 2)
		if err != nil {
			return nil, err
		}
		ready := time.Now().Add(150 * time.Millisecond) // two conversions of 128 samples
		return &parts{
			start: func(context.Context) (time.Duration, error) { return time.Until(ready), nil },
			read: func(_ context.Context, emit func(Reading)) error {
				v, err := dev.Sense()
				if err != nil {
					return err
				}
				now, err := d.reg(0x05, 2)
				if err != nil {
					return err
				}
				if now[0] != cal[0] || now[1] != cal[1] {
					return errForgotten
				}
				emit(Of("voltage", float64(v.Voltage)/float64(physic.Volt)))
				emit(Of("current", float64(v.Current)/float64(physic.Ampere)))
				emit(Of("power", float64(v.Power)/float64(physic.Watt)))
				emit(Of("shunt_voltage", float64(v.Shunt)/float64(physic.MilliVolt)))
				return nil
			},
		}, nil
	},
}

func addressRange(from, to uint16) []uint16 {
	var all []uint16
	for a := from; a <= to; a++ {
		all = append(all, a)
	}
	return all
}

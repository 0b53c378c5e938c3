package sensors

import "periph.io/x/devices/v3/bmxx80"

// Bosch BME280: temperature, humidity, pressure. The library's bmxx80 finds
// out by the chip id which part answers; a BMP280 there is an error, as its
// humidity would be missing without a word.
var driverBME280 = Driver{
	Name: "bme280", Part: "Bosch BME280", Bus: BusI2C, Addresses: []uint16{0x76, 0x77},
	Latched:    true,
	Quantities: []string{"temperature", "humidity", "pressure"},
	Open:       func(b Buses, p Params) (Probe, error) { return openBMxx80(b, p, 0x60) },
	Identify:   chipID(0xD0, 0x60),
}

// Bosch BMP280: the BME280 without humidity.
var driverBMP280 = Driver{
	Name: "bmp280", Part: "Bosch BMP280", Bus: BusI2C, Addresses: []uint16{0x76, 0x77},
	Latched:    true,
	Quantities: []string{"temperature", "pressure"},
	Open:       func(b Buses, p Params) (Probe, error) { return openBMxx80(b, p, 0x58) },
	Identify:   chipID(0xD0, 0x58),
}

// Bosch BMP180, also sold as BMP085.
var driverBMP180 = Driver{
	Name: "bmp180", Part: "Bosch BMP180", Bus: BusI2C, Addresses: []uint16{0x77},
	Latched:    true,
	Quantities: []string{"temperature", "pressure"},
	Open:       func(b Buses, p Params) (Probe, error) { return openBMxx80(b, p, 0x55) },
	Identify:   chipID(0xD0, 0x55),
}

// openBMxx80 opens one of the parts that bmxx80 knows, after checking that the
// right one answers.
func openBMxx80(b Buses, p Params, id byte) (Probe, error) {
	d, err := p.device(b)
	if err != nil {
		return nil, err
	}
	if err := d.wantID(0xD0, id); err != nil {
		return nil, err
	}
	dev, err := bmxx80.NewI2C(d.bus, d.addr, &bmxx80.Opts{Temperature: bmxx80.O2x, Pressure: bmxx80.O4x, Humidity: bmxx80.O2x})
	if err != nil {
		return nil, err
	}
	probe := envProbe(dev, p.driver.Quantities, 0)
	if id == 0x55 { // keeps nothing that could be lost
		return probe, nil
	}
	return checked(probe, func() error {
		v, err := d.reg(0xF2, 3) // ctrl_hum, status, ctrl_meas
		if err == nil && (v[2]&0xFC != byte(bmxx80.O2x)<<5|byte(bmxx80.O4x)<<2 || id == 0x60 && v[0]&7 != byte(bmxx80.O2x)) {
			err = errForgotten
		}
		return err
	}), nil
}

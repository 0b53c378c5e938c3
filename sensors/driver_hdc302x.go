package sensors

import "periph.io/x/devices/v3/hdc302x"

// TI HDC3020, HDC3021, HDC3022: temperature and humidity with CRC.
var driverHDC302x = Driver{
	Name: "hdc302x", Part: "TI HDC302x", Bus: BusI2C, Addresses: []uint16{0x44, 0x45, 0x46, 0x47},
	Quantities: []string{"temperature", "humidity"},
	Open: func(b Buses, p Params) (Probe, error) {
		d, err := p.device(b)
		if err != nil {
			return nil, err
		}
		dev, err := hdc302x.NewI2C(d.bus, d.addr, hdc302x.RateTwoHertz)
		if err != nil {
			return nil, err
		}
		return envProbe(dev, p.driver.Quantities, 0), nil
	},
}

package sensors

import "periph.io/x/devices/v3/aht20"

// Aosong AHT20 (also AHT21, AHT25, DHT20): temperature and humidity with CRC.
var driverAHT20 = Driver{
	Name: "aht20", Part: "Aosong AHT20", Bus: BusI2C, Addresses: []uint16{0x38},
	Quantities: []string{"temperature", "humidity"},
	Open: func(b Buses, p Params) (Probe, error) {
		d, err := p.device(b)
		if err != nil {
			return nil, err
		}
		dev, err := aht20.NewI2C(d.bus, nil)
		if err != nil {
			return nil, err
		}
		return envProbe(dev, p.driver.Quantities, 0), nil
	},
}

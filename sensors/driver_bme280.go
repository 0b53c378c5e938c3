package sensors

import (
	"context"

	"periph.io/x/conn/v3/physic"
	"periph.io/x/devices/v3/bmxx80"
)

// Bosch BME280: temperature, humidity, pressure. The library's bmxx80 finds
// out by the chip id which part answers; a BMP280 there is an error, as its
// humidity would be missing without a word.
var driverBME280 = Driver{
	Name: "bme280", Part: "Bosch BME280", Bus: BusI2C, Addresses: []uint16{0x76, 0x77},
	Quantities: []string{"temperature", "humidity", "pressure"},
	Open:       openBME280, Identify: chipID(0xD0, 0x60),
}

func openBME280(b Buses, p Params) (Probe, error) {
	return openBMxx80(b, p, 0x60)
}

// openBMxx80 opens one of the parts that bmxx80 knows, after checking that the
// right one answers.
func openBMxx80(b Buses, p Params, id byte) (Probe, error) {
	bus, addr, err := openI2C(b, p)
	if err != nil {
		return nil, err
	}
	if err := wantID(bus, addr, 0xD0, id, p.driver.Part); err != nil {
		return nil, err
	}
	dev, err := bmxx80.NewI2C(bus, addr, &bmxx80.Opts{Temperature: bmxx80.O2x, Pressure: bmxx80.O4x, Humidity: bmxx80.O2x})
	if err != nil {
		return nil, err
	}
	return &envProbe{sense: dev, quantities: p.driver.Quantities}, nil
}

// envProbe reads any of the library's environmental sensors.
type envProbe struct {
	sense      physic.SenseEnv
	quantities []string
	e          physic.Env
}

func (p *envProbe) Read(_ context.Context, emit func(Reading)) error {
	p.e = physic.Env{}
	if err := p.sense.Sense(&p.e); err != nil {
		return err
	}
	for _, q := range p.quantities {
		switch q {
		case "temperature":
			emit(Of(q, celsius(p.e.Temperature)))
		case "humidity":
			emit(Of(q, float64(p.e.Humidity)/float64(physic.PercentRH)))
		case "pressure":
			emit(Of(q, float64(p.e.Pressure)/float64(100*physic.Pascal)))
		}
	}
	return nil
}

func (p *envProbe) Close() error { return p.sense.Halt() }

func celsius(t physic.Temperature) float64 {
	return float64(t-physic.ZeroCelsius) / float64(physic.Celsius)
}

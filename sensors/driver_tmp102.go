package sensors

import (
	"time"

	"periph.io/x/conn/v3/physic"
	"periph.io/x/devices/v3/tmp102"
)

// TI TMP102; TMP105 and TMP112 answer alike.
var driverTMP102 = Driver{
	Name: "tmp102", Part: "TI TMP102", Bus: BusI2C, Addresses: []uint16{0x48, 0x49, 0x4A, 0x4B},
	Latched:    true,
	Quantities: []string{"temperature"},
	Open: func(b Buses, p Params) (Probe, error) {
		d, err := p.device(b)
		if err != nil {
			return nil, err
		}
		if _, err := d.reg(1, 2); err != nil { // the library takes no answer for a configuration of zeros
			return nil, err
		}
		dev, err := tmp102.NewI2C(d.bus, d.addr, nil)
		if err != nil {
			return nil, err
		}
		return envProbe(twice{dev}, p.driver.Quantities, 40*time.Millisecond), nil
	},
}

// twice asks again when a part says 0 °C: it may have converted nothing since
// power-on, and its next value tells.
type twice struct{ sensing }

func (t twice) Sense(e *physic.Env) error {
	err := t.sensing.Sense(e)
	if err == nil && e.Temperature == physic.ZeroCelsius {
		time.Sleep(40 * time.Millisecond)
		err = t.sensing.Sense(e)
	}
	return err
}

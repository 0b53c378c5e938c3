package sensors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

// device is one I2C part at its address.
type device struct {
	bus  i2c.Bus
	addr uint16
	part string
}

// device finds the bus and the address of a probe.
func (p Params) device(b Buses) (device, error) {
	addr, err := p.driver.ParseAddress(p.Address)
	if err != nil {
		return device{}, err
	}
	bus, err := b.I2C(p.Bus)
	return device{bus, addr, p.driver.Part}, err
}

func (d device) write(b ...byte) error { return d.bus.Tx(d.addr, b, nil) }

// read reads n bytes that the part sends by itself.
func (d device) read(n int) ([]byte, error) {
	r := make([]byte, n)
	return r, d.bus.Tx(d.addr, nil, r)
}

// reg reads n bytes from a register on.
func (d device) reg(reg byte, n int) ([]byte, error) {
	r := make([]byte, n)
	return r, d.bus.Tx(d.addr, []byte{reg}, r)
}

// wantID checks that the right part answers.
func (d device) wantID(reg, id byte) error {
	v, err := d.reg(reg, 1)
	if err != nil {
		return fmt.Errorf("no %s answers at %#x: %w", d.part, d.addr, err)
	}
	if v[0] != id {
		return fmt.Errorf("at %#x answers a part with id %#02x, not a %s (%#02x)", d.addr, v[0], d.part, id)
	}
	return nil
}

// chipID makes an Identify that reads one register.
func chipID(reg byte, ids ...byte) func(i2c.Bus, uint16) bool {
	return func(bus i2c.Bus, addr uint16) bool {
		var v [1]byte
		if bus.Tx(addr, []byte{reg}, v[:]) != nil {
			return false
		}
		for _, id := range ids {
			if v[0] == id {
				return true
			}
		}
		return false
	}
}

// parts is a Probe made of functions; those that are nil do nothing.
type parts struct {
	start func(ctx context.Context) (time.Duration, error)
	read  func(ctx context.Context, emit func(Reading)) error
	close func() error
}

func (p *parts) Start(ctx context.Context) (time.Duration, error) {
	if p.start == nil {
		return 0, nil
	}
	return p.start(ctx)
}

func (p *parts) Read(ctx context.Context, emit func(Reading)) error { return p.read(ctx, emit) }

func (p *parts) Close() error {
	if p.close == nil {
		return nil
	}
	return p.close()
}

// sensing is what the library's environmental sensors have in common.
type sensing interface {
	Sense(*physic.Env) error
	Halt() error
}

// envProbe reads any of the library's environmental sensors. settle is how
// long a part needs after it was set up until its first value is one.
func envProbe(sense sensing, quantities []string, settle time.Duration) Probe {
	ready := time.Now().Add(settle)
	return &parts{
		start: func(context.Context) (time.Duration, error) { return time.Until(ready), nil },
		read: func(_ context.Context, emit func(Reading)) error {
			var e physic.Env
			if err := sense.Sense(&e); err != nil {
				return err
			}
			for _, q := range quantities {
				switch q {
				case "temperature":
					emit(Of(q, celsius(e.Temperature)))
				case "humidity":
					emit(Of(q, float64(e.Humidity)/float64(physic.PercentRH)))
				case "pressure":
					emit(Of(q, float64(e.Pressure)/float64(100*physic.Pascal)))
				}
			}
			return nil
		},
		close: sense.Halt,
	}
}

func celsius(t physic.Temperature) float64 {
	return float64(t-physic.ZeroCelsius) / float64(physic.Celsius)
}

// checked holds a probe's readings back until check has looked whether the
// part still is as it was set up: one whose supply dipped answers with values
// that look real.
func checked(p Probe, check func() error) Probe {
	s, _ := p.(Starter)
	out := &parts{close: p.Close, read: func(ctx context.Context, emit func(Reading)) error {
		var got []Reading
		if err := p.Read(ctx, func(r Reading) { got = append(got, r) }); err != nil {
			return err
		}
		if err := check(); err != nil {
			return err
		}
		for _, r := range got {
			emit(r)
		}
		return nil
	}}
	if s != nil {
		out.start = s.Start
	}
	return out
}

// errForgotten makes the scheduler open the part anew at once.
var errForgotten = errors.New("the part has forgotten its settings: did its supply dip?")

// errNotReady is Read's answer when a part that measures in its own rhythm has
// nothing new yet: it is asked again soon, and that is no failure.
var errNotReady = errors.New("no new measurement")

var errChecksum = errors.New("checksum of the answer is wrong")

// errOther says that another part answers.
func errOther(d device, id []byte) error {
	return fmt.Errorf("at %#x answers a part with id %x, not a %s", d.addr, id, d.part)
}

package sensors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ams AS3935 (Franklin): lightning within 40 km. It is asked, not waited for:
// an event stays in its register until it is read, so every: 1s loses none of
// a storm's. strikes counts since the part was opened; distance and energy
// come with a strike only.
//
// place is indoor or outdoor; noise (0 to 7), watchdog (0 to 10) and spikes (0
// to 11) make it less sensitive; tuning is the capacitance of its antenna (0
// to 15, 8 pF each, usually written on the module).
var driverAS3935 = Driver{
	Name: "as3935", Part: "ams AS3935", Bus: BusI2C, Addresses: []uint16{0x03, 0x01, 0x02},
	Quantities: []string{"strikes", "lightning_distance", "lightning_energy"},
	Options:    []string{"place", "noise", "watchdog", "spikes", "tuning"}, MinEvery: 100 * time.Millisecond,
	Open: openAS3935,
}

// Interrupt sources (datasheet figure 46).
const (
	as3935Noise     = 1
	as3935Disturber = 4
	as3935Lightning = 8
)

// as3935Kilometres are the distances that the part knows (figure 41), with 1
// for overhead; 0x3F is out of range.
var as3935Kilometres = []byte{40, 37, 34, 31, 27, 24, 20, 17, 14, 12, 10, 8, 6, 5, 1}

type as3935 struct {
	d       device
	setup   [2]byte // registers 0 and 1 as they are to be
	strikes int
}

func openAS3935(b Buses, p Params) (Probe, error) {
	d, err := p.device(b)
	if err != nil {
		return nil, err
	}
	level := map[string]byte{}
	for key, limit := range map[string]float64{"noise": 7, "watchdog": 10, "spikes": 11, "tuning": 15} {
		v, err := p.optNumber(key, map[string]float64{"noise": 2, "watchdog": 2, "spikes": 2}[key])
		if err != nil {
			return nil, err
		}
		if v < 0 || v > limit || v != float64(byte(v)) {
			return nil, fmt.Errorf("%s: %v is not a whole number from 0 to %v", key, v, limit)
		}
		level[key] = byte(v)
	}
	gain, ok := map[string]byte{"indoor": 0x12, "outdoor": 0x0E}[p.optText("place", "indoor")]
	if !ok {
		return nil, fmt.Errorf("place: %q is neither indoor nor outdoor", p.optText("place", ""))
	}
	a := &as3935{d: d, setup: [2]byte{gain << 1, level["noise"]<<4 | level["watchdog"]}}
	if err := d.write(0x3C, 0x96); err != nil { // defaults
		return nil, err
	}
	time.Sleep(2 * time.Millisecond)
	for _, w := range [][2]byte{{0x00, a.setup[0]}, {0x01, a.setup[1]}, {0x02, 0xC0 | level["spikes"]}, {0x03, 0x00}, {0x08, level["tuning"]}, {0x3D, 0x96}} {
		if err := d.write(w[0], w[1]); err != nil {
			return nil, err
		}
	}
	// Calibrating its oscillators takes the slow one on the pin for 2 ms (p. 36).
	if err := d.write(0x08, 0x20|level["tuning"]); err != nil {
		return nil, err
	}
	time.Sleep(2 * time.Millisecond)
	if err := d.write(0x08, level["tuning"]); err != nil {
		return nil, err
	}
	if err := a.stillSet(); err != nil {
		return nil, errors.New("no AS3935, or one whose oscillators cannot be calibrated")
	}
	return &parts{read: a.read, close: func() error { return d.write(0x00, a.setup[0]|1) }}, nil
}

// stillSet sees that the part has its settings and its calibration: a dip of
// the supply takes both.
func (a *as3935) stillSet() error {
	set, err := a.d.reg(0x00, 2)
	if err != nil {
		return err
	}
	done, err := a.d.reg(0x3A, 2)
	if err != nil {
		return err
	}
	if [2]byte(set) != a.setup || done[0]&0xC0 != 0x80 || done[1]&0xC0 != 0x80 {
		return errForgotten
	}
	return nil
}

func (a *as3935) read(_ context.Context, emit func(Reading)) error {
	cause, err := a.d.reg(0x03, 1) // reading clears it
	if err != nil {
		return err
	}
	var event [4]byte
	if cause[0]&0x0F == as3935Lightning {
		if event, err = a.event(); err != nil {
			return err
		}
	}
	if err := a.stillSet(); err != nil {
		return err
	}
	strikes := Of("strikes", float64(a.strikes))
	switch cause[0] & 0x0F {
	case 0, as3935Disturber:
	case as3935Noise:
		strikes.uncertain("too much noise: raise the option noise or move the antenna")
	case as3935Lightning:
		a.strikes++
		strikes.Value++
		distance := Of("lightning_distance", float64(event[3]&0x3F))
		if !slices.Contains(as3935Kilometres, event[3]&0x3F) {
			distance.bad("farther than 40 km, or not to be told")
		}
		emit(distance)
		emit(Of("lightning_energy", float64(uint32(event[2]&0x1F)<<16|uint32(event[1])<<8|uint32(event[0]))))
	default:
		return fmt.Errorf("the part gives %#x as what happened, which does not exist", cause[0]&0x0F)
	}
	emit(strikes)
	return nil
}

// event reads energy and distance of the last strike, twice: they hold still
// until the next, and carry no checksum.
func (a *as3935) event() (v [4]byte, err error) {
	first, err := a.d.reg(0x04, 4)
	if err != nil {
		return v, err
	}
	second, err := a.d.reg(0x04, 4)
	if err != nil {
		return v, err
	}
	if [4]byte(first) != [4]byte(second) {
		return v, errUnsteady
	}
	return [4]byte(first), nil
}

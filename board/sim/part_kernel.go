package sim

import (
	"fmt"
	"math"
)

// Parts that the kernel drives: they are files under /sys.

// kernelPart shows quantities as files of a device.
type kernelPart struct {
	w     *World
	dir   string
	name  string
	files []kernelFile
}

type kernelFile struct {
	file, quantity string
	factor         float64 // file = quantity · factor
}

// Files are made when they are read.
func (d *kernelPart) Files() map[string]func() []byte {
	m := map[string]func() []byte{d.dir + "/name": func() []byte { return []byte(d.name + "\n") }}
	for i, f := range d.files {
		m[d.dir+"/"+f.file] = func() []byte {
			if i == 0 {
				d.w.Sample()
			}
			return fmt.Appendf(nil, "%d\n", int64(math.Round(d.w.Value(f.quantity)*f.factor)))
		}
	}
	return m
}

// Aosong DHT22 behind the kernel's driver.
var kindDHT22 = Kind{Name: "dht22", DefaultBus: "sys", Signals: climate,
	New: func(w *World, _ Part) (any, error) {
		return &kernelPart{w, "bus/iio/devices/iio:device1", "dht11@4", []kernelFile{
			{"in_temp_input", "temperature", 1000}, {"in_humidityrelative_input", "humidity", 1000}}}, nil
	}}

// An iio converter: raw values with scale and offset.
var kindIIO = Kind{Name: "iio", DefaultBus: "sys", Signals: map[string]Signal{"temperature": {Base: 30, Swing: 2}, "pressure": climate["pressure"], "voltage_0": {Base: 1.1, Swing: 0.2}},
	New: func(w *World, _ Part) (any, error) {
		p := &kernelPart{w, "bus/iio/devices/iio:device0", "adc", []kernelFile{
			{"in_temp_input", "temperature", 1000}, {"in_pressure_input", "pressure", 0.1 * 1000}, {"in_voltage0_raw", "voltage_0", 8000}}}
		return sysFiles{p, map[string]func() []byte{
			p.dir + "/in_voltage_scale":  func() []byte { return []byte("0.125000000\n") },
			p.dir + "/in_pressure_input": func() []byte { return fmt.Appendf(nil, "%.5f\n", w.Value("pressure")/10) },
		}}, nil
	}}

// A hwmon chip.
var kindHwmon = Kind{Name: "hwmon", DefaultBus: "sys", Signals: map[string]Signal{"temperature": {Base: 40, Swing: 5}, "voltage": {Base: 5.05, Swing: 0.1}, "rotation": {Base: 1500, Swing: 200}},
	New: func(w *World, _ Part) (any, error) {
		return &kernelPart{w, "class/hwmon/hwmon0", "chip", []kernelFile{
			{"temp1_input", "temperature", 1000}, {"in0_input", "voltage", 1000}, {"fan1_input", "rotation", 1}}}, nil
	}}

// sysFiles adds files to a part, or replaces them.
type sysFiles struct {
	*kernelPart
	more map[string]func() []byte
}

func (s sysFiles) Files() map[string]func() []byte {
	m := s.kernelPart.Files()
	for k, v := range s.more {
		m[k] = v
	}
	return m
}

package sensors

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// Whatever the kernel drives by itself needs no code here: iio (DHT11 and
// DHT22, ADCs, light and gas sensors) and hwmon (temperatures, voltages, fans,
// power). device is the name the kernel gives, or its directory.
var driverIIO = Driver{
	Name: "iio", Part: "kernel iio device", Bus: BusSys,
	Quantities: []string{"temperature", "humidity", "pressure", "illuminance", "co2", "tvoc", "distance",
		"voltage_0", "voltage_1", "voltage_2", "voltage_3", "voltage_4", "voltage_5", "voltage_6", "voltage_7"},
	Options: []string{"device", "quantities"}, Emits: emitsNamed,
	Open: func(b Buses, p Params) (Probe, error) {
		return openSysfs(b, p, "bus/iio/devices/iio:device*", iioFiles)
	},
}

var driverHwmon = Driver{
	Name: "hwmon", Part: "kernel hwmon device", Bus: BusSys,
	Quantities: []string{"temperature", "humidity", "voltage", "current", "power", "energy", "rotation",
		"temperature_2", "temperature_3", "voltage_1", "voltage_2", "voltage_3", "rotation_2"},
	Options: []string{"device", "quantities"}, Emits: emitsNamed,
	Open: func(b Buses, p Params) (Probe, error) { return openSysfs(b, p, "class/hwmon/hwmon*", hwmonFiles) },
}

// DHT22 and DHT11 through the kernel's driver (dtoverlay=dht11,gpiopin=4),
// which times their bits; their checksum is checked there. Doubled and halved
// humidities pass it, so a jump is doubted until it is confirmed.
var driverDHT22 = Driver{
	Name: "dht22", Part: "Aosong DHT22", Bus: BusSys,
	Quantities: []string{"temperature", "humidity"}, Options: []string{"device"}, MinEvery: 2 * time.Second,
	Open: func(b Buses, p Params) (Probe, error) {
		if p.optText("device", "") == "" {
			p.Options = map[string]any{"device": "dht11"}
		}
		probe, err := openSysfs(b, p, "bus/iio/devices/iio:device*", iioFiles)
		if err != nil {
			return nil, err
		}
		jumps := map[string]*rate{"temperature": {limit: 2}, "humidity": {limit: 5}}
		return &parts{
			read: func(ctx context.Context, emit func(Reading)) error {
				return probe.Read(ctx, func(r Reading) {
					r.At = time.Now()
					jumps[r.Quantity].apply(&r)
					emit(r)
				})
			},
			close: probe.Close,
		}, nil
	},
}

// sysFile is one file of a device: what it measures and in which steps.
type sysFile struct {
	file, quantity string
	factor         float64
}

var iioFiles = []sysFile{
	{"in_temp_input", "temperature", 1e-3}, {"in_humidityrelative_input", "humidity", 1e-3}, {"in_pressure_input", "pressure", 10}, // kPa
	{"in_illuminance_input", "illuminance", 1}, {"in_illuminance0_input", "illuminance", 1},
	{"in_concentration_co2_input", "co2", 1e4}, {"in_concentration_voc_input", "tvoc", 1e7}, // percent
	{"in_distance_input", "distance", 1},
	{"in_temp_raw", "temperature", 1e-3}, {"in_humidityrelative_raw", "humidity", 1e-3}, {"in_pressure_raw", "pressure", 10},
	{"in_illuminance_raw", "illuminance", 1}, {"in_concentration_co2_raw", "co2", 1e4}, {"in_distance_raw", "distance", 1},
	{"in_voltage0_raw", "voltage_0", 1e-3}, {"in_voltage1_raw", "voltage_1", 1e-3}, {"in_voltage2_raw", "voltage_2", 1e-3},
	{"in_voltage3_raw", "voltage_3", 1e-3}, {"in_voltage4_raw", "voltage_4", 1e-3}, {"in_voltage5_raw", "voltage_5", 1e-3},
	{"in_voltage6_raw", "voltage_6", 1e-3}, {"in_voltage7_raw", "voltage_7", 1e-3},
}

var hwmonFiles = []sysFile{
	{"temp1_input", "temperature", 1e-3}, {"temp2_input", "temperature_2", 1e-3}, {"temp3_input", "temperature_3", 1e-3},
	{"humidity1_input", "humidity", 1e-3}, {"in0_input", "voltage", 1e-3}, {"in1_input", "voltage_1", 1e-3},
	{"in2_input", "voltage_2", 1e-3}, {"in3_input", "voltage_3", 1e-3}, {"curr1_input", "current", 1e-3},
	{"power1_input", "power", 1e-6}, {"energy1_input", "energy", 1.0 / 3.6e12}, {"fan1_input", "rotation", 1}, {"fan2_input", "rotation_2", 1},
}

// emitsNamed narrows by the option quantities.
func emitsNamed(p Params) []string {
	list, ok := p.Options["quantities"].([]any)
	if !ok {
		return p.driver.Quantities
	}
	var out []string
	for _, q := range list {
		if s := fmt.Sprint(q); slices.Contains(p.driver.Quantities, s) {
			out = append(out, s)
		}
	}
	return out
}

// openSysfs finds a device by its name and the files it has.
func openSysfs(b Buses, p Params, pattern string, files []sysFile) (Probe, error) {
	sys := b.Sys()
	dirs, err := fs.Glob(sys, pattern)
	if err != nil {
		return nil, err
	}
	want := p.optText("device", "")
	var names []string
	for _, dir := range dirs {
		name, _ := readText(sys, path.Join(dir, "name"))
		names = append(names, fmt.Sprintf("%s (%s)", path.Base(dir), name))
		if want != path.Base(dir) && want != name && !strings.HasPrefix(name, want+"@") && (want != "" || len(dirs) > 1) {
			continue
		}
		d := &sysDevice{sys: sys, dir: dir, name: name}
		d.find(files, emitsNamed(p))
		if len(d.files) == 0 {
			return nil, fmt.Errorf("%s (%s) shows nothing that is known here", path.Base(dir), name)
		}
		return d, nil
	}
	if len(names) == 0 {
		return nil, errors.New("the kernel drives no such device")
	}
	return nil, fmt.Errorf("no device %q; the kernel has %s", want, strings.Join(names, ", "))
}

type sysDevice struct {
	sys       fs.FS
	dir, name string
	files     []sysFile
}

// find keeps the first file of each quantity that is there.
func (d *sysDevice) find(files []sysFile, want []string) {
	have := map[string]bool{}
	for _, f := range files {
		if have[f.quantity] || !slices.Contains(want, f.quantity) {
			continue
		}
		if _, err := fs.Stat(d.sys, path.Join(d.dir, f.file)); err == nil {
			have[f.quantity] = true
			d.files = append(d.files, f)
		}
	}
}

func (d *sysDevice) Read(_ context.Context, emit func(Reading)) error {
	if name, err := readText(d.sys, path.Join(d.dir, "name")); err != nil || name != d.name {
		return errors.New("the device is gone")
	}
	for _, f := range d.files {
		v, err := readNumber(d.sys, path.Join(d.dir, f.file))
		if err != nil {
			return err
		}
		if base, ok := strings.CutSuffix(f.file, "_raw"); ok {
			v = (v + d.extra(base, "_offset", 0)) * d.extra(base, "_scale", 1)
		}
		emit(Of(f.quantity, v*f.factor))
	}
	return nil
}

// extra reads scale or offset of a channel, or what all channels of its type
// share (in_voltage_scale for in_voltage3).
func (d *sysDevice) extra(base, suffix string, def float64) float64 {
	for _, b := range []string{base, strings.TrimRight(base, "0123456789")} {
		if v, err := readNumber(d.sys, path.Join(d.dir, b+suffix)); err == nil {
			return v
		}
	}
	return def
}

func (d *sysDevice) Close() error { return nil }

package sensors_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"gatewayd/board/sim"
	"gatewayd/sensors"
)

// truth is what a part measures in a test, and how well its driver must find
// that; the tolerances are the parts' resolutions.
type truth struct {
	values    map[string]float64
	tolerance map[string]float64
	options   map[string]any
	bus       string
	address   string
	kind      string  // of the simulated part, where it is not the driver's name
	checked   bool    // its answers carry a checksum
	chance    float64 // of damage to an answer; zero: 0.2
	settle    time.Duration
	noPlug    bool // the kernel drives it: nothing to unplug here
}

func climateTruth(t, h, p float64) map[string]float64 {
	m := map[string]float64{"temperature": t}
	if h >= 0 {
		m["humidity"] = h
	}
	if p > 0 {
		m["pressure"] = p
	}
	return m
}

var (
	fine  = map[string]float64{"temperature": 0.011, "humidity": 0.011, "pressure": 0.02, "co2": 0.51, "eco2": 0.51, "tvoc": 0.51}
	tenth = map[string]float64{"temperature": 0.051, "humidity": 0.051, "pressure": 0.05}
	step  = map[string]float64{"temperature": 0.063}
)

// twoReads is the damage to answers that reading twice is tested with: a fifth of
// them would now and then be damaged twice at the same place.
const twoReads = 0.01

var truths = map[string][]truth{
	"bme280":  {{checked: true, chance: twoReads, values: climateTruth(-12.34, 78.9, 987.65), tolerance: map[string]float64{"temperature": 0.011, "humidity": 0.06, "pressure": 0.02}}},
	"bmp280":  {{checked: true, chance: twoReads, values: climateTruth(31.41, -1, 1041.2), tolerance: fine}},
	"bmp180":  {{checked: true, chance: twoReads, values: climateTruth(19.3, -1, 1008.77), tolerance: tenth}},
	"aht20":   {{values: climateTruth(-7.25, 33.3, 0), tolerance: fine, checked: true}},
	"am2320":  {{values: climateTruth(-9.7, 61.2, 0), tolerance: tenth, checked: true}, {values: climateTruth(24.1, 40.5, 0), tolerance: tenth, checked: true}},
	"hdc302x": {{values: climateTruth(-20.5, 12.5, 0), tolerance: fine, checked: true}},
	"sht3x":   {{values: climateTruth(66.6, 99.5, 0), tolerance: fine, checked: true}},
	"sht4x":   {{values: climateTruth(22.22, 44.4, 0), tolerance: fine, checked: true}},
	"mcp9808": {{checked: true, chance: twoReads, values: climateTruth(-11.0625, -1, 0), tolerance: step}, {values: climateTruth(101.5, -1, 0), tolerance: step}},
	"tmp102":  {{checked: true, chance: twoReads, values: climateTruth(-25.5, -1, 0), tolerance: step}, {values: climateTruth(23.4375, -1, 0), tolerance: step}},
	"lm75":    {{checked: true, chance: twoReads, values: climateTruth(-25.125, -1, 0), tolerance: step}, {values: climateTruth(27.875, -1, 0), tolerance: step}},
	"scd4x":   {{values: map[string]float64{"co2": 1234, "temperature": 20.5, "humidity": 55}, tolerance: fine, checked: true, settle: 6 * time.Second}},
	"sgp30":   {{values: map[string]float64{"eco2": 812, "tvoc": 97}, tolerance: fine, checked: true, settle: 16 * time.Second}},
	"ccs811":  {{values: map[string]float64{"eco2": 555, "tvoc": 33}, tolerance: fine}},
	"ds18b20": {{values: climateTruth(-55, -1, 0), tolerance: step, checked: true, bus: "w1-1"}, {values: climateTruth(84.9375, -1, 0), tolerance: step, checked: true, bus: "w1-1"}},
	"bme680": {{checked: true, chance: twoReads, values: map[string]float64{"temperature": -3.21, "humidity": 71.5, "pressure": 1021.37, "gas_resistance": 48000},
		tolerance: map[string]float64{"temperature": 0.006, "humidity": 0.01, "pressure": 0.02, "gas_resistance": 80}},
		{values: map[string]float64{"temperature": 30, "humidity": 40, "pressure": 980, "gas_resistance": 900000},
			tolerance: map[string]float64{"temperature": 0.006, "humidity": 0.01, "pressure": 0.02, "gas_resistance": 2000}}},
	"ens160": {{values: map[string]float64{"aqi": 3, "tvoc": 222, "eco2": 888}, tolerance: map[string]float64{"aqi": 0.1, "tvoc": 0.6, "eco2": 0.6},
		checked: true, chance: 0.03}}, // its sum is read apart from the data: damage to both can cancel out, which damage to one cannot
	"mhz19":    {{values: map[string]float64{"co2": 1501, "temperature": 27}, tolerance: fine, checked: true, bus: "ttyAMA0"}},
	"pms5003":  {{values: map[string]float64{"pm1": 7, "pm2_5": 13, "pm10": 21, "particles_0_3": 1300, "particles_2_5": 4}, tolerance: map[string]float64{}, checked: true, bus: "ttyAMA0"}},
	"bh1750":   {{checked: true, chance: twoReads, values: map[string]float64{"illuminance": 321.5}, tolerance: lux(0.3)}, {values: map[string]float64{"illuminance": 48000}, tolerance: lux(1)}},
	"tsl2561":  {{checked: true, chance: twoReads, values: map[string]float64{"illuminance": 250}, tolerance: lux(0.5)}, {values: map[string]float64{"illuminance": 12000}, tolerance: lux(5), settle: 5 * time.Second}},
	"veml7700": {{checked: true, chance: twoReads, values: map[string]float64{"illuminance": 2.5}, tolerance: lux(0.01), settle: 12 * time.Second}, {values: map[string]float64{"illuminance": 450}, tolerance: lux(0.4), settle: 5 * time.Second}, {values: map[string]float64{"illuminance": 60000}, tolerance: lux(40), settle: 5 * time.Second}},
	"veml6075": {{checked: true, chance: twoReads, values: map[string]float64{"uv_index": 6.4}, tolerance: map[string]float64{"uv_index": 0.02}}},
	"ads1115":  {{checked: true, chance: twoReads, values: map[string]float64{"voltage_0": -1.2345, "voltage_1": 0.01, "voltage_2": 3.3, "voltage_3": 4.0}, tolerance: volt(4, 0.0001)}, {values: map[string]float64{"voltage_3": 0.2001}, tolerance: volt(4, 0.00001), options: map[string]any{"range": 0.256, "channels": []any{3}}}},
	"ads1015":  {{checked: true, chance: twoReads, values: map[string]float64{"voltage_0": 1.2345, "voltage_1": 0.01, "voltage_2": 3.3, "voltage_3": 4.0}, tolerance: volt(4, 0.0011)}},
	"mcp3008":  {{values: map[string]float64{"voltage_0": 0, "voltage_3": 1.65, "voltage_7": 3.29}, tolerance: volt(8, 0.0033), bus: "spi0.0"}, {values: map[string]float64{"voltage_5": 4.5}, tolerance: volt(8, 0.005), bus: "spi0.0", options: map[string]any{"reference": 5.0, "channels": []any{5}}}},
	"mcp3208":  {{values: map[string]float64{"voltage_0": 0.1, "voltage_4": 2.2}, tolerance: volt(8, 0.0009), bus: "spi0.0"}},
	"ina219":   {{values: map[string]float64{"voltage": 11.484, "current": -1.25}, tolerance: map[string]float64{"voltage": 0.004, "current": 0.0003}}},
	"adxl345":  {{values: map[string]float64{"acceleration_x": -9.81, "acceleration_y": 1.5, "acceleration_z": 40}, tolerance: map[string]float64{"acceleration_x": 0.02, "acceleration_y": 0.02, "acceleration_z": 0.02}}},
	"mpu6050": {{values: map[string]float64{"acceleration_x": 9.81, "acceleration_z": -20, "angular_velocity_y": 90, "temperature": 31.2},
		tolerance: map[string]float64{"acceleration_x": 0.002, "acceleration_z": 0.002, "angular_velocity_y": 0.02, "temperature": 0.003}}},
	"tlv493d": {{values: map[string]float64{"magnetic_flux_x": -50.1, "magnetic_flux_y": 0.5, "magnetic_flux_z": 120, "temperature": 22},
		tolerance: map[string]float64{"magnetic_flux_x": 0.05, "magnetic_flux_y": 0.05, "magnetic_flux_z": 0.05, "temperature": 0.56}}},
	"as7262": {{values: map[string]float64{"light_450": 12.5, "light_650": 99.25, "temperature": 29},
		tolerance: map[string]float64{"light_450": 0.001, "light_650": 0.001, "temperature": 0.1}, settle: 2 * time.Second}},
	"as3935":  {{values: map[string]float64{"lightning_distance": 12, "lightning_energy": 345678}, tolerance: map[string]float64{"lightning_energy": 0.5}, settle: 12 * time.Second}},
	"cap1188": {{checked: true, chance: twoReads, values: map[string]float64{"touch_0": 1, "touch_1": 0, "touch_5": 1, "touch_7": 1}, tolerance: map[string]float64{}}},
	"hx711":   {{values: map[string]float64{"raw": -123456}, tolerance: map[string]float64{}, bus: "pins", options: map[string]any{"clock": "GPIO5", "data": "GPIO6", "scale": 420.5, "zero": 100}}},
	"hcsr04":  {{values: map[string]float64{"distance": 1.234}, tolerance: map[string]float64{"distance": 0.001}, bus: "pins", options: map[string]any{"trigger": "GPIO23", "echo": "GPIO24"}}},
	"dht22":   {{values: climateTruth(-4.5, 66.6, 0), tolerance: fine, bus: "sys", noPlug: true}},
	"iio":     {{values: map[string]float64{"temperature": 31.25, "pressure": 1003.4, "voltage_0": 1.2345}, tolerance: map[string]float64{"temperature": 0.001, "pressure": 0.001, "voltage_0": 0.0002}, bus: "sys", noPlug: true}},
	"hwmon":   {{values: map[string]float64{"temperature": 41.5, "voltage": 5.012, "rotation": 1234}, tolerance: map[string]float64{"temperature": 0.001, "voltage": 0.001}, bus: "sys", noPlug: true}},
	"board": {{kind: "-", values: map[string]float64{"load": 0.25, "memory_available": 600 << 20, "clock_synchronised": 1}, tolerance: map[string]float64{}, bus: "sys", noPlug: true},
		{kind: "-", values: map[string]float64{"under_voltage": 0, "disk_total": 32e9}, tolerance: map[string]float64{}, bus: "sys", noPlug: true,
			options: map[string]any{"quantities": []any{"under_voltage", "disk_total"}}}},
	"soc": {{kind: "-", values: climateTruth(61.25, -1, 0), tolerance: fine, bus: "sys", noPlug: true}},
}

func lux(v float64) map[string]float64 { return map[string]float64{"illuminance": v} }

func volt(n int, v float64) map[string]float64 {
	m := map[string]float64{}
	for i := range n {
		m[fmt.Sprint("voltage_", i)] = v
	}
	return m
}

// open makes a board with the part on it and a scheduler that reads it.
func (tr truth) open(t *testing.T, driver string, faults ...sim.Fault) *house {
	t.Helper()
	d, _ := sensors.FindDriver(driver)
	if tr.bus == "" {
		tr.bus = "i2c-1"
	}
	kind := tr.kind
	if kind == "" {
		kind = driver
	}
	so := sim.Options{Parts: []sim.Part{}}
	signals := map[string]sim.Signal{}
	for q, v := range tr.values {
		signals[q] = sim.Signal{Base: v}
	}
	if kind != "-" {
		so.Parts = append(so.Parts, sim.Part{Signals: signals, Kind: kind, Name: driver, Bus: tr.bus, Address: tr.address, Options: tr.options, Faults: faults})
	}
	every := max(d.MinEvery, time.Second)
	h := newHouse(t, so, sensors.Options{Probes: []sensors.ProbeConfig{{Name: "x", Driver: driver, Bus: tr.bus,
		Address: tr.address, Options: tr.options, Every: every}}})
	for q, v := range tr.values {
		if kind != "-" || driver == "board" {
			break
		}
		if err := h.board.Set(driver, q, v); err != nil {
			h.stop()
			t.Fatal(err)
		}
	}
	return h
}

// TestEveryDriverReadsItsSimulatedPart: what the part measures is what the
// driver reads, through the registers.
func TestEveryDriverReadsItsSimulatedPart(t *testing.T) {
	for _, d := range sensors.Drivers() {
		if len(truths[d.Name]) == 0 {
			t.Errorf("driver %s has no test: add it to truths", d.Name)
		}
		for i, tr := range truths[d.Name] {
			t.Run(fmt.Sprintf("%s/%d", d.Name, i), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := tr.open(t, d.Name)
					defer h.stop()
					time.Sleep(3*time.Second + tr.settle + d.MinEvery)
					st := h.sched.Snapshot()[0]
					if !st.Online {
						t.Fatalf("offline: %s", st.Reason)
					}
					if st.Errors > 0 {
						t.Errorf("%d turns failed", st.Errors)
					}
					tr.compare(t, st)
					for q := range tr.values {
						if !slices.ContainsFunc(st.Readings, func(r sensors.Reading) bool { return r.Quantity == q }) {
							t.Errorf("no %s was read", q)
						}
					}
				})
			})
		}
	}
}

// compare reports values that are published as usable and are wrong.
func (tr truth) compare(t *testing.T, st sensors.Status) {
	t.Helper()
	for _, r := range st.Readings {
		want, ok := tr.values[r.Quantity]
		if !ok {
			continue
		}
		tol := tr.tolerance[r.Quantity]
		if r.Quality == sensors.Bad || math.Abs(r.Value-want) > tol {
			t.Errorf("%s is %v (%v %s), the part measures %v", r.Quantity, r.Value, r.Quality, r.Reason, want)
		}
	}
}

// TestUnplugged: a part that is not there is offline, never a number; plugged
// in again it is read without a restart.
func TestUnplugged(t *testing.T) {
	for _, d := range sensors.Drivers() {
		for _, tr := range truths[d.Name][:min(1, len(truths[d.Name]))] {
			if tr.noPlug {
				continue
			}
			t.Run(d.Name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := tr.open(t, d.Name, sim.Fault{Kind: sim.FaultUnplug, After: 40 * time.Second, For: 2 * time.Minute})
					defer h.stop()
					time.Sleep(41 * time.Second)
					seen := st(h).Reads
					time.Sleep(40 * time.Second)
					if s := st(h); s.Online || s.Reads > seen+1 {
						t.Errorf("unplugged: online %v, %d readings", s.Online, s.Reads-seen)
					}
					time.Sleep(3 * time.Minute)
					if s := st(h); !s.Online {
						t.Errorf("plugged in again: offline, %s", s.Reason)
					}
				})
			})
		}
	}
}

func st(h *house) sensors.Status { return h.sched.Snapshot()[0] }

// TestFlippedBits: a part whose answers carry checksums never has a wrong
// value published as good, however many of its answers are damaged.
func TestFlippedBits(t *testing.T) {
	for _, d := range sensors.Drivers() {
		for _, tr := range truths[d.Name][:min(1, len(truths[d.Name]))] {
			if !tr.checked {
				continue
			}
			t.Run(d.Name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := tr.open(t, d.Name, sim.Fault{Kind: sim.FaultCRC, Chance: cmp.Or(tr.chance, 0.2), After: time.Millisecond})
					defer h.stop()
					time.Sleep(10 * time.Minute)
					good := 0
					h.sink.mu.Lock()
					defer h.sink.mu.Unlock()
					for _, m := range h.sink.messages {
						r := m.Reading
						if r == nil || r.Quality != sensors.Good {
							continue
						}
						good++
						if want, ok := tr.values[r.Quantity]; ok && math.Abs(r.Value-want) > tr.tolerance[r.Quantity] {
							t.Errorf("%s %v was published as good, the part measures %v", r.Quantity, r.Value, want)
						}
					}
					if good < 20 {
						t.Errorf("only %d good readings in ten minutes with a fifth of the answers damaged", good)
					}
				})
			})
		}
	}
}

// TestSupplyDips: a part that lost its supply for an instant has forgotten how
// it was set up, and nothing of that shows on the bus. What it answers then
// must not be published as good.
func TestSupplyDips(t *testing.T) {
	for _, d := range sensors.Drivers() {
		for _, tr := range truths[d.Name][:min(1, len(truths[d.Name]))] {
			if d.Bus != sensors.BusI2C && d.Bus != sensors.BusOneWire {
				continue
			}
			t.Run(d.Name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := tr.open(t, d.Name)
					defer h.stop()
					time.Sleep(20*time.Second + tr.settle)
					for i := range 40 { // at ever another moment of its turn
						if err := h.board.PowerCycle(d.Name); err != nil {
							t.Fatal(err)
						}
						time.Sleep(5*time.Second + 2*d.MinEvery + time.Duration(i)*7*time.Millisecond)
					}
					h.sink.mu.Lock()
					defer h.sink.mu.Unlock()
					for _, m := range h.sink.messages {
						r := m.Reading
						if r == nil || r.Quality != sensors.Good {
							continue
						}
						if want, ok := tr.values[r.Quantity]; ok && math.Abs(r.Value-want) > tr.tolerance[r.Quantity] {
							t.Errorf("%s %v was published as good, the part measures %v", r.Quantity, r.Value, want)
						}
					}
				})
			})
		}
	}
}

package sensors_test

import (
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
	kind      string // of the simulated part, where it is not the driver's name
	checked   bool   // its answers carry a checksum
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

var truths = map[string][]truth{
	"bme280":  {{values: climateTruth(-12.34, 78.9, 987.65), tolerance: map[string]float64{"temperature": 0.011, "humidity": 0.06, "pressure": 0.02}}},
	"bmp280":  {{values: climateTruth(31.41, -1, 1041.2), tolerance: fine}},
	"bmp180":  {{values: climateTruth(19.3, -1, 1008.77), tolerance: tenth}},
	"aht20":   {{values: climateTruth(-7.25, 33.3, 0), tolerance: fine, checked: true}},
	"am2320":  {{values: climateTruth(-9.7, 61.2, 0), tolerance: tenth, checked: true}, {values: climateTruth(24.1, 40.5, 0), tolerance: tenth, checked: true}},
	"hdc302x": {{values: climateTruth(-20.5, 12.5, 0), tolerance: fine, checked: true}},
	"sht3x":   {{values: climateTruth(66.6, 99.5, 0), tolerance: fine, checked: true}},
	"sht4x":   {{values: climateTruth(22.22, 44.4, 0), tolerance: fine, checked: true}},
	"mcp9808": {{values: climateTruth(-11.0625, -1, 0), tolerance: step}, {values: climateTruth(101.5, -1, 0), tolerance: step}},
	"tmp102":  {{values: climateTruth(-25.5, -1, 0), tolerance: step}, {values: climateTruth(23.4375, -1, 0), tolerance: step}},
	"lm75":    {{values: climateTruth(-25.125, -1, 0), tolerance: step}, {values: climateTruth(27.875, -1, 0), tolerance: step}},
	"scd4x":   {{values: map[string]float64{"co2": 1234, "temperature": 20.5, "humidity": 55}, tolerance: fine, checked: true, settle: 6 * time.Second}},
	"sgp30":   {{values: map[string]float64{"eco2": 812, "tvoc": 97}, tolerance: fine, checked: true, settle: 16 * time.Second}},
	"ccs811":  {{values: map[string]float64{"eco2": 555, "tvoc": 33}, tolerance: fine}},
	"ds18b20": {{values: climateTruth(-55, -1, 0), tolerance: step, checked: true, bus: "w1-1"}, {values: climateTruth(84.9375, -1, 0), tolerance: step, checked: true, bus: "w1-1"}},
	"soc":     {{kind: "-", values: climateTruth(61.25, -1, 0), tolerance: fine, bus: "sys", noPlug: true}},
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
	if kind != "-" {
		so.Parts = append(so.Parts, sim.Part{Kind: kind, Name: driver, Bus: tr.bus, Address: tr.address, Options: tr.options, Faults: faults})
	}
	every := max(d.MinEvery, time.Second)
	h := newHouse(t, so, sensors.Options{Probes: []sensors.ProbeConfig{{Name: "x", Driver: driver, Bus: tr.bus,
		Address: tr.address, Options: tr.options, Every: every}}})
	for q, v := range tr.values {
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
					h := tr.open(t, d.Name, sim.Fault{Kind: sim.FaultCRC, Chance: 0.2, After: time.Millisecond})
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
						if want := tr.values[r.Quantity]; math.Abs(r.Value-want) > tr.tolerance[r.Quantity] {
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

package sensors_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatewayd/board/sim"
	"gatewayd/sensors"
)

// judge is a broker that compares each reading with what its part measures.
type judge struct {
	truth map[string]truth // by driver, which is the sensor's name

	mu    sync.Mutex
	good  map[string]int
	other int // bad and uncertain
	wrong []string
	away  map[string]int // times offline
}

func (*judge) Subscribe(string, byte, func(sensors.Incoming)) (func(), error) { return func() {}, nil }

func (j *judge) Publish(_ context.Context, m sensors.Message) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := m.Reading
	switch {
	case r == nil && string(m.Payload) == "offline":
		j.away[m.Topic]++
	case r == nil:
	case r.Quality != sensors.Good:
		j.other++
	default:
		j.good[r.Probe]++
		tr := j.truth[r.Probe]
		if want, ok := tr.values[r.Quantity]; ok && math.Abs(r.Value-want) > tr.tolerance[r.Quantity] {
			j.wrong = append(j.wrong, fmt.Sprintf("%v %s: %s is %v, the part measures %v", r.At.Format("2 15:04:05"), r.Probe, r.Quantity, r.Value, want))
		}
	}
	return nil
}

// weekUnprotected are parts whose answers carry no checksum and cannot be read
// twice, as docs/SENSORS.md says: a flipped bit there is a value.
var weekUnprotected = map[string]bool{"ina219": true, "adxl345": true, "mpu6050": true, "ccs811": true, "as7262": true, "as3935": true, "tlv493d": true,
	"mcp3008": true, "mcp3208": true, "hx711": true, "hcsr04": true}

// A week of faults at a hundred times the natural rate: no crash, no goroutine
// left, no wrong value published as good, and everything online at the end.
// Natural is taken as: one transaction in ten thousand is not acknowledged, one
// answer in two hundred thousand has a wrong bit, and once a week a part is
// unplugged for 20 s, holds its bus for 30 s and is slow for 20 s. `make
// test-week` runs the whole week; plain go test its first two hours.
func TestAWeekOfFaults(t *testing.T) {
	length := 2 * time.Hour
	if os.Getenv("GATEWAYD_WEEK") != "" {
		length = 7 * 24 * time.Hour
	}
	synctest.Test(t, func(t *testing.T) {
		const week = 7 * 24 * time.Hour
		var so sim.Options
		so.Seed = 42
		j := &judge{truth: map[string]truth{}, good: map[string]int{}, away: map[string]int{}}
		o := sensors.Options{Sink: j}
		taken := map[string]bool{}
		for i, d := range sensors.Drivers() {
			tr := truths[d.Name][0]
			off := time.Duration(i) * 31 * time.Second
			faults := []sim.Fault{
				{Kind: sim.FaultNACK, Chance: 0.01, After: time.Second, For: length - 10*time.Minute},
				{Kind: sim.FaultUnplug, After: 20*time.Minute + off, For: 20 * time.Second, Every: week / 100},
				{Kind: sim.FaultSlow, Amount: 30, After: 70*time.Minute + off, For: 20 * time.Second, Every: week / 100},
			}
			if !weekUnprotected[d.Name] {
				faults = append(faults, sim.Fault{Kind: sim.FaultCRC, Chance: 0.0005, After: time.Second, For: length - 10*time.Minute})
			}
			name, kind := "", d.Name
			switch d.Bus {
			case sensors.BusI2C:
				for b := range 8 { // the first bus where nobody has its address
					addr := tr.address
					if addr == "" {
						addr = fmt.Sprintf("%#x", d.Addresses[0])
					}
					if name = fmt.Sprint("i2c-", b); !taken[name+addr] {
						taken[name+addr] = true
						break
					}
				}
				faults = append(faults, sim.Fault{Kind: sim.FaultHang, After: 45*time.Minute + off, For: 30 * time.Second, Every: week / 100})
			case sensors.BusSerial:
				name = map[string]string{"mhz19": "ttyAMA0", "pms5003": "ttyUSB0"}[d.Name]
			case sensors.BusSPI:
				name = map[string]string{"mcp3008": "spi0.0", "mcp3208": "spi0.1"}[d.Name]
			default:
				name = tr.bus
			}
			if tr.noPlug {
				faults = nil
			}
			options := tr.options
			if d.Name == "iio" {
				options = map[string]any{"device": "adc"} // beside the dht22's
			}
			signals := map[string]sim.Signal{}
			for q, v := range tr.values {
				signals[q] = sim.Signal{Base: v}
			}
			if tr.kind != "-" {
				so.Parts = append(so.Parts, sim.Part{Kind: kind, Name: d.Name, Bus: name, Address: tr.address, Options: tr.options, Signals: signals, Faults: faults})
			}
			j.truth[d.Name] = tr
			o.Probes = append(o.Probes, sensors.ProbeConfig{Name: d.Name, Driver: d.Name, Bus: name, Address: tr.address, Options: options, Every: 10 * time.Second})
		}
		h := newHouse(t, so, o)
		if err := h.board.Set("soc", "temperature", truths["soc"][0].values["temperature"]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(length)
		reads, turns, away := uint64(0), uint64(0), 0
		for _, st := range h.sched.Snapshot() {
			reads, turns = reads+st.Reads, turns+st.Errors
			if !st.Online {
				t.Errorf("%s is offline at the end: %s", st.Name, st.Reason)
			}
			all, least := uint64(length/(10*time.Second)), uint64(80)
			if st.Name == "as7262" {
				least = 30 // a reading is three hundred transactions: hardly one goes without a NACK
			}
			if st.Reads < all*least/100 {
				t.Errorf("%s: only %d readings of %d, %d failed turns", st.Name, st.Reads, all, st.Errors)
			}
			j.mu.Lock()
			good := j.good[st.Name]
			j.mu.Unlock()
			if j.truth[st.Name].values != nil && good == 0 {
				t.Logf("%s: nothing of it was good (uncertain by nature)", st.Name)
			}
		}
		h.stop()
		for _, n := range j.away {
			away += n
		}
		t.Logf("%v, %d sensors: %d readings, %d failed turns, %d times offline, %d values bad or uncertain", length, len(o.Probes), reads, turns, away, j.other)
		for i, w := range j.wrong {
			if i == 10 {
				t.Errorf("and %d more", len(j.wrong)-10)
				break
			}
			t.Errorf("published as good: %s", w)
		}
	})
	// Whatever goroutine of ours is left: this one is, and the runtime's own come and go.
	var left string
	for range 500 {
		var b strings.Builder
		if err := pprof.Lookup("goroutine").WriteTo(&b, 2); err != nil {
			t.Fatal(err)
		}
		left = ""
		for _, stack := range strings.Split(b.String(), "\n\n") {
			if strings.Contains(stack, "gatewayd/") && !strings.Contains(stack, "TestAWeekOfFaults(") {
				left += stack + "\n\n"
			}
		}
		if left == "" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if left != "" {
		t.Errorf("goroutines are left:\n%s", left)
	}
}

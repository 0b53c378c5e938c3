package sim

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// Signal is how a quantity moves: a slow wave around a base, with noise. It is
// counted in samples, not in seconds, so that runs repeat exactly.
type Signal struct {
	Base   float64
	Swing  float64 // amplitude of the wave
	Period float64 // samples per wave; zero: 360
	Noise  float64 // amplitude of what is random
}

// World is what one part can measure, and how it is disturbed. The bus and
// the part call it; tests and scripts change it meanwhile.
type World struct {
	name  string
	seed  uint64
	start time.Time

	mu      sync.Mutex // guards the fields below
	signals map[string]Signal
	faults  []Fault
	n       uint64 // samples taken
	tx      uint64 // transactions, for chances
	frozen  map[string]float64
	unplug  bool
	freed   time.Time // the last recovery of its bus
	dipped  bool      // its supply was away since the last transaction
}

func newWorld(name string, seed uint64, signals map[string]Signal, faults []Fault, start time.Time) *World {
	return &World{name: name, seed: seed, start: start, signals: signals, faults: faults, frozen: map[string]float64{}}
}

// Sample is one measurement: what Value gives is of this moment until the next.
func (w *World) Sample() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.activeLocked(FaultStuck, time.Now()) != nil {
		return
	}
	w.n++
}

// Value is a quantity at the last sample.
func (w *World) Value(quantity string) float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.signals[quantity]
	if !ok {
		return 0
	}
	period := s.Period
	if period == 0 {
		period = 360
	}
	h := mix(w.seed ^ hashText(quantity))
	phase := float64(h>>11) / (1 << 53)
	v := s.Base + s.Swing*math.Sin(2*math.Pi*(float64(w.n)/period+phase)) + s.Noise*w.noiseLocked(h)
	now := time.Now()
	if f := w.activeLocked(FaultDrift, now); f != nil {
		v += f.Amount * now.Sub(w.start.Add(f.After)).Hours()
	}
	if f := w.activeLocked(FaultNoise, now); f != nil {
		v += f.Amount * w.noiseLocked(h^0xF00)
	}
	return v
}

// noiseLocked is in -1 to 1, the same for the same sample.
func (w *World) noiseLocked(h uint64) float64 {
	return float64(mix(h+w.n*0x9E3779B97F4A7C15)>>11)/(1<<52) - 1
}

// Elapsed is the time since the board was made.
func (w *World) Elapsed() time.Duration { return time.Since(w.start) }

func (w *World) set(quantity string, v float64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.signals[quantity]; !ok {
		return fmt.Errorf("%s does not measure %q, only %s", w.name, quantity, keys(w.signals))
	}
	w.signals[quantity] = Signal{Base: v}
	return nil
}

func (w *World) plug(connected bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unplug = !connected
	w.dipped = w.dipped || !connected // even if nobody asked meanwhile
}

func (w *World) unplugged() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unplug || w.activeLocked(FaultUnplug, time.Now()) != nil
}

// mix is a step of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

func hashText(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

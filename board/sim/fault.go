package sim

import (
	"errors"
	"fmt"
	"time"
)

// FaultKind is a way to go wrong.
type FaultKind string

const (
	FaultNACK   FaultKind = "nack"   // the part does not acknowledge
	FaultCRC    FaultKind = "crc"    // one bit of an answer is flipped
	FaultStuck  FaultKind = "stuck"  // the same value for ever
	FaultDrift  FaultKind = "drift"  // Amount per hour
	FaultNoise  FaultKind = "noise"  // Amount either way
	FaultUnplug FaultKind = "unplug" // not there, and after it as freshly powered
	FaultSlow   FaultKind = "slow"   // Amount in ms more per transaction
	FaultHang   FaultKind = "hang"   // the part holds its bus: every transaction on it times out
)

// Fault is one scripted fault of a part.
type Fault struct {
	Kind   FaultKind
	After  time.Duration // since the board was made
	For    time.Duration // zero: for ever
	Every  time.Duration // again with that period; zero: once
	Chance float64       // per transaction while it lasts; zero: always
	Amount float64       // of drift, noise, slow
}

var (
	errNACK = errors.New("simulated i2c: remote I/O error")
	errHang = errors.New("simulated i2c: connection timed out")
)

// hangTime is how long the kernel waits for a bus that does not move.
const hangTime = time.Second

func (f Fault) check() error {
	switch f.Kind {
	case FaultNACK, FaultCRC, FaultStuck, FaultDrift, FaultNoise, FaultUnplug, FaultSlow, FaultHang:
	default:
		return fmt.Errorf("unknown fault %q; known: nack, crc, stuck, drift, noise, unplug, slow, hang", f.Kind)
	}
	if f.Chance < 0 || f.Chance > 1 {
		return fmt.Errorf("fault %s: chance %v is not between 0 and 1", f.Kind, f.Chance)
	}
	if f.Every > 0 && f.For == 0 {
		return fmt.Errorf("fault %s: every needs for", f.Kind)
	}
	return nil
}

// activeAt tells whether the fault's window is open.
func (f *Fault) activeAt(since time.Duration) bool {
	t := since - f.After
	if t < 0 {
		return false
	}
	if f.Every > 0 {
		t %= f.Every
	}
	return f.For == 0 || t < f.For
}

func (w *World) activeLocked(kind FaultKind, now time.Time) *Fault {
	for i := range w.faults {
		f := &w.faults[i]
		if f.Kind == kind && f.activeAt(now.Sub(w.start)) {
			return f
		}
	}
	return nil
}

// disturbance is what the faults do to one transaction.
type disturbance struct {
	absent bool // not there, or not acknowledging
	off    bool // without power
	dipped bool // its supply was away for an instant
	flip   bool
	slow   time.Duration
}

// disturb decides the faults of the next transaction.
func (w *World) disturb() disturbance {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.tx++
	d := disturbance{absent: w.unplug, off: w.unplug, dipped: w.dipped}
	w.dipped = false
	for i := range w.faults {
		f := &w.faults[i]
		if !f.activeAt(now.Sub(w.start)) {
			continue
		}
		if f.Chance > 0 && float64(mix(w.seed^uint64(i)<<40^w.tx)>>11)/(1<<53) >= f.Chance {
			continue
		}
		switch f.Kind {
		case FaultNACK:
			d.absent = true
		case FaultUnplug:
			d.absent, d.off = true, true
		case FaultCRC:
			d.flip = true
		case FaultSlow:
			d.slow += time.Duration(f.Amount * float64(time.Millisecond))
		}
	}
	return d
}

// holdsBus tells whether the part keeps its bus down now. A recovery of the
// bus frees it until the fault's next window.
func (w *World) holdsBus() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	f := w.activeLocked(FaultHang, now)
	if f == nil {
		return false
	}
	if w.freed.IsZero() {
		return true
	}
	if f.Every == 0 {
		return w.freed.Before(w.start.Add(f.After))
	}
	window := w.start.Add(f.After + (now.Sub(w.start)-f.After)/f.Every*f.Every)
	return w.freed.Before(window)
}

func (w *World) free() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.freed = time.Now()
}

// flipBit damages an answer, at a place that depends on how far the run is.
func (w *World) flipBit(r []byte) {
	if len(r) == 0 {
		return
	}
	w.mu.Lock()
	x := mix(w.seed ^ w.tx*31)
	w.mu.Unlock()
	r[x%uint64(len(r))] ^= 1 << (x >> 32 & 7)
}

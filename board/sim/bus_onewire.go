package sim

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"periph.io/x/conn/v3/onewire"
)

// oneWireBus is a simulated 1-wire bus: reset, presence, ROM commands and the
// search are the bus's; what follows the selection is the part's.
type oneWireBus struct {
	name string

	mu        sync.Mutex // guards the fields below
	parts     []*oneWireSlot
	searching []bool // parts still in the running search
	bit       int
}

type oneWireSlot struct {
	part  OneWirePart
	world *World
	gone  bool
	off   bool
}

// noPresence is what a reset finds on an empty bus.
type noPresence string

func (e noPresence) Error() string   { return string(e) }
func (e noPresence) NoDevices() bool { return true }
func (e noPresence) BusError() bool  { return true }

func (b *oneWireBus) attach(p OneWirePart, w *World) error {
	for _, s := range b.parts {
		if s.part.ROM() == p.ROM() {
			return fmt.Errorf("%s: two parts with address %#x", b.name, p.ROM())
		}
	}
	b.parts = append(b.parts, &oneWireSlot{part: p, world: w})
	return nil
}

func (b *oneWireBus) String() string { return b.name }

// Tx resets the bus, writes w and reads r.
func (b *oneWireBus) Tx(w, r []byte, _ onewire.Pullup) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var here []*oneWireSlot
	flip := false
	for _, s := range b.parts {
		if s.world.holdsBus() {
			time.Sleep(hangTime)
			return noPresence("simulated 1-wire: the bus is held low")
		}
		d := s.world.disturb()
		if d.slow > 0 {
			time.Sleep(d.slow)
		}
		if d.absent {
			s.gone, s.off = true, s.off || d.off
			continue
		}
		if p, ok := s.part.(Resetter); ok && (d.dipped || s.off) {
			p.Reset()
		}
		s.gone, s.off = false, false
		flip = flip || d.flip
		here = append(here, s)
	}
	if len(here) == 0 {
		return noPresence("simulated 1-wire: no presence pulse")
	}
	for i := range r {
		r[i] = 0xff // nobody pulls the wire down
	}
	if len(w) == 0 {
		return nil
	}
	switch w[0] {
	case 0xF0: // search ROM: triplets follow
		b.searching, b.bit = make([]bool, len(b.parts)), 0
		for i, s := range b.parts {
			b.searching[i] = !s.gone
		}
		return nil
	case 0x55: // match ROM
		if len(w) < 9 {
			return nil
		}
		rom := binary.LittleEndian.Uint64(w[1:])
		for _, s := range here {
			if s.part.ROM() == rom {
				s.part.Do(w[9:], r)
				if flip {
					s.world.flipBit(r)
				}
			}
		}
	case 0xCC: // skip ROM: all at once, and what they send is a wired and
		tmp := make([]byte, len(r))
		for _, s := range here {
			for i := range tmp {
				tmp[i] = 0xff
			}
			s.part.Do(w[1:], tmp)
			for i := range r {
				r[i] &= tmp[i]
			}
		}
	case 0x33: // read ROM: good for a single part
		rom := uint64(1<<64 - 1)
		for _, s := range here {
			rom &= s.part.ROM()
		}
		for i := range min(len(r), 8) {
			r[i] = byte(rom >> (8 * i))
		}
	}
	return nil
}

// SearchTriplet is one step of the search.
func (b *oneWireBus) SearchTriplet(direction byte) (onewire.TripletResult, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var t onewire.TripletResult
	for i, s := range b.parts {
		if i < len(b.searching) && b.searching[i] {
			if s.part.ROM()>>b.bit&1 == 0 {
				t.GotZero = true
			} else {
				t.GotOne = true
			}
		}
	}
	switch {
	case t.GotZero && t.GotOne:
		t.Taken = direction
	case t.GotOne:
		t.Taken = 1
	}
	for i, s := range b.parts {
		if i < len(b.searching) && b.searching[i] && byte(s.part.ROM()>>b.bit&1) != t.Taken {
			b.searching[i] = false
		}
	}
	b.bit++
	return t, nil
}

// Search finds all parts.
func (b *oneWireBus) Search(alarmOnly bool) ([]onewire.Address, error) {
	return onewire.Search(b, alarmOnly)
}

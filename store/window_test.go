package store

import (
	"math/rand/v2"
	"testing"
)

// sizes notes the largest record that is written.
type sizes struct {
	backend
	largest int
}

func (b *sizes) write(w *writes) error {
	for i := range w.list {
		b.largest = max(b.largest, len(w.list[i].value))
	}
	return b.backend.write(w)
}

// TestWidestWindow: as many packet ids as a session may have are held, and in
// flight; their records stay below what badger's log takes, and come back.
func TestWidestWindow(t *testing.T) {
	const each = 256
	var seen *sizes
	dir := t.TempDir()
	s, stop := running(t, dir, Options{wrap: func(b backend) backend { seen = &sizes{backend: b}; return seen }})
	a := newSession(t, s, "a")
	s.mu.Lock()
	s.nextMessage = 1 << 40 // long in use: ids take most bytes
	s.mu.Unlock()
	for first := 0; first < MaxWindow+each; first += each { // the broker binds a little beyond the window
		var b Batch
		for i := range each {
			pid := uint16(65535 - first - i)
			if first < MaxWindow {
				b.Hold(a, pid, ^uint64(pid))
			}
			b.AddMessage(message("t", "x"), []Recipient{{Session: a, QoS: 2, PacketID: pid, Sent: true}})
		}
		submit(t, s, &b)
	}
	if seen.largest >= int(s.tune.threshold) {
		t.Errorf("a record has %d bytes, the log takes less than %d", seen.largest, s.tune.threshold)
	}
	stop()
	s, _ = running(t, dir, Options{})
	holds, flights := 0, 0
	if err := s.Load(Loader{
		Hold:   func(SessionID, uint16, uint64) error { holds++; return nil },
		Flight: func(SessionID, Flight) error { flights++; return nil },
	}); err != nil {
		t.Fatal(err)
	}
	if holds != MaxWindow || flights != MaxWindow+each {
		t.Errorf("%d holds, %d flights", holds, flights)
	}
	check(t, s)
}

// TestFlightIDs holds the packet ids in flight against a plain list, few and
// many.
func TestFlightIDs(t *testing.T) {
	for _, most := range []int{10, 1000} {
		r := rand.New(rand.NewPCG(7, uint64(most)))
		ss := &session{}
		model := map[uint16]MessageID{}
		for n := range 20_000 {
			pid := uint16(r.IntN(3 * most))
			if _, ok := model[pid]; r.IntN(2) == 0 && (ok || len(model) < most) {
				ss.bind(pid, MessageID(n))
				model[pid] = MessageID(n)
			} else if i := ss.flight(pid); i >= 0 {
				ss.unbind(i)
				delete(model, pid)
			}
			probe := uint16(r.IntN(3 * most))
			i := ss.flight(probe)
			if id, ok := model[probe]; ok != (i >= 0) || ok && ss.flights[i] != (flight{pid: probe, id: id}) {
				t.Fatalf("packet id %d is found at %d, and is there: %v", probe, i, ok)
			}
			if len(ss.flights) != len(model) {
				t.Fatalf("%d in flight, not %d", len(ss.flights), len(model))
			}
		}
	}
}

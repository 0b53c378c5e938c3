package broker

import (
	"math/rand/v2"
	"slices"
	"testing"

	"gatewayd/mqtt"
	"gatewayd/store"
)

// TestFlight holds what is in flight against a plain list: packet ids are found
// wherever they are, few and many, and none is given twice.
func TestFlight(t *testing.T) {
	for _, most := range []int{5, 2000} {
		r := rand.New(rand.NewPCG(5, uint64(most)))
		f := &outflow{nextPID: 65000}
		var model []mqtt.PacketID
		check := func() {
			t.Helper()
			if len(f.flight) != len(model) {
				t.Fatalf("%d in flight, not %d", len(f.flight), len(model))
			}
			if lead := f.flight[:f.lead]; slices.ContainsFunc(lead, func(d delivery) bool { return !d.wire }) {
				t.Fatal("what is said to be sent was not")
			}
		}
		for range 30_000 {
			switch k := r.IntN(10); {
			case k < 5 && len(model) < most:
				pid := f.packetIDLocked()
				if slices.Contains(model, pid) {
					t.Fatalf("packet id %d is given twice", pid)
				}
				f.addLocked(&delivery{pid: pid, qos: 1})
				f.idle++
				model = append(model, pid)
			case k < 6 && len(model) > 0: // any of them
				i := r.IntN(len(model))
				f.dropLocked(i)
				model = slices.Delete(slices.Clone(model), i, i+1)
			case k < 9 && len(model) > 0: // an acknowledgement in the middle, and those that follow
				i := r.IntN(len(model))
				for n := 0; n < 5 && i < len(model); n++ {
					if at := f.findLocked(model[i]); at != i {
						t.Fatalf("packet id %d is found at %d, not %d", model[i], at, i)
					}
					if n%2 == 0 {
						i++
						continue
					}
					f.dropLocked(i)
					model = slices.Delete(slices.Clone(model), i, i+1)
				}
			case len(model) > 0: // sent on the connection, as sendLaneLocked does
				f.flight[r.IntN(len(model))].wire = true
				for f.lead < len(f.flight) && f.flight[f.lead].wire {
					f.lead++
				}
			}
			if at := f.findLocked(64999); at >= 0 && model[at] != 64999 {
				t.Fatal("a packet id is found that is not there")
			}
			check()
		}
	}
}

// BenchmarkWideWindow is a window of 60,000 that is full: one delivery is
// acknowledged, the next goes out.
func BenchmarkWideWindow(b *testing.B) {
	f := &outflow{nextPID: 1}
	for range 60_000 {
		f.addLocked(&delivery{pid: f.packetIDLocked(), qos: 1, wire: true})
	}
	for b.Loop() {
		f.dropLocked(f.findLocked(f.flight[0].pid))
		f.addLocked(&delivery{pid: f.packetIDLocked(), qos: 1, wire: true})
		f.acked = append(f.acked, ackedDelivery{id: store.MessageID(b.N)})
		f.submittedLocked(store.MessageID(b.N))
	}
}

package broker

import (
	"math/rand/v2"
	"testing"

	"gatewayd/mqtt"
)

// TestHolds does the same to holds and to a map, below and above the number
// that is kept in a row.
func TestHolds(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, ids := range []int{1, 20, fewHolds, fewHolds + 1, 500} {
		var hs holds
		want := map[mqtt.PacketID]hold{}
		for step := range 20_000 {
			pid := mqtt.PacketID(rnd.IntN(ids) + 1)
			switch adds := step%2_000 < 1_000; { // fills up, then empties
			case rnd.IntN(4) > 0 == adds:
				h := hold{digest: rnd.Uint64(), state: holdDone}
				hs.put(pid, h)
				want[pid] = h
			default:
				hs.drop(pid)
				delete(want, pid)
			}
			got, held := hs.get(pid)
			if h, ok := want[pid]; got != h || held != ok || hs.len() != len(want) {
				t.Fatalf("of %d ids, step %d: %v %v of %d, want %v %v of %d", ids, step, got, held, hs.len(), h, ok, len(want))
			}
		}
		hs.each(func(pid mqtt.PacketID, h hold) {
			if want[pid] != h {
				t.Errorf("of %d ids: %d is %v, want %v", ids, pid, h, want[pid])
			}
			delete(want, pid)
		})
		if len(want) > 0 {
			t.Errorf("of %d ids, not seen: %v", ids, want)
		}
	}
}

package mqtt

import (
	"slices"
	"testing"
)

// TestConnackOrder sees that the order of CONNACK's properties names each of
// them once: one that is missing would never be sent.
func TestConnackOrder(t *testing.T) {
	var want []PropertyID
	for id := PropPayloadFormat; id <= maxProperty; id++ {
		if propertyTable[id].in.has(CONNACK) {
			want = append(want, id)
		}
	}
	got := slices.Clone(connackOrder[:])
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("connackOrder has %v, CONNACK may carry %v", got, want)
	}
}

package broker

import (
	"strings"
	"testing"
)

// A digest must differ wherever two messages do, whatever the place in the
// eight bytes of a step.
func TestDigest(t *testing.T) {
	seen := map[uint64]string{}
	note := func(topic string, payload []byte) {
		t.Helper()
		d, what := digest(topic, payload, 0), topic+"\x00"+string(payload)
		if old, ok := seen[d]; ok && old != what {
			t.Errorf("%q and %q have one digest", old, what)
		}
		seen[d] = what
	}
	for _, n := range []int{0, 1, 7, 8, 9, 16, 23, 256, 1024, 1025} {
		p := make([]byte, n)
		note("a", p)
		note("b", p)
		for i := range min(n, 1024) {
			for bit := range 8 {
				p[i] ^= 1 << bit
				note("a", p)
				p[i] ^= 1 << bit
			}
		}
	}
}

// A payload that is elsewhere but for its beginning has the digest of the whole.
func TestDigestOfBeginning(t *testing.T) {
	p := []byte(strings.Repeat("0123456789", 500))
	if digest("a", p, 0) != digest("a", p[:digestBytes], len(p)-digestBytes) {
		t.Error("the digest needs more than the beginning")
	}
	if digest("a", p, 0) == digest("a", p[:digestBytes], len(p)-digestBytes+1) {
		t.Error("the digest does not see the length")
	}
}

func BenchmarkDigest(b *testing.B) {
	p := make([]byte, 256)
	for b.Loop() {
		digest("bench/queue/1", p, 0)
	}
}

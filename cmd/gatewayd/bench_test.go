package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestHistogram holds the quantiles against a sorted list: never too short, and
// at most a step of one sixteenth too long.
func TestHistogram(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{1, 2, 100, 20_000} {
		var a, b histogram
		var all []time.Duration
		for i := range n {
			d := time.Duration(math.Exp(r.Float64() * 24)) // up to 26 s
			all = append(all, d)
			if i%3 == 0 {
				a.record(d)
			} else {
				b.record(d)
			}
		}
		a.add(&b)
		slices.Sort(all)
		for _, q := range []float64{0.01, 0.5, 0.99, 1} {
			exact := all[min(n-1, max(0, int(q*float64(n)+0.5)-1))]
			if have := a.quantile(q); have < exact || float64(have) > float64(exact)*17/16+1 {
				t.Errorf("of %d, quantile %g is %v instead of %v", n, q, have, exact)
			}
		}
		if a.longest != all[n-1] {
			t.Errorf("longest is %v instead of %v", a.longest, all[n-1])
		}
	}
	for _, d := range []time.Duration{0, 1, 15, 16, 17, 31, 32, 1000, math.MaxInt64} {
		if s := step(d); floor(s) > d || s+1 < len(histogram{}.counts) && floor(s+1) <= d && floor(s+1) > 0 {
			t.Errorf("%d is in step %d from %d to %d", d, s, floor(s), floor(s+1))
		}
	}
}

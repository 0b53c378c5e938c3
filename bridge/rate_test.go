package bridge

import (
	"math"
	"testing"
	"time"
)

func TestRates(t *testing.T) {
	var r rates
	at := time.Unix(1000, 0)
	if out, in := r.at(at, 7, 7); out != 0 || in != 0 {
		t.Errorf("at first %v, %v", out, in)
	}
	for s := 1; s <= 60; s++ { // 100 a second out, 10 in, looked at every second
		at = at.Add(time.Second)
		out, in := r.at(at, 7+uint64(100*s), 7+uint64(10*s))
		if math.Abs(out-100) > 0.01 || math.Abs(in-10) > 0.01 {
			t.Fatalf("after %d s: %v, %v", s, out, in)
		}
	}
	for range 12 { // it stops
		at = at.Add(time.Second)
		r.at(at, 6007, 607)
	}
	if out, in := r.at(at, 6007, 607); out != 0 || in != 0 {
		t.Errorf("standing still: %v, %v", out, in)
	}
}

//go:build faulthook

package faulthook

import "testing"

func TestPassings(t *testing.T) {
	for _, tc := range []struct {
		fault string
		want  int // call of the sequence below that kills; 0: none
	}{
		{"", 0},
		{"a", 1},
		{"a:2", 3},
		{"a@one", 1},
		{"a@two", 3},
		{"a@two:2", 0},
		{"b", 2},
		{"late", 5},
		{"c", 0},
	} {
		chosen = parse(tc.fault)
		clear(armed.of)
		call, killed := 0, 0
		kill = func(step string) { killed = call }
		turn := new(int)
		for _, do := range []func(){
			func() { At("a", "one") },
			func() { At("b", "one") },
			func() { At("a", "two") },
			func() { After(turn, "late", "one") },
			func() { Reached(turn) },
		} {
			call++
			do()
		}
		if killed != tc.want {
			t.Errorf("%q killed at call %d, want %d", tc.fault, killed, tc.want)
		}
	}
}

package main

import (
	"slices"
	"testing"
)

func TestGate(t *testing.T) {
	var g gate
	var passed []int
	come := func(n int) { g.pass(func() { passed = append(passed, n) }) }
	come(1)
	g.close()
	come(2)
	g.close() // a second reload before the first is over
	come(3)
	g.open()
	if !slices.Equal(passed, []int{1}) {
		t.Errorf("passed %v while it is shut", passed)
	}
	g.open()
	come(4)
	if !slices.Equal(passed, []int{1, 2, 3, 4}) {
		t.Errorf("passed %v", passed)
	}
}

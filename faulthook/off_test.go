//go:build !faulthook

package faulthook

import (
	"os"
	"os/exec"
	"testing"
)

// TestTagged runs the tests of the build that kills.
func TestTagged(t *testing.T) {
	if Enabled {
		t.Fatal("enabled without its build tag")
	}
	cmd := exec.Command("go", "test", "-count=1", "-tags", "faulthook", ".")
	cmd.Env = os.Environ()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

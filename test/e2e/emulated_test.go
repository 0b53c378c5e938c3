package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/test/peer"
)

// TestEmulated runs the binaries for ARM boards through the main job: sensor → broker → store → bridge → centre, stopped
// and started again.
func TestEmulated(t *testing.T) {
	for _, tc := range []struct {
		name, emulator string
		env            []string
	}{
		{"arm64", "qemu-aarch64-static", []string{"GOARCH=arm64"}},
		{"armv7", "qemu-arm-static", []string{"GOARCH=arm", "GOARM=7"}},
		{"armv6", "qemu-arm-static", []string{"GOARCH=arm", "GOARM=6"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() {
				t.Skip("builds for another machine")
			}
			emulator, err := exec.LookPath(tc.emulator)
			if err != nil {
				t.Skipf("%s is not installed (apt-get install qemu-user-static)", tc.emulator)
			}
			runner := []string{emulator}
			if tc.name == "armv6" {
				runner = append(runner, "-cpu", "arm1176")
			}
			bin := cross(t, tc.env)
			c := newCentre(t, "")
			there := subscribe(t, c.port, "-q", "2", "-t", "myhouse/room1/temperature")
			g := newGateway(t, simulated+"bridges:\n"+example("centre", c.addr))
			g.bin, g.runner, g.limit = bin, runner, 90*time.Second
			g.start()
			here := subscribe(t, g.port, "-q", "2", "-t", "sensor/room1/temperature")
			wholeTrip(t, here, there, 5)

			// A persistent session's message outlives the process.
			subscribe(t, g.port, "-c", "-i", "sleeper", "-q", "2", "-t", "keep/#", "-E")
			publish(t, g.port, "-q", "2", "-t", "keep/this", "-m", "safe")
			g.p.Kill()
			g.verify()
			g.start()
			subscribe(t, g.port, "-c", "-i", "sleeper", "-q", "2", "-t", "keep/#").want("keep/this safe")
			g.stop()
			g.verify()
		})
	}
}

// cross builds gatewayd for another machine as scripts/cross.sh does.
func cross(t *testing.T, env []string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "gatewayd")
	text, err := exec.Command(filepath.Join(peer.Root(), "scripts", "badger-overlay.sh")).Output()
	if err != nil {
		t.Fatalf("scripts/badger-overlay.sh: %v", err)
	}
	args := []string{"build", "-trimpath", "-modfile", strings.TrimSpace(string(text)), "-o", out}
	cmd := exec.Command("go", append(args, "./cmd/gatewayd")...)
	cmd.Dir = peer.Root()
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux"), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", env, err, text)
	}
	return out
}

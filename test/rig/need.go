package rig

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Root is the repository's root folder.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Enabled skips a test which needs a rig unless GATEWAYD_RIGS is set: rigs
// take minutes of both cores, so plain `go test` leaves them out.
func Enabled(t testing.TB, target string) {
	t.Helper()
	if os.Getenv("GATEWAYD_RIGS") == "" {
		t.Skipf("runs with `make %s` (GATEWAYD_RIGS=1): it boots an emulated board", target)
	}
}

// Need skips the test when a program is missing.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := LookPath(p); err != nil {
			t.Skipf("%s is not installed (scripts/setup-debian.sh rigs installs it)", p)
		}
	}
}

// LookPath finds a program, also where only root's PATH would.
func LookPath(program string) (string, error) {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if path := filepath.Join(dir, program); exec.Command("test", "-x", path).Run() == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", program, exec.ErrNotFound)
}

// Kernel is the folder with the guest kernel of a board kind, "arm64" or
// "armmp" (see scripts/guest-kernel.sh). The test is skipped where it cannot be
// had.
func Kernel(t testing.TB, kind string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(Root(), "scripts", "guest-kernel.sh"), kind)
	var out, why bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &why
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 3 {
		t.Skipf("no guest kernel: %s", lastLine(why.String()))
	}
	if err != nil {
		t.Fatalf("guest-kernel.sh %s: %v\n%s", kind, err, why.String())
	}
	return strings.TrimSpace(out.String())
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// Build compiles a main package for linux on goarch ("arm64", "arm" for ARMv7)
// and returns the file. module is the folder of its module, pkg its import
// path there.
func Build(t testing.TB, module, pkg, goarch string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(pkg)+"-"+goarch)
	args := []string{"build", "-trimpath", "-ldflags", "-s -w", "-o", out}
	if corrected := filepath.Join(Root(), "scripts", "badger-overlay.sh"); module == Root() {
		file, err := exec.Command(corrected).Output() // a go.mod; docs/decisions/0002
		if err != nil {
			t.Fatalf("%s: %v", corrected, err)
		}
		args = append(args, "-modfile", strings.TrimSpace(string(file)))
	}
	cmd := exec.Command("go", append(args, pkg)...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+goarch, "GOARM=7")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s for %s: %v\n%s", pkg, goarch, err, msg)
	}
	return out
}

// Gatewayd is gatewayd built for goarch, or the file GATEWAYD_<GOARCH> names.
func Gatewayd(t testing.TB, goarch string) string {
	t.Helper()
	if file := os.Getenv("GATEWAYD_" + strings.ToUpper(goarch)); file != "" {
		return file
	}
	return Build(t, Root(), "./cmd/gatewayd", goarch)
}

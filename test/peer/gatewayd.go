package peer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// root is the folder of the main module, seen from this file.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Root is the folder of the main module.
func Root() string { return root() }

var built struct {
	sync.Mutex
	path string
	dir  string
	err  error
}

// Gatewayd builds gatewayd once and returns the binary's path. GATEWAYD_BIN names a binary to use instead.
func Gatewayd() (string, error) {
	if p := os.Getenv("GATEWAYD_BIN"); p != "" {
		return filepath.Abs(p)
	}
	built.Lock()
	defer built.Unlock()
	if built.path != "" || built.err != nil {
		return built.path, built.err
	}
	built.dir, built.err = os.MkdirTemp("", "gatewayd-bin-")
	if built.err != nil {
		return "", built.err
	}
	path := filepath.Join(built.dir, "gatewayd")
	if built.err = Build(path); built.err != nil {
		return "", built.err
	}
	built.path = path
	return path, nil
}

// Build compiles gatewayd into the file out as it is shipped, with the
// corrections to its database; more are flags of go build.
func Build(out string, more ...string) error {
	text, err := exec.Command(filepath.Join(root(), "scripts", "badger-overlay.sh")).Output()
	if err != nil {
		return fmt.Errorf("scripts/badger-overlay.sh: %w", err)
	}
	args := append([]string{"build", "-modfile", strings.TrimSpace(string(text)), "-o", out}, more...)
	cmd := exec.Command("go", append(args, "./cmd/gatewayd")...)
	cmd.Dir = root()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build gatewayd: %w\n%s", err, text)
	}
	return nil
}

// RemoveBuilt removes what Gatewayd built.
func RemoveBuilt() {
	built.Lock()
	defer built.Unlock()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	built.path, built.dir = "", ""
}

// GatewaydVersion is what `gatewayd version` prints, on one line.
func GatewaydVersion(bin string) string {
	out, err := exec.Command(bin, "version").CombinedOutput()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

// StartGatewayd runs `bin run -c config` with the given configuration text, whose first listener is addr. It is not waited for.
func StartGatewayd(bin, dir, addr, config string, args ...string) (*Process, error) {
	file := filepath.Join(dir, "gatewayd.yaml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return nil, err
	}
	argv := append([]string{bin, "run", "-c", file}, args...)
	return Start("gatewayd", addr, filepath.Join(dir, "gatewayd.log"), argv...)
}

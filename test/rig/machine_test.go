package rig

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// console runs a shell script in place of QEMU.
func console(t *testing.T, script string) (*Machine, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return Start(t, "sh", "-c", script), ctx
}

func TestConsoleIsFollowed(t *testing.T) {
	m, ctx := console(t, `echo "@guest exit verify 3: x"; while read -r l; do echo "@guest did $l"; done`)
	if code, err := m.ExitCode(ctx, "verify"); err != nil || code != 3 {
		t.Errorf("exit code %d, %v", code, err)
	}
	if err := m.Type(ctx, "i2c 0 112 1"); err != nil {
		t.Error(err)
	}
	m.Cut()
	if _, err := m.Wait(ctx, "never"); err == nil || !strings.Contains(err.Error(), "QEMU ended") {
		t.Errorf("after the cut Wait said %v", err)
	}
}

func TestGuestsFailureEndsTheWait(t *testing.T) {
	m, ctx := console(t, `echo "@guest failed disk: bad"; exec sleep 60`)
	if _, err := m.Wait(ctx, "@guest ready"); err == nil || !strings.Contains(err.Error(), "disk: bad") {
		t.Errorf("Wait said %v", err)
	}
}

func TestDeadProgramEndsDial(t *testing.T) {
	m, ctx := console(t, `echo "@guest exit run 78: wrong"; exec sleep 60`)
	err := m.Dial(ctx, func() error { return os.ErrDeadlineExceeded })
	if err == nil || !strings.Contains(err.Error(), "run 78") {
		t.Errorf("Dial said %v", err)
	}
}

func TestInitramfsIsWhatCpioReads(t *testing.T) {
	cpio, err := LookPath("cpio")
	if err != nil {
		t.Skip("no cpio here to read the archive with")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(dir, "a.cpio")
	if err := writeInitramfs(archive, Files{"/init": file, "/etc/deep/name": file}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", cpio+" -i --quiet --to-stdout etc/deep/name < "+archive)
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "content" {
		t.Errorf("cpio read %q, %v", out, err)
	}
}

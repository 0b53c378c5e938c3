package board

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWatchdog(t *testing.T) {
	root := fakeRoot(t, map[string]string{"proc/device-tree/model": "Raspberry Pi 4 Model B\x00", "dev/watchdog": ""})
	b, err := Open(Options{Root: root, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	w, err := b.Watchdog(20 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if w.Timeout() != 15*time.Second { // a plain file takes no other
		t.Errorf("timeout %v", w.Timeout())
	}
	for range 3 {
		if err := w.Feed(); err != nil {
			t.Error(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	// 'V' at the end tells the driver that it is stopped on purpose.
	if got, _ := os.ReadFile(filepath.Join(root, "dev/watchdog")); string(got) != "...V" {
		t.Errorf("the device got %q", got)
	}
}

func TestNoWatchdog(t *testing.T) {
	for _, tc := range []struct {
		files map[string]string
		want  string
	}{
		{map[string]string{"proc/device-tree/model": "Raspberry Pi 4 Model B\x00"}, "no such file"},
		{nil, "simulated"},
	} {
		b, err := Open(Options{Root: fakeRoot(t, tc.files), Log: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Watchdog(time.Minute); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("watchdog: %v, want an error with %q", err, tc.want)
		}
		b.Close()
	}
}

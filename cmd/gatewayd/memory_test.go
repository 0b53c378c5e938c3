package main

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestCgroupMemory(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("self", "0::/a/b\n")
	write("fs/a/b/memory.max", "max\n")
	write("fs/a/memory.max", "134217728\n")
	if got := cgroupMemory(filepath.Join(root, "self"), filepath.Join(root, "fs")); got != 128<<20 {
		t.Errorf("got %d, want the bound of the group around", got)
	}
	write("fs/a/b/memory.max", "1000\n")
	if got := cgroupMemory(filepath.Join(root, "self"), filepath.Join(root, "fs")); got != 1000 {
		t.Errorf("got %d, want the smaller bound", got)
	}
	if got := cgroupMemory(filepath.Join(root, "none"), root); got != 0 {
		t.Errorf("got %d without a control group", got)
	}
}

func TestCgroupMemoryOfVersion1(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "fs", "memory", "box")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		filepath.Join(root, "self"):                            "9:cpu,cpuacct:/box\n4:memory:/box\n1:name=systemd:/x\n",
		filepath.Join(dir, "memory.limit_in_bytes"):            "134217728\n",
		filepath.Join(dir, "..", "memory.limit_in_bytes"):      "9223372036854771712\n",
		filepath.Join(root, "fs", "memory.limit_in_bytes"):     "7\n", // not of the hierarchy
		filepath.Join(root, "fs", "cpu,cpuacct", "memory.max"): "",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := cgroupMemory(filepath.Join(root, "self"), filepath.Join(root, "fs")); got != 128<<20 {
		t.Errorf("got %d, want the bound of the memory controller's group", got)
	}
}

// The collector's limit leaves room above what is alive, whatever the least is,
// and stays below the ceiling.
func TestHeapKeeperFollowsWhatIsAlive(t *testing.T) {
	for _, tc := range []struct {
		ceiling, least, alive, beside, want int64
	}{
		{0, 56 << 20, 4 << 20, 3 << 20, 56 << 20},
		{0, 56 << 20, 100 << 20, 10 << 20, 160 << 20},
		{96 << 20, 56 << 20, 100 << 20, 10 << 20, 96 << 20},
		{96 << 20, math.MaxInt64, 10 << 20, 0, 96 << 20},
		{0, math.MaxInt64, 10 << 20, 0, math.MaxInt64},
	} {
		h := heapKeeper{ceiling: tc.ceiling, least: tc.least}
		if got := h.limit(tc.alive, tc.beside); got != tc.want {
			t.Errorf("%+v: %d", tc, got)
		}
	}
}

package main

import (
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

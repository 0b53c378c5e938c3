package store

import (
	"os"
	"path/filepath"
	"syscall"
)

// allocate gives the file real blocks without writing them.
func allocate(f *os.File, size int64) error { return syscall.Fallocate(int(f.Fd()), 0, 0, size) }

// datasync writes a file's data to the disk, and what is needed to find it.
func datasync(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// preallocated says whether this program's badger gives its files their blocks
// when it makes them, as the corrected one does (docs/decisions/0002).
func preallocated(dir string) bool {
	logs, _ := filepath.Glob(filepath.Join(dir, "*.mem"))
	for _, f := range logs {
		var st syscall.Stat_t
		if err := syscall.Stat(f, &st); err == nil && st.Blocks*512 < st.Size*9/10 {
			return false
		}
	}
	return len(logs) > 0
}

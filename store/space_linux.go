package store

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

// allocate gives the file real blocks without writing them.
func allocate(f *os.File, size int64) error { return syscall.Fallocate(int(f.Fd()), 0, 0, size) }

// datasync writes a file's data to the disk, and what is needed to find it.
func datasync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("fdatasync", err)
		}
		return journalled(f)
	}
}

// noAttribute is an attribute that no file has.
var noAttribute, _ = syscall.BytePtrFromString("user.gatewayd.none")

// journalled says whether the file system still had its journal after a sync.
// ext4 of older kernels answers a sync with success once it has gone over to
// read-only, which it does when its journal meets an error; what was to be synced
// is then nowhere. Taking away an attribute that is not there changes
// nothing, but has to enter the journal first.
func journalled(f *os.File) error {
	for {
		_, _, errno := syscall.Syscall(syscall.SYS_FREMOVEXATTR, f.Fd(), uintptr(unsafe.Pointer(noAttribute)), 0)
		switch errno {
		case syscall.EINTR:
			continue
		case syscall.EIO, syscall.EROFS, syscall.EUCLEAN, syscall.ESHUTDOWN:
			return fmt.Errorf("store: the file system gave up its journal: %w", errno)
		}
		return nil // there is none, or this file system has no such attributes
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

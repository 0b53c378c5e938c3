//go:build unix

package auth

import (
	"os"
	"syscall"
)

// lock waits until nobody else edits files of the folder. Closing it unlocks.
func lock(folder *os.File) error {
	for {
		if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX); err != syscall.EINTR {
			return err
		}
	}
}

// sameOwner gives f the owner and group that old has. Root edits the file of a
// service that must go on reading it.
func sameOwner(f *os.File, old os.FileInfo) error {
	if old == nil {
		return nil
	}
	want, ok := old.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	have, err := f.Stat()
	if err != nil {
		return err
	}
	if got := have.Sys().(*syscall.Stat_t); got.Uid == want.Uid && got.Gid == want.Gid {
		return nil
	}
	return f.Chown(int(want.Uid), int(want.Gid))
}

package store

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// lockPatience is how long a lock is waited for that another has: a gateway that
// ends at this moment, or a child of this process between fork and exec, which
// has every descriptor of its parent until then.
const lockPatience = time.Second

// patiently calls try again while it says that the folder is in use.
func patiently(try func() error) error {
	for end := time.Now().Add(lockPatience); ; time.Sleep(20 * time.Millisecond) {
		if err := try(); !errors.Is(err, ErrInUse) || time.Now().After(end) {
			return err
		}
	}
}

// lockFolder takes the lock that badger takes on its folder, until unlock is
// called: whatever is done to the files before badger opens them must not be
// done under another process, a gateway at work while a tool looks. badger takes
// it anew, so it has to be let go right before.
func lockFolder(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	err = patiently(func() error {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("%w: %s", ErrInUse, dir)
		}
		return err
	})
	if err == nil {
		return func() { f.Close() }, nil
	}
	f.Close()
	if errors.Is(err, ErrInUse) {
		return nil, err
	}
	return func() {}, nil // a file system without locks; badger will say so
}

package store

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockFolder takes the lock that badger takes on its folder, until unlock is
// called: whatever is done to the files before badger opens them must not be
// done under another process, a gateway at work while a tool looks. badger takes
// it anew, so it has to be let go right before.
func lockFolder(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return func() { f.Close() }, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
	}
	return func() {}, nil // a file system without locks; badger will say so
}

package board

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Watchdog resets the board when it is not fed in time.
type Watchdog struct {
	f       *os.File
	timeout time.Duration
}

const watchdogSetTimeout = 0xC0045706

// Watchdog opens the hardware watchdog, which starts it. The hardware may take
// another timeout than asked for; Timeout tells.
func (b *Board) Watchdog(timeout time.Duration) (*Watchdog, error) {
	if b.info.Simulated {
		return nil, errors.New("a simulated board has no watchdog")
	}
	f, err := os.OpenFile(filepath.Join(b.root, "dev/watchdog"), os.O_WRONLY, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, errors.New("watchdog: another program feeds it already (init or systemd)")
	}
	if err != nil {
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	secs := int32(max(timeout.Seconds(), 1))
	if err := ioctl(f.Fd(), watchdogSetTimeout, unsafe.Pointer(&secs)); err != nil {
		secs = 15 // it keeps its own; all known ones have at least that much
	}
	return &Watchdog{f: f, timeout: time.Duration(secs) * time.Second}, nil
}

// Timeout is how long the board lives without being fed.
func (w *Watchdog) Timeout() time.Duration { return w.timeout }

// Feed gives it another Timeout.
func (w *Watchdog) Feed() error {
	_, err := w.f.Write([]byte{'.'})
	return err
}

// Close stops the watchdog, where the driver allows that.
func (w *Watchdog) Close() error {
	_, err := w.f.Write([]byte{'V'})
	return errors.Join(err, w.f.Close())
}

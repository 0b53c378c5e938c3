//go:build !linux

package board

import "time"

// Watchdog resets the board when it is not fed in time.
type Watchdog struct{}

// Watchdog needs Linux.
func (b *Board) Watchdog(time.Duration) (*Watchdog, error) { return nil, errNotLinux }

// Timeout is how long the board lives without being fed.
func (w *Watchdog) Timeout() time.Duration { return 0 }

// Feed gives it another Timeout.
func (w *Watchdog) Feed() error { return errNotLinux }

// Close stops the watchdog.
func (w *Watchdog) Close() error { return nil }

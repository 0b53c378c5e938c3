//go:build !linux

package broker

import "time"

// sinceBoot is known on Linux only.
func sinceBoot() (since time.Duration, boot string, ok bool) { return 0, "", false }

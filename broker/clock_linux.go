package broker

import (
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

const clockBoottime = 7 // CLOCK_BOOTTIME goes on while the system sleeps

// sinceBoot is the time since the system was booted, and what names that boot.
func sinceBoot() (since time.Duration, boot string, ok bool) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 0, "", false
	}
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0, "", false
	}
	return time.Duration(ts.Nano()), strings.TrimSpace(string(id)), true
}

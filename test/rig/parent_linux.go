package rig

import "syscall"

// dieWithParent makes the kernel end QEMU when the test process dies, however
// it dies, so that no emulator is left behind.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

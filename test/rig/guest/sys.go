//go:build linux && (arm || arm64)

package main

import (
	"fmt"
	"net"
	"syscall"
	"unsafe"
)

// finitModule inserts the module in the open file; a module that is built in
// or already there is no error.
func finitModule(fd uintptr, params *byte) error {
	_, _, errno := syscall.Syscall(sysFinitModule, fd, uintptr(unsafe.Pointer(params)), 0)
	if errno != 0 && errno != syscall.EEXIST {
		return errno
	}
	return nil
}

// ifreq is struct ifreq: a name and a union of 16 bytes at least (24 on 64 bits).
type ifreq struct {
	name [16]byte
	data [24]byte
}

// setAddress gives an IPv4 interface an address (/24, /8 for loopback) and
// brings it up.
func setAddress(name, address string) error {
	ip := net.ParseIP(address).To4()
	if ip == nil {
		return fmt.Errorf("%q is no IPv4 address", address)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	mask := net.CIDRMask(24, 32)
	if ip.IsLoopback() {
		mask = net.CIDRMask(8, 32)
	}
	for _, step := range []struct {
		request uintptr
		set     func(*ifreq)
	}{
		{syscall.SIOCSIFADDR, func(r *ifreq) { r.inet(ip) }},
		{syscall.SIOCSIFNETMASK, func(r *ifreq) { r.inet(net.IP(mask)) }},
		{syscall.SIOCSIFFLAGS, func(r *ifreq) { *(*uint16)(unsafe.Pointer(&r.data)) = syscall.IFF_UP | syscall.IFF_RUNNING }},
	} {
		var r ifreq
		copy(r.name[:15], name)
		step.set(&r)
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), step.request, uintptr(unsafe.Pointer(&r))); errno != 0 {
			return fmt.Errorf("%s: %w", name, errno)
		}
	}
	return nil
}

// inet puts a sockaddr_in with the address into the union.
func (r *ifreq) inet(ip net.IP) {
	*(*uint16)(unsafe.Pointer(&r.data)) = syscall.AF_INET
	copy(r.data[4:8], ip)
}

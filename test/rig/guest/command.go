//go:build linux && (arm || arm64)

package main

import (
	"bufio"
	"fmt"
	"os"
	"syscall"
)

// listen carries out what the host types on the console:
//
//	i2c BUS ADDRESS VALUE   writes one byte to a part, as 0 0x70 1
//
// That is how the rig moves an I2C multiplexer that stands for a plug: with
// its channel closed, the part behind it answers nobody.
func listen() {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var bus, address, value int
		if n, _ := fmt.Sscanf(in.Text(), "i2c %v %v %v", &bus, &address, &value); n != 3 {
			continue
		}
		if err := writeI2C(bus, address, byte(value)); err != nil {
			say("refused %s: %v", in.Text(), err)
			continue
		}
		say("did %s", in.Text())
	}
}

func writeI2C(bus, address int, value byte) error {
	f, err := os.OpenFile(fmt.Sprint("/dev/i2c-", bus), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	const slaveForce = 0x0706 // I2C_SLAVE_FORCE
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), slaveForce, uintptr(address)); errno != 0 {
		return errno
	}
	_, err = f.Write([]byte{value})
	return err
}

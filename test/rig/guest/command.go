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
func listen(in *bufio.Scanner) {
	for in.Scan() {
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

// wake waits for "go SEED TIME", and undoes what a saved state would repeat or
// still believe: random numbers, the clock, and blocks of the disk in memory.
func wake(in *bufio.Scanner, disk string) error {
	var seed string
	var now int64
	for {
		if !in.Scan() {
			return fmt.Errorf("the console is closed: %w", in.Err())
		}
		if n, _ := fmt.Sscanf(in.Text(), "go %s %d", &seed, &now); n == 2 {
			break
		}
	}
	if err := syscall.Settimeofday(&syscall.Timeval{Sec: clockSecond(now)}); err != nil {
		return err
	}
	urandom, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer urandom.Close()
	if _, err := urandom.WriteString(seed); err != nil {
		return err
	}
	const reseed, flushBuffers = 0x5207, 0x1261 // RNDRESEEDCRNG, BLKFLSBUF
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, urandom.Fd(), reseed, 0); errno != 0 {
		return errno
	}
	f, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), flushBuffers, 0); errno != 0 {
		return errno
	}
	return nil
}

// Package hil runs the cross-built gateway on emulated boards and moves their
// hardware from outside: hardware in the loop, without hardware.
//
// The 32-bit board (QEMU's sabrelite with Debian's armmp kernel) has a TMP105
// on a real i2c-imx bus behind a multiplexer which stands for its plug, and
// GPIO. The 64-bit one (-M virt) has a PL061 GPIO. Every driver, kernel
// interface and bus between the part and the MQTT subscriber on the host is
// the real one.
package hil

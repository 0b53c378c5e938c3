// Package rig runs a real ARM Linux with our programs on a board that QEMU
// emulates: the ground of the power-cut rig and of the hardware-in-the-loop
// test.
//
// Kernel fetches Debian's kernel, Build cross-compiles a program, Initramfs
// packs both with an init (rig/guest) into a file, and Start boots it. A
// Machine shows the board's serial console line by line and its power can be
// cut at any moment. QMP and Qtest reach into the emulated hardware. Client is
// a small MQTT client of the rig's own, so that a fault in gatewayd's codec
// cannot hide itself.
//
// Where QEMU or the kernel cannot be had, Need says so and skips the test.
package rig

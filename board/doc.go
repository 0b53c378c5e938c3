// Package board finds out which board this is and opens its buses, lines, LED
// and watchdog. Open takes the hardware where there is some and a simulated
// board (package sim) where there is none, and says which and why in Info.
//
// I2C, SPI and 1-wire go through periph's Linux drivers, opened directly:
// periph's host.Init is not called, because it may close file descriptor 0 and
// reconfigure lines; its GPIO layer is not used, because reading an output
// through it turns the line into an input and its edges carry neither direction
// nor time. Lines use the kernel's GPIO character device (uAPI v2) instead,
// which has both, debounces in the kernel, and works on all boards with Linux
// 5.10 or newer, a Raspberry Pi 5 included.
//
// A *Board is safe for concurrent use. It meets sensors.Buses.
package board

// Package sim is a whole simulated board: I2C, 1-wire, SPI and serial buses
// whose parts answer at register level, so that the drivers for the real parts
// read them unchanged, and lines that tests and scripts can toggle.
//
// Everything is a function of the seed and of how often a part has measured:
// same seed and same reads, same bytes. Faults (NACK, CRC, stuck, drift, noise,
// unplug, slow, bus hang) are scripted per part, by time since the start.
//
// A part is one file part_<name>.go and one line in Kinds. It asks its World
// what it measures and knows nothing of faults; the bus adds those.
package sim

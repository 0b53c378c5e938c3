// Package peer starts, watches and ends brokers for the end-to-end tests and
// the benchmarks: gatewayd itself, Debian's mosquitto, and whatever else
// listens on a TCP port. Every process listens on loopback, writes its log to
// a file of its folder, and dies with the program that started it. What a
// process costs is read from /proc: user and system CPU, anonymous and
// file-backed resident memory.
package peer

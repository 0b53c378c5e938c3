// Package sensors reads probes on a schedule, watches and drives lines, and
// hands out honest readings.
//
// A Probe is a part at an address, opened by a Driver (an explicit list, see
// Drivers) through Buses, which the board meets. The Scheduler owns all of it:
// one goroutine per bus, so that a slow or broken part delays only its own
// bus; one goroutine per input line, woken by the kernel's edge events; one
// goroutine that publishes, so that a busy broker delays neither.
//
//	due → Probe.Read → known bad values → filters → derived → Reading → payload → Sink
//
// Every reading says how far it can be trusted (Quality and a reason), carries
// a sequence number, and the source of its time. A probe that fails is read
// again with growing pauses and opened anew; meanwhile its availability topic
// says offline and nothing of it is published: a stale value never looks fresh.
//
// The interfaces this package needs from others are declared here: Buses (met
// by package board), Sink (met by an adapter to the broker) and History.
package sensors

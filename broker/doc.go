// Package broker is an MQTT broker of protocol 3.1, 3.1.1 and 5.0: sessions,
// routing, QoS, retained messages, wills and listeners.
//
// A conn is the protocol side of one network connection. A transport brings it
// the bytes it reads and writes what its outbox holds: on Linux on event loops
// (loop_linux.go), with TLS and WebSocket as an overlay that never waits
// (overlay_linux.go); on every other system on a goroutine for each connection
// (stream.go). Both feed the same conns. Before that a goroutine greets whoever
// has a PROXY header, a TLS or a WebSocket handshake to go through (greet.go).
//
// A session is what a client id owns across connections. It is passive: anyone
// steps it under its mutex, a step does no I/O and takes no other lock. The
// mutex guards the outbox of the session's connection too, so that a delivery
// is one lock and no order can be lost between the two.
//
// A turn is what one reader does between two flushes: it steps sessions, notes
// which connections were touched and then writes once to each of them. What
// must be durable first goes to the store as a Batch; its receipt comes on the
// store's deliverer, which has a turn of its own.
//
// Link is an in-process end of an ordinary session: a bridge drains it and has
// no queue of its own. Publish is for publishers inside the process.
package broker

// Package bridge joins the local broker to another one, the centre, as
// Mosquitto's bridges do, and loses nothing on the way.
//
// A Bridge is one configured connection: rules that say which topics go
// outward, inward or both ways and what they are called at either end, and
// addresses to try. Run keeps it connected until its context is done.
//
// The queue of a bridge is an ordinary persistent session of the local broker,
// a Link: while the centre is away, messages wait in the store by the broker's
// rules, and nothing is kept a second time here. A message leaves the session
// only when the centre has acknowledged it (QoS 1) or completed the exchange
// (QoS 2), and a message of the centre is acknowledged only when the local
// broker has it safe. At QoS 2 both sides' packet ids are durable, so a message
// crosses exactly once even when either side is killed; that ends where the
// centre loses its session.
//
// One connection to the centre has three goroutines: the reader decodes
// everything a read brought and hands it on, the pump takes deliveries from
// the Link and encodes them, the writer writes what has gathered, once. No
// goroutine waits for another's disk.
package bridge

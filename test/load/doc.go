// Package load is a load generator for MQTT brokers that costs far less than
// the brokers it loads: one goroutine, one epoll, one read for everything a
// connection has waiting, one write for everything it has to say.
//
// A Loop owns its connections. Handlers run on the loop's goroutine, append
// packets to their connection (or another one of the same loop) and return;
// the loop writes after it has handled every event of a turn. Nothing here is
// safe for use by two goroutines. Encoding and decoding is a small 3.1.1
// subset of its own, so that a broker's codec is never measured by itself.
package load

// Package faulthook ends gatewayd with SIGKILL at every step of the QoS 2
// exchanges, in both directions, of its clients and of a bridge, and demands
// that each message arrives exactly once all the same. The gateway is the
// product built with the tag faulthook; publishers and subscribers have
// persistent sessions, keep books (package sequence) and resume.
//
// GATEWAYD_SOAK=1 kills at five passings of every step instead of two.
package faulthook

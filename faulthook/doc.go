// Package faulthook ends the process in the middle of something, so that a
// test can see what is left. Rooms name the steps at which that would hurt.
//
// Without the build tag faulthook Enabled is a constant false and every call
// behind it compiles to nothing. With the tag the environment variable
// GATEWAYD_FAULT chooses one step: "in.pubrec.sent" at its first passing,
// "in.pubrec.sent:3" at its third, "in.pubrec.sent@meter:3" at the third
// passing for that client or bridge. The process then says on standard error
// where it stands and ends by SIGKILL.
package faulthook

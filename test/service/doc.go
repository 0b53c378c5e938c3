// Package service proves what a service manager and the system's logs see of
// gatewayd, on real sockets: readiness, watchdog, reload and stop on
// systemd's notification socket, sockets that systemd passes, syslog and the
// journal. No systemd is needed; the test stands in for it.
package service

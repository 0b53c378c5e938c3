// Package web is the gateway's HTTP server: health for scripts and load
// balancers, metrics for Prometheus, status for people and programs.
//
//	/healthz         200 while the process is alive and its store takes writes
//	/readyz          200 once the store is recovered and the listeners are open
//	/metrics         Prometheus, names gatewayd_…
//	/api/v1/status   everything there is to know, as JSON
//	/debug/pprof/    Go's profiles, where Options.Debug is set
//
// The rooms are asked through the functions of Options; the server holds no
// state of theirs. Both health paths are cheap enough for a check a second.
// Where Options.Login is set, everything but the health paths asks for a user
// and a password.
package web

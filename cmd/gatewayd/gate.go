package main

import (
	"sync"
	"sync/atomic"
	"time"
)

// gate holds logins back while the configuration is read again, so that a client
// that connects after SIGHUP meets the rights of the new files, however soon it
// comes.
type gate struct {
	latest atomic.Pointer[users]

	mu      sync.Mutex // guards the fields below
	shut    int
	waiting []func()
}

// signalGrace is how long a login waits when the files of users and rights were
// changed: whoever changes them mostly sends SIGHUP next, and a connection made
// right after the signal may be here before the signal is.
const signalGrace = 30 * time.Millisecond

// pass runs login now, or as soon as the gate is open.
func (g *gate) pass(login func()) {
	if u := g.latest.Load(); u != nil && u.stale() {
		time.AfterFunc(signalGrace, func() { g.enter(login) })
		return
	}
	g.enter(login)
}

func (g *gate) enter(login func()) {
	g.mu.Lock()
	if g.shut > 0 {
		g.waiting = append(g.waiting, login)
		g.mu.Unlock()
		return
	}
	g.mu.Unlock()
	login()
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut++
}

func (g *gate) open() {
	g.mu.Lock()
	var run []func()
	if g.shut--; g.shut == 0 {
		run, g.waiting = g.waiting, nil
	}
	g.mu.Unlock()
	for _, login := range run {
		login()
	}
}

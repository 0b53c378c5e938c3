//go:build faulthook

package faulthook

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Enabled says whether this build can be killed at its steps.
const Enabled = true

// plan is what GATEWAYD_FAULT asks for.
type plan struct {
	step, who string
	left      atomic.Int64 // passings until the end
}

var chosen = parse(os.Getenv("GATEWAYD_FAULT"))

// armed are what will be killed when Reached names it.
var armed struct {
	sync.Mutex
	of map[any]string
}

// parse reads "step[@who][:n]"; nil for nothing.
func parse(text string) *plan {
	if text == "" {
		return nil
	}
	p := new(plan)
	step, count, counted := strings.Cut(text, ":")
	n := 1
	if counted {
		var err error
		if n, err = strconv.Atoi(count); err != nil || n < 1 {
			fmt.Fprintf(os.Stderr, "GATEWAYD_FAULT=%s: want step[@who][:passing]\n", text)
			os.Exit(2)
		}
	}
	p.step, p.who, _ = strings.Cut(step, "@")
	p.left.Store(int64(n))
	return p
}

// hit counts one passing and says whether it was the one.
func (p *plan) hit(step, who string) bool {
	if p == nil || p.step != step || p.who != "" && p.who != who {
		return false
	}
	return p.left.Add(-1) == 0
}

// At is a step: the process may end here. who is the client or bridge that it
// is about.
func At(step, who string) {
	if chosen.hit(step, who) {
		kill(step)
	}
}

// After is a step that is over once Reached is called with the same of: bytes
// that wait for a write, say.
func After(of any, step, who string) {
	if !chosen.hit(step, who) {
		return
	}
	armed.Lock()
	defer armed.Unlock()
	if armed.of == nil {
		armed.of = make(map[any]string)
	}
	armed.of[of] = step
}

// Reached ends the process if After armed it.
func Reached(of any) {
	armed.Lock()
	step, ok := armed.of[of]
	armed.Unlock()
	if ok {
		kill(step)
	}
}

// kill does not return.
var kill = func(step string) {
	fmt.Fprintln(os.Stderr, "faulthook: killed at "+step)
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL) // one cannot refuse it
	select {}
}

package sensors

import (
	"context"
	"fmt"
	"sync"
	"time"

	"periph.io/x/conn/v3/gpio"
)

// port is the code for an expander's part number. All of a part's lines are
// read and written at once; calls come one at a time.
type port interface {
	// setup makes the lines of the mask inputs, some with pull-up, and the
	// others outputs with these levels.
	setup(inputs, pullUps, outputs uint16) error
	read() (uint16, error)
	write(outputs uint16) error
}

// expander is a part with lines on an I2C bus. run reads it, at intervals and
// when its interrupt line falls; what changes goes to the watchers.
type expander struct {
	cfg   ExpanderConfig
	lines int
	bus   *layers
	port  port

	io sync.Mutex // one conversation with the part at a time; taken before mu, never after

	mu       sync.Mutex // guards the fields below
	inputs   uint16
	pullUps  uint16
	outputs  uint16
	ready    bool   // the part is set up as the masks say
	used     uint16 // lines that are somebody's output
	watchers map[int]*lineWatcher
	kick     chan struct{} // read now
}

// lineWatcher is one input of an expander.
type lineWatcher struct {
	debounce time.Duration
	begun    bool
	stable   bool
	changing time.Time // when the level last left stable; zero: it has not
	seq      uint64
	events   chan lineEdge
}

type lineEdge struct {
	high bool
	at   time.Time
	seq  uint64
	err  error
}

const expanderEvents = 256 // waiting for one watcher; what does not fit shows as a jump of seq

func newExpander(l *layers, c ExpanderConfig) (*expander, error) {
	kind, ok := expanderKinds[c.Driver]
	if !ok {
		return nil, fmt.Errorf("unknown expander %q; known: %s", c.Driver, list(expanderKinds))
	}
	addr, err := Driver{Name: c.Driver, Part: c.Driver, Addresses: kind.addresses}.ParseAddress(c.Address)
	if err != nil {
		return nil, err
	}
	bus, err := l.I2C(c.Bus)
	if err != nil {
		return nil, err
	}
	if c.Every == 0 {
		c.Every = 20 * time.Millisecond
		if c.Interrupt != "" {
			c.Every = time.Second
		}
	}
	return &expander{cfg: c, lines: kind.lines, bus: l, port: kind.open(device{bus, addr, c.Driver}),
		inputs: 0xFFFF, watchers: map[int]*lineWatcher{}, kick: make(chan struct{}, 1)}, nil
}

// run reads the part until ctx is done.
func (e *expander) run(ctx context.Context) {
	var irq sync.WaitGroup
	if e.cfg.Interrupt != "" {
		irq.Go(func() {
			for ctx.Err() == nil {
				_ = e.bus.WatchInput(ctx, e.cfg.Interrupt, gpio.PullUp, 0, func(bool, time.Time, uint64) { e.wake() })
				sleep(ctx, time.Second) // the line is taken; polling goes on meanwhile
			}
		})
	}
	defer irq.Wait()
	tick := time.NewTicker(e.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-e.kick:
		}
		e.mu.Lock()
		busy := len(e.watchers) > 0
		e.mu.Unlock()
		if busy {
			e.poll()
		}
	}
}

func (e *expander) wake() {
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

// sync brings the part to what the masks say, if it is not.
func (e *expander) sync() error {
	e.mu.Lock()
	in, up, out, ready := e.inputs, e.pullUps, e.outputs, e.ready
	e.mu.Unlock()
	if ready {
		return nil
	}
	if err := e.port.setup(in, up, out); err != nil {
		return err
	}
	e.mu.Lock()
	e.ready = e.inputs == in && e.pullUps == up && e.outputs == out
	e.mu.Unlock()
	return nil
}

// poll reads all lines once and tells the watchers what changed.
func (e *expander) poll() {
	e.io.Lock()
	err := e.sync()
	var v uint16
	if err == nil {
		v, err = e.port.read()
	}
	e.io.Unlock()
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.ready = false
		for n, w := range e.watchers {
			w.send(lineEdge{err: fmt.Errorf("%s: %w", e.cfg.Name, err)})
			delete(e.watchers, n)
		}
		return
	}
	for n, w := range e.watchers {
		w.see(v>>n&1 == 1, now)
	}
}

// see follows one level: a change counts when it has stayed for the debounce
// time, which is as fine as the polling.
func (w *lineWatcher) see(high bool, now time.Time) {
	switch {
	case !w.begun:
		w.begun, w.stable = true, high
		w.send(lineEdge{high: high, at: now})
	case high == w.stable:
		w.changing = time.Time{}
	case w.changing.IsZero() && w.debounce > 0:
		w.changing = now
	case w.debounce == 0 || now.Sub(w.changing) >= w.debounce:
		at := now
		if w.debounce > 0 {
			at = w.changing
		}
		w.stable, w.changing = high, time.Time{}
		w.seq++
		w.send(lineEdge{high: high, at: at, seq: w.seq})
	}
}

// send never waits: an edge that does not fit shows as a jump of seq.
func (w *lineWatcher) send(e lineEdge) {
	select {
	case w.events <- e:
	default:
	}
}

// watch makes line n an input and reports its level and edges until ctx is
// done or the part does not answer.
func (e *expander) watch(ctx context.Context, n int, pull gpio.Pull, debounce time.Duration,
	edge func(high bool, at time.Time, seq uint64)) error {
	w := &lineWatcher{debounce: debounce, events: make(chan lineEdge, expanderEvents)}
	e.mu.Lock()
	if e.watchers[n] != nil || e.used&(1<<n) != 0 {
		e.mu.Unlock()
		return fmt.Errorf("%s:%d is in use", e.cfg.Name, n)
	}
	e.inputs |= 1 << n
	e.pullUps &^= 1 << n
	if pull == gpio.PullUp {
		e.pullUps |= 1 << n
	}
	e.ready = false
	e.watchers[n] = w
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		if e.watchers[n] == w {
			delete(e.watchers, n)
		}
		e.mu.Unlock()
	}()
	e.wake()
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev := <-w.events:
			if ev.err != nil {
				return ev.err
			}
			edge(ev.high, ev.at, ev.seq)
		}
	}
}

// output makes line n an output.
func (e *expander) output(n int, high bool) (set func(bool) error, release func() error, err error) {
	e.mu.Lock()
	if e.watchers[n] != nil || e.used&(1<<n) != 0 {
		e.mu.Unlock()
		return nil, nil, fmt.Errorf("%s:%d is in use", e.cfg.Name, n)
	}
	e.used |= 1 << n
	e.inputs &^= 1 << n
	e.ready = false
	e.mu.Unlock()
	release = func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.used &^= 1 << n
		return nil
	}
	set = func(high bool) error { return e.set(n, high) }
	if err := set(high); err != nil {
		_ = release() // it never fails
		return nil, nil, err
	}
	return set, release, nil
}

func (e *expander) set(n int, high bool) error {
	e.io.Lock()
	defer e.io.Unlock()
	e.mu.Lock()
	e.outputs &^= 1 << n
	if high {
		e.outputs |= 1 << n
	}
	out, was := e.outputs, e.ready
	e.mu.Unlock()
	err := e.sync()
	if err == nil && was {
		err = e.port.write(out)
	}
	if err != nil {
		e.mu.Lock()
		e.ready = false
		e.mu.Unlock()
		return fmt.Errorf("%s: %w", e.cfg.Name, err)
	}
	return nil
}

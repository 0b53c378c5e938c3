package sim

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"periph.io/x/conn/v3/gpio"
)

// lines are the board's GPIOs. What a test or script puts on a line wins over
// its pull resistor; an output is what was set.
type lines struct {
	mu      sync.Mutex // guards all below
	all     []simLine
	closed  chan struct{}
	isClose bool
}

type simLine struct {
	high     bool
	driven   bool            // something outside holds it
	listen   func(high bool) // a part that sees this output; called without the lock
	output   bool
	watchers []*watcher
}

// edgeEvent is one edge as the kernel reports it.
type edgeEvent struct {
	high bool
	at   time.Time
	seq  uint64
}

// watcher is one open input. Events wait in a queue without bound here; the
// kernel's is bounded, and what overflows shows in seq.
type watcher struct {
	debounce time.Duration
	stable   bool        // level after debounce
	timer    *time.Timer // running while the level has not settled
	seq      uint64
	events   []edgeEvent
	wake     chan struct{}
}

func newLines(n int) *lines {
	return &lines{all: make([]simLine, n), closed: make(chan struct{})}
}

// number reads "GPIO17", "17" or "gpiochip0:17".
func (l *lines) number(name string) (int, error) {
	n := strings.ToUpper(name)
	n = strings.TrimPrefix(strings.TrimPrefix(n, "GPIOCHIP0:"), "GPIO")
	i, err := strconv.Atoi(n)
	if err != nil || i < 0 || i >= len(l.all) {
		return 0, fmt.Errorf("the simulated board has no line %q, only GPIO0 to GPIO%d", name, len(l.all)-1)
	}
	return i, nil
}

// set puts a level on a line from outside.
func (l *lines) set(i int, high bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.all[i]
	s.driven = true
	if s.output || s.high == high {
		return
	}
	s.high = high
	for _, w := range s.watchers {
		l.changedLocked(s, w)
	}
}

// changedLocked tells a watcher of a new level, at once or when it has been
// steady for the debounce period.
func (l *lines) changedLocked(s *simLine, w *watcher) {
	if w.debounce == 0 {
		w.reportLocked(s.high)
		return
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer = time.AfterFunc(w.debounce, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if s.high != w.stable {
			w.reportLocked(s.high)
		}
	})
}

func (w *watcher) reportLocked(high bool) {
	w.stable = high
	w.seq++
	w.events = append(w.events, edgeEvent{high, time.Now(), w.seq})
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (l *lines) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isClose {
		l.isClose = true
		close(l.closed)
	}
}

// WatchInput makes the line an input and reports its level and its edges.
func (b *Board) WatchInput(ctx context.Context, line string, pull gpio.Pull, debounce time.Duration,
	edge func(high bool, at time.Time, seq uint64)) error {
	l := b.lines
	i, err := l.number(line)
	if err != nil {
		return err
	}
	w := &watcher{debounce: debounce, wake: make(chan struct{}, 1)}
	l.mu.Lock()
	s := &l.all[i]
	if s.output || len(s.watchers) > 0 {
		l.mu.Unlock()
		return fmt.Errorf("line %s is in use", line)
	}
	if !s.driven {
		s.high = pull == gpio.PullUp
	}
	w.stable = s.high
	s.watchers = append(s.watchers, w)
	first := s.high
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		s.watchers = nil
		if w.timer != nil {
			w.timer.Stop()
		}
		l.mu.Unlock()
	}()
	edge(first, time.Now(), 0)
	for {
		l.mu.Lock()
		events := w.events
		w.events = nil
		l.mu.Unlock()
		for _, e := range events {
			edge(e.high, e.at, e.seq)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.closed:
			return errClosed
		case <-w.wake:
		}
	}
}

// Output makes the line an output.
func (b *Board) Output(line string, high bool) (set func(bool) error, release func() error, err error) {
	l := b.lines
	i, err := l.number(line)
	if err != nil {
		return nil, nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.all[i]
	if s.output || len(s.watchers) > 0 {
		return nil, nil, fmt.Errorf("line %s is in use", line)
	}
	s.output, s.high = true, high
	return func(high bool) error {
			l.mu.Lock()
			s.high = high
			listen := s.listen
			l.mu.Unlock()
			if listen != nil {
				listen(high)
			}
			return nil
		}, func() error {
			l.mu.Lock()
			defer l.mu.Unlock()
			s.output = false
			return nil
		}, nil
}

// attach connects a part to its lines.
func (l *lines) attach(p LinePart) error {
	for _, name := range p.Lines() {
		i, err := l.number(name)
		if err != nil {
			return err
		}
		l.all[i].listen = func(high bool) { p.Output(name, high) }
	}
	p.Wire(func(line string, high bool) {
		if i, err := l.number(line); err == nil {
			l.set(i, high)
		}
	})
	return nil
}

// SetLine puts a level on an input, as a switch would.
func (b *Board) SetLine(line string, high bool) error {
	if e, n, ok := b.expanderPin(line); ok {
		e.bus.mu.Lock()
		defer e.bus.mu.Unlock()
		e.part.SetPin(n, high)
		return nil
	}
	i, err := b.lines.number(line)
	if err != nil {
		return err
	}
	b.lines.set(i, high)
	return nil
}

// Line tells the level of a line and whether it is an output.
func (b *Board) Line(line string) (high, output bool, err error) {
	if e, n, ok := b.expanderPin(line); ok {
		e.bus.mu.Lock()
		defer e.bus.mu.Unlock()
		return e.part.Pin(n), false, nil
	}
	i, err := b.lines.number(line)
	if err != nil {
		return false, false, err
	}
	b.lines.mu.Lock()
	defer b.lines.mu.Unlock()
	return b.lines.all[i].high, b.lines.all[i].output, nil
}

package sensors

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	retries       = 2                      // again within the same turn: most errors on a bus are single
	retryPause    = 20 * time.Millisecond  // doubles
	backoffFirst  = time.Second            // after a failed turn
	backoffMost   = 15 * time.Second       // so that a part that is plugged in again is soon seen
	readTimeout   = 5 * time.Second        // one Open or Read, all bus calls together
	notReadyPause = 100 * time.Millisecond // between looks at a part that has no new value yet
	notReadyMost  = 3 * time.Second
	lateAfter     = 50 * time.Millisecond // a turn later than that is counted
)

// busLoop reads the probes of one bus, one after the other, each at its time.
// Its goroutine owns the probes' devices.
type busLoop struct {
	name   string
	sched  *Scheduler
	buses  *guardedBuses
	probes []*probe

	inTurn atomic.Int64 // when the running turn began, in ns since 1970; 0: none runs

	hung      int       // turns in a row, of any probe, that ended as on a bus that does not move
	recovered time.Time // last try to free it
	recovery  time.Duration
}

const (
	hungTurns    = 3
	recoverFirst = 5 * time.Second
	recoverMost  = 5 * time.Minute
)

// hungBus tells an error of a bus that is held from one of a part that is not
// there. The library gives the kernel's words only.
func hungBus(err error) bool {
	s := err.Error()
	return strings.Contains(s, "timed out") || strings.Contains(s, "arbitration") || strings.Contains(s, "resource temporarily")
}

// judge counts turns and tries to free a bus that hangs, with growing pauses.
func (l *busLoop) judge(err error) {
	if err == nil || !hungBus(err) {
		l.hung, l.recovery = 0, recoverFirst
		return
	}
	if l.hung++; l.hung < hungTurns || time.Since(l.recovered) < l.recovery {
		return
	}
	l.recovered, l.recovery = time.Now(), min(2*l.recovery, recoverMost)
	_, bus, _ := strings.Cut(l.name, ":")
	if err := l.sched.buses.Recover(bus); err != nil {
		l.sched.log.Warn("the bus hangs and could not be freed", "bus", bus, "err", err)
		return
	}
	l.sched.log.Warn("the bus hung and was freed", "bus", bus)
}

func newBusLoop(s *Scheduler, name string) *busLoop {
	return &busLoop{name: name, sched: s, buses: &guardedBuses{Buses: s.o.Buses}, recovery: recoverFirst}
}

// run polls until ctx is done. firstDone is called when every probe has had
// its first turn.
func (l *busLoop) run(ctx context.Context, firstDone func()) {
	start := time.Now()
	for _, p := range l.probes {
		p.due = start
	}
	pending := len(l.probes)
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer func() {
		if pending > 0 {
			firstDone()
		}
		for _, p := range l.probes {
			p.close()
		}
	}()
	for {
		next := l.probes[0]
		for _, p := range l.probes[1:] {
			if p.due.Before(next.due) {
				next = p
			}
		}
		timer.Reset(time.Until(next.due))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		l.inTurn.Store(time.Now().UnixNano())
		done := next.turn(ctx)
		l.inTurn.Store(0)
		if done && !next.had {
			next.had = true
			if pending--; pending == 0 {
				firstDone()
			}
		}
	}
}

// probe is one configured sensor. Fields above mu belong to its bus loop's
// goroutine.
type probe struct {
	cfg          ProbeConfig
	driver       Driver
	busKey       string
	availability string
	sched        *Scheduler
	loop         *busLoop
	derived      []*derivation
	channels     map[string]*channel // by quantity

	dev     Probe     // nil while it is not open
	due     time.Time // of the next turn
	grid    time.Time // of the reading the turn belongs to; the schedule's fixed points
	started bool      // a conversion is running
	fails   int       // turns in a row
	waits   int       // times this turn's value was not there yet
	tries   int       // attempts of this turn that failed
	had     bool      // had its first turn

	mu        sync.Mutex // guards the fields below
	announced bool
	online    bool
	reason    string
	lastGood  time.Time
	since     time.Time // of the first turn: stale counts from here without a good one
	reads     uint64
	errs      uint64
	late      uint64
	latest    map[string]Reading
}

// channel is one quantity of a probe on its way out.
type channel struct {
	quantity Quantity
	digits   int
	topic    string
	filters  chain
	seq      uint64
	off      bool
}

// turn does what is due and sets the next due time. It reports whether a
// reading was finished, well or badly.
func (p *probe) turn(ctx context.Context) bool {
	now := time.Now()
	if p.grid.IsZero() {
		p.grid = now
		p.mu.Lock()
		p.since = now
		p.mu.Unlock()
	}
	if !p.started && p.tries == 0 && p.waits == 0 && now.Sub(p.due) > lateAfter {
		p.mu.Lock()
		p.late++
		p.mu.Unlock()
	}
	var got []Reading
	wait, err := p.attempt(ctx, &got)
	if p.driver.Bus == BusI2C && ctx.Err() == nil {
		p.loop.judge(err)
	}
	switch {
	case ctx.Err() != nil:
		return true
	case errors.Is(err, errNotReady) && p.waits < int(notReadyMost/notReadyPause):
		p.waits++
		p.started = true // go on with reading
		p.due = time.Now().Add(notReadyPause)
		return false
	case errors.Is(err, errForgotten) && p.tries < retries:
		p.close() // and open it anew
		p.due = time.Now()
		p.tries++
		return false
	case err != nil && p.dev != nil && p.tries < retries: // others have their turn meanwhile
		p.due = time.Now().Add(retryPause << p.tries)
		p.tries++
		return false
	case err != nil:
		p.failed(err)
		return true
	case wait > 0:
		p.due = time.Now().Add(wait)
		return false
	}
	p.succeeded(got)
	return true
}

// attempt opens the part if need be, starts a conversion or reads. A positive
// duration: not finished, come back then.
func (p *probe) attempt(ctx context.Context, got *[]Reading) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, max(readTimeout, p.driver.Timeout))
	defer cancel()
	p.loop.buses.verify = p.driver.Latched
	p.loop.buses.use(ctx)
	defer p.loop.buses.done()
	if p.dev == nil {
		dev, err := p.driver.OpenProbe(p.loop.buses, Params{Name: p.cfg.Name, Bus: p.cfg.Bus, Address: p.cfg.Address, Options: p.cfg.Options})
		if err != nil {
			return 0, err
		}
		p.dev, p.started = dev, false
	}
	if s, ok := p.dev.(Starter); ok && !p.started {
		wait, err := s.Start(ctx)
		if err != nil {
			return 0, err
		}
		p.started = true
		if wait > 0 {
			return wait, nil
		}
	}
	p.started = false
	*got = (*got)[:0]
	err := p.dev.Read(ctx, func(r Reading) { *got = append(*got, r) })
	if err == nil && ctx.Err() != nil {
		err = fmt.Errorf("took longer than %v", readTimeout)
	}
	return 0, err
}

// succeeded hands the readings on and finds the next point of the schedule:
// points are missed, never moved.
func (p *probe) succeeded(got []Reading) {
	now := time.Now()
	p.fails, p.tries, p.waits = 0, 0, 0
	p.grid = p.grid.Add(p.cfg.Every)
	if behind := now.Sub(p.grid); behind >= 0 {
		p.grid = p.grid.Add(behind/p.cfg.Every*p.cfg.Every + p.cfg.Every)
	}
	p.due = p.grid
	p.mu.Lock()
	p.reads++
	p.lastGood = now
	p.mu.Unlock()
	p.setOnline(true, "")
	for _, r := range got {
		r.At = now
		p.emit(r)
	}
	p.derive(now, got)
}

// failed closes the part, so that the next turn finds and prepares it anew,
// and waits longer each time.
func (p *probe) failed(err error) {
	p.fails++
	p.tries, p.waits = 0, 0
	p.close()
	pause := min(backoffFirst<<min(p.fails-1, 10), backoffMost)
	pause += time.Duration(rand.Int64N(int64(pause)/5 + 1)) // not all parts of a broken bus at once
	p.due = time.Now().Add(pause)
	p.grid = p.due
	p.mu.Lock()
	p.errs++
	p.mu.Unlock()
	if p.setOnline(false, err.Error()) {
		p.sched.log.Warn("sensor failed", "probe", p.cfg.Name, "bus", p.busKey, "err", err)
	} else {
		p.sched.log.Debug("sensor failed again", "probe", p.cfg.Name, "bus", p.busKey, "err", err, "in_a_row", p.fails)
	}
}

func (p *probe) close() {
	if p.dev != nil {
		_ = p.dev.Close() // it is being given up: nothing to be done about an error
		p.dev, p.started = nil, false
	}
}

// emit takes one reading through filters to the publisher.
func (p *probe) emit(r Reading) {
	c := p.channel(r.Quantity, r.Unit)
	r.Probe = p.cfg.Name
	if r.Unit == "" {
		r.Unit = c.quantity.Unit
	}
	if !p.sched.o.Clock().Synchronised {
		r.Source = TimeUnknown
	}
	checkPossible(&r, c.quantity)
	pass := c.filters.apply(&r)
	if pass && !c.off {
		c.seq++
		r.Seq = c.seq
	}
	r.held = false
	p.mu.Lock()
	if p.latest == nil {
		p.latest = map[string]Reading{}
	}
	p.latest[r.Quantity] = r
	p.mu.Unlock()
	if !pass || c.off {
		return
	}
	p.sched.observeReading(r)
	body, ok := payload(r, p.cfg.Format, c.digits)
	m := Message{Topic: c.topic, QoS: p.cfg.QoS, Retain: p.cfg.Retain, Reading: &r}
	if ok {
		m.Payload = body
	} else {
		m.Topic = "" // a bad value has no plain form; it still goes into the history
	}
	p.sched.out.push(m, true)
}

// channel finds or makes the way out of a quantity.
func (p *probe) channel(quantity, unit string) *channel {
	if c := p.channels[quantity]; c != nil {
		return c
	}
	c := &channel{quantity: QuantityOf(quantity)}
	c.digits = c.quantity.Digits
	if d, ok := p.cfg.Digits[quantity]; ok {
		c.digits = d
	}
	if unit != "" {
		c.quantity.Unit = unit
	}
	specs, ok := p.cfg.Filters[quantity]
	if !ok {
		specs = p.cfg.Filters["*"]
	}
	c.filters, _ = newChain(specs) // checked in New
	c.topic = expandTopic(p.cfg.Topic, p.sched.o.Gateway, p.cfg.Name, quantity)
	for _, q := range p.cfg.Disabled {
		c.off = c.off || q == quantity
	}
	if h, ok := p.sched.o.History.(interface {
		LastSeq(probe, quantity string) uint64
	}); ok {
		c.seq = h.LastSeq(p.cfg.Name, quantity) // numbers go on after a restart
	}
	p.channels[quantity] = c
	return c
}

// setOnline publishes a change of availability and reports whether it was one.
func (p *probe) setOnline(online bool, reason string) bool {
	p.mu.Lock()
	changed := !p.announced || p.online != online
	p.announced, p.online, p.reason = true, online, reason
	p.mu.Unlock()
	if !changed {
		return false
	}
	state := "offline"
	if online {
		state = "online"
		p.sched.log.Info("sensor online", "probe", p.cfg.Name, "bus", p.busKey, "driver", p.driver.Name)
	}
	p.sched.observeOnline(p.cfg.Name, online)
	p.sched.out.push(Message{Topic: p.availability, Payload: []byte(state), QoS: 1, Retain: true}, true)
	return true
}

// checkStale declares a probe offline whose bus loop does not come back.
func (p *probe) checkStale(now time.Time) {
	p.mu.Lock()
	from := p.lastGood
	if from.IsZero() {
		from = p.since
	}
	stale := !from.IsZero() && (p.online || !p.announced) && now.Sub(from) > 2*p.cfg.Every+max(readTimeout, p.driver.Timeout)
	p.mu.Unlock()
	if stale && p.setOnline(false, "no reading for "+now.Sub(from).Round(time.Second).String()) {
		p.sched.log.Warn("sensor is stale", "probe", p.cfg.Name, "bus", p.busKey, "last", from)
	}
}

func (p *probe) hasQuantity(q string) bool {
	for _, d := range p.driver.Quantities {
		if d == q {
			return true
		}
	}
	for _, d := range p.cfg.Derive {
		if d.Quantity == q {
			return true
		}
	}
	return false
}

// sleep waits, and reports false when ctx ended it.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

package sensors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Scheduler reads probes, watches inputs, drives outputs and publishes what
// comes of it. New checks the whole configuration and starts nothing.
type Scheduler struct {
	o      Options
	log    *slog.Logger
	buses  *layers
	out    *publisher
	loops  []*busLoop // one per bus, each with one goroutine
	ins    []*inputLine
	outs   []*outputLine
	groups []*interlock // each with one goroutine
	locks  map[string]*interlock

	ready chan struct{}             // closed when every probe has had its first turn
	beat  atomic.Pointer[time.Time] // the supervisor's last round; nil before the first
}

// New checks o and makes a Scheduler of it. An error is a *ConfigError when
// the configuration is at fault.
func New(o Options) (*Scheduler, error) {
	if o.Buses == nil || o.Sink == nil {
		return nil, errors.New("sensors: Buses and Sink are needed")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Clock == nil {
		o.Clock = func() ClockInfo { return ClockInfo{Synchronised: true} }
	}
	if o.MaxPending <= 0 {
		o.MaxPending = 4096
	}
	buses, err := newLayers(o)
	if err != nil {
		return nil, err
	}
	o.Buses = buses
	s := &Scheduler{o: o, buses: buses, log: o.Log, out: newPublisher(o.Sink, o.History, o.Log, o.MaxPending),
		locks: map[string]*interlock{}, ready: make(chan struct{})}
	names := map[string]bool{}
	byBus := map[string]*busLoop{}
	for i, c := range o.Probes {
		p, err := s.newProbe(i, c, names)
		if err != nil {
			return nil, err
		}
		l := byBus[p.busKey]
		if l == nil {
			l = newBusLoop(s, p.busKey)
			byBus[p.busKey] = l
		}
		p.loop = l
		l.probes = append(l.probes, p)
	}
	for _, k := range slices.Sorted(maps.Keys(byBus)) {
		s.loops = append(s.loops, byBus[k])
	}
	for i, c := range o.Lines {
		if err := s.newLine(i, c, names); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Run reads, watches and drives until ctx is done; then outputs take their
// fail-safe values, everything is closed and what waits is published.
func (s *Scheduler) Run(ctx context.Context) error {
	pubCtx, stopPublishing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPublishing()
	var publishing, running sync.WaitGroup
	publishing.Go(func() { s.out.run(pubCtx) })

	var first sync.WaitGroup
	first.Add(len(s.loops))
	for _, l := range s.loops {
		running.Go(func() { l.run(ctx, first.Done) })
	}
	go func() { first.Wait(); close(s.ready) }() // ends with the loops at the latest
	for _, e := range s.buses.expanders {
		running.Go(func() { e.run(ctx) })
	}
	for _, in := range s.ins {
		running.Go(func() { in.run(ctx) })
	}
	for _, g := range s.groups {
		running.Go(func() { g.run(ctx) })
	}
	running.Go(func() { s.supervise(ctx) })
	if s.o.History != nil {
		defer s.serveHistory()()
	}
	running.Wait()
	s.goOffline()
	s.out.drain(2 * time.Second)
	stopPublishing()
	publishing.Wait()
	s.flushHistory()
	return context.Cause(ctx)
}

// Ready is closed when every probe has been read or has failed once.
func (s *Scheduler) Ready() <-chan struct{} { return s.ready }

// newProbe checks one entry of the configuration.
func (s *Scheduler) newProbe(i int, c ProbeConfig, names map[string]bool) (*probe, error) {
	wrong := func(field, format string, args ...any) error {
		return &ConfigError{List: "sensors", Index: i, Name: c.Name, Field: field, Err: fmt.Errorf(format, args...)}
	}
	if c.Name == "" || strings.ContainsAny(c.Name, "/+#") {
		return nil, wrong("name", "a sensor needs a name without / + #")
	}
	if names[c.Name] {
		return nil, wrong("name", "this name is taken")
	}
	names[c.Name] = true
	d, ok := FindDriver(c.Driver)
	if !ok {
		return nil, wrong("driver", "unknown driver %q%s", c.Driver, suggest(c.Driver, DriverNames()))
	}
	for k := range c.Options {
		if !slices.Contains(d.Options, k) {
			return nil, wrong(k, "driver %s has no key %q%s", d.Name, k, suggest(k, d.Options))
		}
	}
	if c.Every == 0 {
		c.Every = 10 * time.Second
	}
	if c.Every < max(d.MinEvery, 10*time.Millisecond) {
		return nil, wrong("every", "%v is too often: a %s needs at least %v", c.Every, d.Part, max(d.MinEvery, 10*time.Millisecond))
	}
	if c.Topic == "" {
		c.Topic = "{name}/{quantity}"
	}
	if strings.ContainsAny(c.Topic, "+#") {
		return nil, wrong("topic", "%q has a wildcard", c.Topic)
	}
	if c.QoS > 2 {
		return nil, wrong("qos", "%d is not 0, 1 or 2", c.QoS)
	}
	switch c.Format {
	case "":
		c.Format = FormatPlain
	case FormatPlain, FormatJSON:
	default:
		return nil, wrong("format", "%q is neither plain nor json", c.Format)
	}
	if err := d.checkAddress(c.Address); err != nil {
		return nil, wrong("address", "%w", err)
	}
	busKey, err := d.checkBus(s.buses, c.Bus)
	if err != nil {
		return nil, wrong("bus", "%w", err)
	}
	if d.Bus == BusPins {
		busKey += c.Name // lines of its own: it shares nothing
	}
	if d.Emits != nil {
		d.Quantities = d.Emits(Params{Name: c.Name, Bus: c.Bus, Address: c.Address, Options: c.Options, driver: d})
		if len(d.Quantities) == 0 {
			return nil, wrong("options", "nothing of a %s is asked for", d.Part)
		}
	}
	p := &probe{cfg: c, driver: d, busKey: busKey, sched: s, channels: map[string]*channel{}}
	p.availability = s.availability(c.Name)
	for q := range c.Filters {
		if q != "*" && !p.hasQuantity(q) {
			return nil, wrong("filters", "%s has no quantity %q%s", d.Name, q, suggest(q, d.Quantities))
		}
		if _, err := newChain(c.Filters[q]); err != nil {
			return nil, wrong("filters", "%s: %w", q, err)
		}
	}
	if len(d.Quantities) > 1 && !strings.Contains(c.Topic, "{quantity}") && c.Format == FormatPlain &&
		len(d.Quantities)-len(c.Disabled) > 1 {
		return nil, wrong("topic", "%q needs {quantity}: %s has %s", c.Topic, d.Name, strings.Join(d.Quantities, ", "))
	}
	if p.derived, err = newDerivations(c.Derive, d.Quantities); err != nil {
		return nil, wrong("derive", "%w", err)
	}
	return p, nil
}

// supervise notices what the bus loops cannot say themselves: that one of them
// hangs inside a bus. It sees the clock being set, and keeps the history.
func (s *Scheduler) supervise(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	known := s.o.Clock().Synchronised
	last, flushed := time.Now(), time.Now()
	ahead := time.Duration(0) // how far the clock was moved while it was not known
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s.beat.Store(&now)
			// The wall clock and the monotonic one part when the clock is set.
			ahead += now.Round(0).Sub(last.Round(0)) - now.Sub(last)
			last = now
			if !known && s.o.Clock().Synchronised {
				known = true
				s.clockSet(ahead)
			}
			for _, l := range s.loops {
				for _, p := range l.probes {
					p.checkStale(now)
				}
			}
			if now.Sub(flushed) >= time.Minute {
				flushed = now
				s.flushHistory()
			}
		}
	}
}

func (s *Scheduler) flushHistory() {
	if h, ok := s.o.History.(interface{ Flush() error }); ok {
		if err := h.Flush(); err != nil {
			s.log.Warn("history not kept", "err", err)
		}
	}
}

// goOffline says that nothing is read any more.
func (s *Scheduler) goOffline() {
	for _, l := range s.loops {
		for _, p := range l.probes {
			p.setOnline(false, "the gateway stopped")
		}
	}
	for _, l := range s.ins {
		s.lineOnline(l.cfg.Name, false)
	}
	for _, o := range s.outs {
		s.lineOnline(o.cfg.Name, false)
	}
}

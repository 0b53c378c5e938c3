package sensors

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/i2c"
)

// MuxConfig is an I2C multiplexer: its eight buses are named "<name>/0" to
// "<name>/7".
type MuxConfig struct {
	Name    string
	Driver  string // pca9548, tca9548 (the same)
	Bus     string
	Address string // empty: 0x70
}

// ExpanderConfig is a port expander: its lines are named "<name>:0" and on.
type ExpanderConfig struct {
	Name      string
	Driver    string // mcp23017, mcp23008, pcf8574, pcf8575, xl9535
	Bus       string
	Address   string        // empty: the part's first
	Interrupt string        // line of the board that the part pulls down on a change; empty: polled only
	Every     time.Duration // polling; zero: 20 ms, with an interrupt 1 s
}

// layers are the board's buses with the multiplexers and expanders behind
// them: parts and lines there are used as if they were the board's own.
type layers struct {
	Buses
	muxes     map[string]*mux
	expanders map[string]*expander
}

func newLayers(o Options) (*layers, error) {
	l := &layers{Buses: o.Buses, muxes: map[string]*mux{}, expanders: map[string]*expander{}}
	groups := map[string]*muxGroup{}
	for i, c := range o.Muxes {
		wrong := func(field string, err error) error {
			return &ConfigError{List: "muxes", Index: i, Name: c.Name, Field: field, Err: err}
		}
		if c.Name == "" || strings.ContainsAny(c.Name, "/:") || l.muxes[c.Name] != nil {
			return nil, wrong("name", fmt.Errorf("a multiplexer needs a name of its own, without a slash or a colon"))
		}
		if c.Driver != "" && c.Driver != "pca9548" && c.Driver != "tca9548" {
			return nil, wrong("driver", fmt.Errorf("%q is not pca9548 or tca9548", c.Driver))
		}
		addr, err := Driver{Name: "pca9548", Part: "PCA9548", Addresses: addressRange(0x70, 0x77)}.ParseAddress(c.Address)
		if err != nil {
			return nil, wrong("address", err)
		}
		bus, err := l.I2C(c.Bus)
		if err != nil {
			return nil, wrong("bus", err)
		}
		root := l.root(c.Bus)
		if groups[root] == nil {
			groups[root] = &muxGroup{}
		}
		l.muxes[c.Name] = &mux{bus: bus, addr: addr, root: root, group: groups[root]}
	}
	for i, c := range o.Expanders {
		e, err := newExpander(l, c)
		if err != nil {
			return nil, &ConfigError{List: "expanders", Index: i, Name: c.Name, Field: "driver", Err: err}
		}
		if l.expanders[c.Name] != nil {
			return nil, &ConfigError{List: "expanders", Index: i, Name: c.Name, Field: "name", Err: fmt.Errorf("this name is taken")}
		}
		l.expanders[c.Name] = e
	}
	return l, nil
}

// root is the board's own bus that carries the named one.
func (l *layers) root(bus string) string {
	if name, _, ok := strings.Cut(bus, "/"); ok {
		if m := l.muxes[name]; m != nil {
			return m.root
		}
	}
	return BusName(bus)
}

// I2C gives a bus of the board or one behind a multiplexer.
func (l *layers) I2C(name string) (i2c.Bus, error) {
	mx, ch, ok := strings.Cut(name, "/")
	if !ok || strings.HasPrefix(name, "/") {
		return l.Buses.I2C(name)
	}
	m := l.muxes[mx]
	if m == nil {
		return nil, fmt.Errorf("there is no multiplexer %q, only %s", mx, list(l.muxes))
	}
	n, err := strconv.Atoi(ch)
	if err != nil || n < 0 || n > 7 {
		return nil, fmt.Errorf("%q: a multiplexer has buses 0 to 7", name)
	}
	return &muxBus{m, name, byte(n)}, nil
}

// WatchInput watches a line of the board or of an expander.
func (l *layers) WatchInput(ctx context.Context, line string, pull gpio.Pull, debounce time.Duration,
	edge func(high bool, at time.Time, seq uint64)) error {
	if e, n, ok, err := l.expanderLine(line); ok || err != nil {
		if err != nil {
			return err
		}
		return e.watch(ctx, n, pull, debounce, edge)
	}
	return l.Buses.WatchInput(ctx, line, pull, debounce, edge)
}

// Output drives a line of the board or of an expander.
func (l *layers) Output(line string, high bool) (set func(bool) error, release func() error, err error) {
	if e, n, ok, err := l.expanderLine(line); ok || err != nil {
		if err != nil {
			return nil, nil, err
		}
		return e.output(n, high)
	}
	return l.Buses.Output(line, high)
}

func (l *layers) expanderLine(line string) (e *expander, n int, ok bool, err error) {
	name, num, ok := strings.Cut(line, ":")
	if !ok || l.expanders[name] == nil {
		return nil, 0, false, nil
	}
	e = l.expanders[name]
	n, err = strconv.Atoi(num)
	if err != nil || n < 0 || n >= e.lines {
		return nil, 0, false, fmt.Errorf("%q: a %s has lines 0 to %d", line, e.cfg.Driver, e.lines-1)
	}
	return e, n, true, nil
}

// Recover frees a bus, where the board can do that.
func (l *layers) Recover(bus string) error {
	if r, ok := l.Buses.(interface{ Recover(string) error }); ok {
		return r.Recover(bus)
	}
	return errCannotRecover
}

func list[V any](m map[string]V) string {
	if len(m) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}

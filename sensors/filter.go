package sensors

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// step is one filter of a chain. It changes r, marks it bad, or holds it back
// (r.held); what comes after a step that held a reading sees it as held, so
// that a heartbeat can let the true value of that moment through.
type step interface {
	apply(r *Reading)
}

// chain is the filters of one quantity of one probe, in their written order.
// It belongs to the goroutine of the probe's bus.
type chain []step

// apply runs r through the chain and reports whether it is to be published.
func (c chain) apply(r *Reading) bool {
	for _, s := range c {
		s.apply(r)
	}
	return !r.held
}

// newChain builds the filters as written.
func newChain(specs []FilterSpec) (chain, error) {
	var c chain
	for i, s := range specs {
		make, ok := filterMakers[s.Name]
		if !ok {
			return nil, fmt.Errorf("filter %d: unknown filter %q%s", i+1, s.Name, suggest(s.Name, FilterNames()))
		}
		st, err := make(s.Arg)
		if err != nil {
			return nil, fmt.Errorf("filter %d: %s: %w", i+1, s.Name, err)
		}
		c = append(c, st)
	}
	return c, nil
}

// FilterNames lists the filters a configuration may use.
func FilterNames() []string {
	names := make([]string, 0, len(filterMakers))
	for n := range filterMakers {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

var filterMakers = map[string]func(arg any) (step, error){
	"offset": func(a any) (step, error) {
		return number(a, func(v float64) step { return mapped(func(x float64) float64 { return x + v }) })
	},
	"scale": func(a any) (step, error) {
		return number(a, func(v float64) step { return mapped(func(x float64) float64 { return x * v }) })
	},
	"linear":      newLinear,
	"polynomial":  newPolynomial,
	"median":      newWindow(func(w []float64) float64 { return quantile(w, 0.5) }),
	"mean":        newWindow(mean),
	"min":         newWindow(slices.Min[[]float64]),
	"max":         newWindow(slices.Max[[]float64]),
	"quantile":    newQuantile,
	"exponential": newExponential,
	"clamp":       newClamp,
	"round":       newRound,
	"delta":       newDelta,
	"throttle":    newThrottle,
	"heartbeat":   newHeartbeat,
	"range":       newRange,
	"rate":        newRate,
	"drop":        newDrop,
}

// stepFunc is a step without state.
type stepFunc func(r *Reading)

func (f stepFunc) apply(r *Reading) { f(r) }

// mapped changes usable values and leaves bad ones alone.
func mapped(f func(float64) float64) step {
	return stepFunc(func(r *Reading) {
		if r.Quality != Bad {
			r.Value = f(r.Value)
		}
	})
}

func newLinear(arg any) (step, error) {
	// {slope: 1.02, intercept: -0.4} or [[raw, true], [raw, true], …]
	if m, ok := arg.(map[string]any); ok {
		slope, err := field(m, "slope", 1)
		if err != nil {
			return nil, err
		}
		intercept, err := field(m, "intercept", 0)
		if err != nil {
			return nil, err
		}
		if err := onlyKeys(m, "slope", "intercept"); err != nil {
			return nil, err
		}
		return mapped(func(x float64) float64 { return slope*x + intercept }), nil
	}
	points, err := pairs(arg)
	if err != nil {
		return nil, fmt.Errorf("want {slope, intercept} or pairs [[raw, true], …]: %w", err)
	}
	if len(points) < 2 {
		return nil, errors.New("needs two points or more")
	}
	slices.SortFunc(points, func(a, b [2]float64) int {
		if a[0] < b[0] {
			return -1
		}
		return 1
	})
	for i := 1; i < len(points); i++ {
		if points[i][0] == points[i-1][0] {
			return nil, fmt.Errorf("two points at %v", points[i][0])
		}
	}
	return mapped(func(x float64) float64 { return interpolate(points, x) }), nil
}

// interpolate is piecewise linear and goes on with the outer slopes.
func interpolate(p [][2]float64, x float64) float64 {
	i := 1
	for i < len(p)-1 && x > p[i][0] {
		i++
	}
	a, b := p[i-1], p[i]
	return a[1] + (x-a[0])*(b[1]-a[1])/(b[0]-a[0])
}

func newPolynomial(arg any) (step, error) {
	c, err := numbers(arg)
	if err != nil || len(c) == 0 {
		return nil, errors.New("want a list of coefficients, the constant first")
	}
	return mapped(func(x float64) float64 {
		y := 0.0
		for i := len(c) - 1; i >= 0; i-- {
			y = y*x + c[i]
		}
		return y
	}), nil
}

func newClamp(arg any) (step, error) {
	c, err := numbers(arg)
	if err != nil || len(c) != 2 || c[0] > c[1] {
		return nil, errors.New("want [lowest, highest]")
	}
	return mapped(func(x float64) float64 { return min(max(x, c[0]), c[1]) }), nil
}

func newRound(arg any) (step, error) {
	return number(arg, func(digits float64) step {
		f := math.Pow(10, math.Trunc(digits))
		return mapped(func(x float64) float64 { return math.Round(x*f) / f })
	})
}

// window keeps the last n good values and replaces the value by f of them.
type window struct {
	n    int
	vals []float64
	f    func(sorted []float64) float64
	tmp  []float64
}

func newWindow(f func([]float64) float64) func(any) (step, error) {
	return func(arg any) (step, error) {
		n, err := toNumber(arg)
		if err != nil || n < 1 || n > 1000 || n != math.Trunc(n) {
			return nil, errors.New("want how many values, 1 to 1000")
		}
		return &window{n: int(n), f: f}, nil
	}
}

func newQuantile(arg any) (step, error) {
	c, err := numbers(arg)
	if err != nil || len(c) != 2 || c[0] < 1 || c[0] > 1000 || c[1] < 0 || c[1] > 1 {
		return nil, errors.New("want [how many values, quantile between 0 and 1]")
	}
	return &window{n: int(c[0]), f: func(w []float64) float64 { return quantile(w, c[1]) }}, nil
}

func (w *window) apply(r *Reading) {
	if r.Quality == Bad {
		return
	}
	if len(w.vals) == w.n {
		w.vals = append(w.vals[:0], w.vals[1:]...)
	}
	w.vals = append(w.vals, r.Value)
	w.tmp = append(w.tmp[:0], w.vals...)
	slices.Sort(w.tmp)
	r.Value = w.f(w.tmp)
}

func mean(w []float64) float64 {
	sum := 0.0
	for _, v := range w {
		sum += v
	}
	return sum / float64(len(w))
}

// quantile of sorted values; between two it interpolates.
func quantile(w []float64, q float64) float64 {
	p := q * float64(len(w)-1)
	i := int(p)
	if i+1 >= len(w) {
		return w[len(w)-1]
	}
	return w[i] + (p-float64(i))*(w[i+1]-w[i])
}

type exponential struct {
	alpha, last float64
	set         bool
}

func newExponential(arg any) (step, error) {
	a, err := toNumber(arg)
	if err != nil || a <= 0 || a > 1 {
		return nil, errors.New("want the weight of a new value, above 0 and up to 1")
	}
	return &exponential{alpha: a}, nil
}

func (e *exponential) apply(r *Reading) {
	if r.Quality == Bad {
		return
	}
	if e.set {
		r.Value = e.last + e.alpha*(r.Value-e.last)
	}
	e.last, e.set = r.Value, true
}

// passed is what delta, throttle and heartbeat remember of the last reading
// that went past them unheld.
type passed struct {
	value float64
	at    time.Time
	set   bool
	bad   bool
}

func (p *passed) keep(r *Reading) {
	p.value, p.at, p.set, p.bad = r.Value, r.At, true, r.Quality == Bad
}

// delta holds a value that is closer than d to the last one that passed. A
// change between usable and bad always passes.
type delta struct {
	d    float64
	last passed
}

func newDelta(arg any) (step, error) {
	return number(arg, func(d float64) step { return &delta{d: math.Abs(d)} })
}

func (f *delta) apply(r *Reading) {
	if r.held {
		return
	}
	bad := r.Quality == Bad
	// The tolerance keeps 0.1 steps from failing on binary fractions.
	if f.last.set && f.last.bad == bad && (bad || math.Abs(r.Value-f.last.value) < f.d-1e-9) {
		r.held = true
		return
	}
	f.last.keep(r)
}

// throttle passes at most one reading per period.
type throttle struct {
	every time.Duration
	last  passed
}

func newThrottle(arg any) (step, error) {
	d, err := toDuration(arg)
	if err != nil {
		return nil, err
	}
	return &throttle{every: d}, nil
}

func (f *throttle) apply(r *Reading) {
	if r.held {
		return
	}
	if f.last.set && r.At.Sub(f.last.at) < f.every-time.Millisecond {
		r.held = true
		return
	}
	f.last.keep(r)
}

// heartbeat lets a held reading through when nothing has passed for so long.
type heartbeat struct {
	every time.Duration
	last  passed
}

func newHeartbeat(arg any) (step, error) {
	d, err := toDuration(arg)
	if err != nil {
		return nil, err
	}
	return &heartbeat{every: d}, nil
}

func (f *heartbeat) apply(r *Reading) {
	if r.held && f.last.set && r.At.Sub(f.last.at) < f.every-time.Millisecond {
		return
	}
	r.held = false
	f.last.keep(r)
}

package sensors

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// bad marks r as unusable and says why; the first reason stays.
func (r *Reading) bad(format string, args ...any) {
	if r.Quality != Bad {
		r.Quality, r.Reason = Bad, fmt.Sprintf(format, args...)
	}
}

// uncertain marks a good reading as doubtful.
func (r *Reading) uncertain(format string, args ...any) {
	if r.Quality == Good {
		r.Quality, r.Reason = Uncertain, fmt.Sprintf(format, args...)
	}
}

// checkPossible marks what physics does not allow: no configuration needed.
func checkPossible(r *Reading, q Quantity) {
	switch {
	case math.IsNaN(r.Value) || math.IsInf(r.Value, 0):
		r.bad("not a number")
		r.Value = 0
	case r.Value < q.Min || r.Value > q.Max:
		r.bad("impossible value %v", r.Value)
	}
}

// newRange marks values outside [lowest, highest] as bad.
func newRange(arg any) (step, error) {
	c, err := numbers(arg)
	if err != nil || len(c) != 2 || c[0] > c[1] {
		return nil, errors.New("want [lowest, highest]")
	}
	return stepFunc(func(r *Reading) {
		if r.Quality != Bad && (r.Value < c[0] || r.Value > c[1]) {
			r.bad("%v is outside %v to %v", formatNumber(r.Value, 4), c[0], c[1])
		}
	}), nil
}

// newDrop marks known bad values, such as the 85 °C a DS18B20 has at power-on.
func newDrop(arg any) (step, error) {
	vals, err := numbers(arg)
	if err != nil {
		v, err := toNumber(arg)
		if err != nil {
			return nil, errors.New("want a value or a list of values")
		}
		vals = []float64{v}
	}
	return stepFunc(func(r *Reading) {
		if r.Quality != Bad && slices.ContainsFunc(vals, func(v float64) bool { return math.Abs(v-r.Value) < 1e-6 }) {
			r.bad("known bad value %v", r.Value)
		}
	}), nil
}

// rate marks values that moved faster than limit per second since the last
// accepted one. Three in a row that agree with each other are a true change:
// they are accepted, the first as uncertain.
type rate struct {
	limit    float64
	last     passed
	rejected passed
	streak   int
}

func newRate(arg any) (step, error) {
	// {max: 2, per: 1m} or a number per second
	if m, ok := arg.(map[string]any); ok {
		if err := onlyKeys(m, "max", "per"); err != nil {
			return nil, err
		}
		v, err := field(m, "max", 0)
		if err != nil {
			return nil, err
		}
		per := time.Second
		if p, ok := m["per"]; ok {
			if per, err = toDuration(p); err != nil {
				return nil, err
			}
		}
		arg = v / per.Seconds()
	}
	v, err := toNumber(arg)
	if err != nil || v <= 0 {
		return nil, errors.New("want the largest change per second, or {max, per}")
	}
	return &rate{limit: v}, nil
}

func (f *rate) apply(r *Reading) {
	if r.Quality == Bad {
		return
	}
	if !f.last.set || f.within(&f.last, r) {
		f.last.keep(r)
		f.streak = 0
		return
	}
	if f.streak > 0 && f.within(&f.rejected, r) {
		f.streak++
	} else {
		f.streak = 1
	}
	f.rejected.keep(r)
	if f.streak >= 3 {
		f.last.keep(r)
		f.streak = 0
		r.uncertain("jumped, and stayed there")
		return
	}
	r.bad("changed faster than %v per second", f.limit)
}

func (f *rate) within(p *passed, r *Reading) bool {
	dt := max(r.At.Sub(p.at).Seconds(), 0.001)
	return math.Abs(r.Value-p.value) <= f.limit*dt
}

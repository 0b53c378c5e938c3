package sensors

import (
	"fmt"
	"slices"
	"time"
)

// derivation makes one quantity of others, after each turn that read them all.
type derivation struct {
	spec DeriveSpec
	need []string
	f    func(v map[string]float64) (float64, error)
}

// newDerivations checks the derived quantities of a probe; each may use what
// the driver reads and what was derived before it.
func newDerivations(specs []DeriveSpec, have []string) ([]*derivation, error) {
	have = slices.Clone(have)
	var all []*derivation
	for _, s := range specs {
		if s.Quantity == "" {
			return nil, fmt.Errorf("a derived quantity needs a name")
		}
		if slices.Contains(have, s.Quantity) {
			return nil, fmt.Errorf("%s is there already", s.Quantity)
		}
		d, err := newDerivation(s, have)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Quantity, err)
		}
		all = append(all, d)
		have = append(have, s.Quantity)
	}
	return all, nil
}

// derive computes and emits the derived quantities from the latest filtered
// values of this turn. Their quality is the worst of what they are made of.
func (p *probe) derive(now time.Time, got []Reading) {
	if len(p.derived) == 0 {
		return
	}
	read := map[string]bool{}
	for _, r := range got {
		read[r.Quantity] = true
	}
	for _, d := range p.derived {
		r := Reading{Quantity: d.spec.Quantity, Unit: d.spec.Unit, At: now}
		values := map[string]float64{}
		complete := true
		p.mu.Lock()
		for _, q := range d.need {
			in, ok := p.latest[q]
			if !ok || !read[q] {
				complete = false
				break
			}
			if in.Quality > r.Quality {
				r.Quality, r.Reason = in.Quality, q+": "+in.Reason
			}
			values[q] = in.Value
		}
		p.mu.Unlock()
		if !complete {
			continue
		}
		if r.Quality != Bad {
			v, err := d.f(values)
			if err != nil {
				r.bad("%v", err)
			}
			r.Value = v
		}
		read[d.spec.Quantity] = true
		p.emit(r)
	}
}

package sim

import (
	"fmt"
	"slices"
	"time"
)

// Action is one thing that happens at a time since the board was made.
type Action struct {
	At       time.Duration
	Every    time.Duration // again with that period; zero: once
	Line     string        // with High
	High     bool
	Toggle   bool
	Part     string // with Quantity and Value, or with Plug
	Quantity string
	Value    float64
	Plug     *bool
}

func (b *Board) checkAction(a Action) error {
	switch {
	case a.Line != "":
		_, err := b.lines.number(a.Line)
		return err
	case b.worlds[a.Part] == nil:
		return fmt.Errorf("script: no part named %q, only %s", a.Part, keys(b.worlds))
	}
	return nil
}

// play runs the script until the board is closed.
func (b *Board) play(script []Action) {
	script = slices.Clone(script)
	for len(script) > 0 {
		next := 0
		for i := range script {
			if script[i].At < script[next].At {
				next = i
			}
		}
		a := &script[next]
		timer := time.NewTimer(time.Until(b.start.Add(a.At)))
		select {
		case <-b.stop:
			timer.Stop()
			return
		case <-timer.C:
		}
		b.act(*a)
		if a.Every > 0 {
			a.At += a.Every
		} else {
			script = slices.Delete(script, next, next+1)
		}
	}
}

// act does one action; the names were checked.
func (b *Board) act(a Action) {
	switch {
	case a.Line != "":
		i, _ := b.lines.number(a.Line)
		high := a.High
		if a.Toggle {
			b.lines.mu.Lock()
			high = !b.lines.all[i].high
			b.lines.mu.Unlock()
		}
		b.lines.set(i, high)
	case a.Plug != nil:
		b.worlds[a.Part].plug(*a.Plug)
	default:
		_ = b.worlds[a.Part].set(a.Quantity, a.Value) // a quantity it does not measure changes nothing
	}
}

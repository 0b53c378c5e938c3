package broker

import (
	"errors"
	"slices"

	"gatewayd/faulthook"
	"gatewayd/store"
)

// submitDone hands over what clients are done with. When the store is busy it
// stays for the next flush.
func (t *turn) submitDone() {
	if t.done.Len() == 0 {
		return
	}
	var submitted func()
	var receipt func(store.Receipt)
	if faulthook.Enabled {
		submitted, receipt = t.faultDone()
	}
	if err := t.b.store.TrySubmit(&t.done, receipt); errors.Is(err, store.ErrBusy) {
		t.b.leftover.Store(true)
		return
	}
	if faulthook.Enabled {
		submitted()
	}
	t.doneSubmitted()
}

// doneSubmitted empties t.done: the store has it.
func (t *turn) doneSubmitted() {
	t.done.Reset()
	for _, r := range t.doneRefs {
		r.s.mu.Lock()
		r.s.flow.submittedLocked(r.id)
		r.s.mu.Unlock()
	}
	clear(t.doneRefs)
	t.doneRefs = t.doneRefs[:0]
}

// submittedLocked notes that the store knows the client is done with id.
func (f *outflow) submittedLocked(id store.MessageID) {
	// They come in the order in which they were noted, so it is the first, or the
	// one behind the last.
	from := min(f.ackedSeek, max(0, len(f.acked)-1))
	for n := range f.acked {
		i := from + n
		if i >= len(f.acked) {
			i -= len(f.acked)
		}
		if f.acked[i].id != id {
			continue
		}
		f.ackedSeek = i
		switch {
		case f.refilling:
			f.acked[i].submitted = true
			f.ackedSeek++
		case i == 0:
			f.acked = f.acked[1:]
		default:
			f.acked = slices.Delete(f.acked, i, i+1)
		}
		return
	}
}

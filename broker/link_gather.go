package broker

import (
	"sync"

	"gatewayd/store"
)

// gatherMost is how many PUBRECs are gathered at most: whoever gathers may be
// held up among them.
const gatherMost = 64

// gathering joins the PUBRECs that came together into one write: each of them
// alone waits for a sync of its own, the first while the others come in.
type gathering struct {
	mu    sync.Mutex // guards the fields below
	on    bool
	first *pubOp // carries the batch of all; the others are its joins
}

// Gather has Rec wait for Flush, for whoever has several PUBRECs at hand.
func (l *Link) Gather() {
	l.gathered.mu.Lock()
	l.gathered.on = true
	l.gathered.mu.Unlock()
}

// Flush ends what Gather began and writes what came.
func (l *Link) Flush() {
	l.gathered.mu.Lock()
	op := l.gathered.first
	l.gathered.first, l.gathered.on = nil, false
	l.gathered.mu.Unlock()
	if op != nil {
		l.b.submitOrRetry(op)
		l.s.fault("out.released.submitted")
	}
}

// release makes `released` durable for op's packet id, now or with others.
func (l *Link) release(op *pubOp, key store.SessionID) {
	g := &l.gathered
	g.mu.Lock()
	switch {
	case !g.on:
		g.mu.Unlock()
		op.batch.Released(key, uint16(op.pid))
		l.b.submitOrRetry(op)
		l.s.fault("out.released.submitted")
		return
	case g.first == nil:
		g.first = op
	default:
		g.first.joins = append(g.first.joins, op)
	}
	first := g.first
	first.batch.Released(key, uint16(op.pid))
	full := len(first.joins)+1 >= gatherMost
	if full {
		g.first = nil
	}
	g.mu.Unlock()
	if full {
		l.b.submitOrRetry(first)
		l.s.fault("out.released.submitted")
	}
}

// releasedReceipt answers for all that were gathered, in their order.
func (t *turn) releasedReceipt(op *pubOp) {
	joins, err := op.joins, op.err
	op.joins = nil
	op.list.ready(t, op)
	for _, j := range joins {
		j.err = err
		j.list.ready(t, j)
	}
}

package broker

import (
	"sync"

	"gatewayd/store"
)

// gatherMost is how many PUBRECs are gathered at most: whoever gathers may be
// held up among them.
const gatherMost = 64

// gathering joins answers of the remote that came together. PUBRECs are written
// together; what PUBACKs and PUBCOMPs make room for is sent together. Each for
// itself, every exchange breaks up into packets that travel alone, with a sync
// and a few switches of goroutine for each.
type gathering struct {
	mu    sync.Mutex // guards the fields below
	on    bool
	freed bool // a delivery was finished
	after func()
	first *pubOp // carries the batch of all; the others are its joins
}

// Gather has Ack, Rec and Comp wait for Flush, for whoever has several answers
// of the remote at hand. after runs each time that the functions given to Rec
// have run for all PUBRECs that were written together.
func (l *Link) Gather(after func()) {
	g := &l.gathered
	g.mu.Lock()
	g.on, g.after = true, after
	g.mu.Unlock()
}

// Flush ends what Gather began: it writes and sends.
func (l *Link) Flush() {
	g := &l.gathered
	g.mu.Lock()
	op, freed := g.first, g.freed
	g.first, g.after, g.on, g.freed = nil, nil, false, false
	g.mu.Unlock()
	if op != nil {
		l.b.submitOrRetry(op)
		l.s.fault("out.released.submitted")
	}
	if freed {
		t := l.b.takeTurn()
		l.s.mu.Lock()
		l.s.moreLocked(t)
		l.b.giveTurn(t)
	}
}

// finished says whether Flush will send what a finished delivery has made room
// for.
func (g *gathering) finished() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.freed = g.on
	return g.on
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
		g.first, op.after = op, g.after
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
	joins, err, after := op.joins, op.err, op.after
	op.joins = nil
	op.list.ready(t, op)
	for _, j := range joins {
		j.err = err
		j.list.ready(t, j)
	}
	if after != nil {
		after()
	}
}

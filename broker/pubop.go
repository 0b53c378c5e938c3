package broker

import (
	"sync"
	"sync/atomic"

	"gatewayd/mqtt"
	"gatewayd/store"
)

// pubOp is one event that waits for the store: a publish, a release, a stage of
// an outgoing delivery. It is pooled; its receipt function is made once.
type pubOp struct {
	b *Broker
	c *conn    // whom to answer; nil inside the process
	s *session // the publisher's; nil inside the process
	// kind says what is sent when the op is the head of its list and ready.
	kind mqtt.PacketType
	pid  mqtt.PacketID
	code mqtt.ReasonCode
	qos  mqtt.QoS

	batch store.Batch
	to    []recipient // durable ones, in the order of the store's recipients
	other []recipient // volatile members of shared subscriptions
	route *route
	msg   *message
	hold  bool        // a hold of s[pid] is decided by the receipt
	late  bool        // deliveries wait for the receipt (inbound QoS 2)
	joins []*pubOp    // repeats that are answered with this one
	done  func(error) // inside the process
	after func()      // runs when all of joins are answered too

	large   *largeIn // whose payload portion is a part of
	portion []byte

	saves   *session // whose saved the receipt leads to; removed goes with it
	removed []string

	ready bool
	err   error
	// parts is who still works on the op: the receipt, and whoever submitted it
	// until launched. The last one goes on with fn.
	parts   atomic.Int32
	list    *inbound // where it waits for its turn to be answered
	next    *pubOp
	receipt func(store.Receipt)
	fn      func(t *turn, op *pubOp) // what else the receipt does
}

var pubOps = sync.Pool{New: func() any {
	op := new(pubOp)
	op.receipt = func(r store.Receipt) { op.b.receipts.add(op, r) }
	return op
}}

func (b *Broker) newOp() *pubOp {
	op := pubOps.Get().(*pubOp)
	op.b = b
	op.parts.Store(1)
	return op
}

func (op *pubOp) free() {
	op.batch.Reset()
	clear(op.to)
	clear(op.other)
	op.reset()
	pubOps.Put(op)
}

// reset clears everything but what is worth keeping in the pool.
func (op *pubOp) reset() {
	op.b, op.c, op.s, op.list, op.next = nil, nil, nil, nil, nil
	op.kind, op.pid, op.code, op.qos = 0, 0, 0, 0
	op.to, op.other = op.to[:0], op.other[:0]
	op.route, op.msg, op.joins, op.done, op.fn, op.err = nil, nil, nil, nil, nil, nil
	op.after = nil
	op.hold, op.late, op.ready = false, false, false
	op.saves, op.removed = nil, nil
	op.large, op.portion = nil, nil
}

// submit hands the op to the store. On an error nothing has happened; otherwise
// the op is the submitter's to work on until it calls launched.
func (op *pubOp) submit() error {
	op.parts.Store(2)
	if err := op.b.store.TrySubmit(&op.batch, op.receipt); err != nil {
		op.parts.Store(1)
		return err
	}
	for i := range op.to {
		op.to[i].id = op.batch.ID(op.to[i].copies)
	}
	op.faultBound("out.bind.submitted")
	return nil
}

// lastID is the highest id of the message's copies; there are recipients.
func (op *pubOp) lastID() store.MessageID {
	n := 0
	for i := range op.to {
		n = max(n, op.to[i].copies)
	}
	return op.batch.ID(n)
}

// launched ends the submitter's part.
func (op *pubOp) launched(t *turn) { op.part(t) }

// part ends one of two parts of the op's life, the submitter's or the receipt's.
func (op *pubOp) part(t *turn) {
	if op.parts.Add(-1) > 0 {
		return
	}
	if op.fn == nil {
		op.free()
		return
	}
	op.fn(t, op)
}

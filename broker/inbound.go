package broker

import (
	"sync"
	"sync/atomic"

	"gatewayd/mqtt"
	"gatewayd/store"
)

// inbound is what a connection's client has under way to us: acknowledgements
// that are still to be sent, each kind in the order of what it answers
// [MQTT-4.6.0-2] [MQTT-4.6.0-3] [MQTT-4.6.0-4].
type inbound struct {
	mu    sync.Mutex   // guards the lists
	lists [4]opList    // PUBACK, PUBREC, PUBREL, PUBCOMP
	n     atomic.Int32 // publishes not yet answered with PUBACK, a failed PUBREC or PUBCOMP

	// The reader's own.
	busy    []*busyPublish // waiting for the store to have room, in order
	aliases []string       // topic aliases of the client [MQTT5 3.3.2.3.4]
}

// opList is a queue of ops; whoever finds its head ready while nobody else
// drains it sends what is ready.
type opList struct {
	head, tail *pubOp
	draining   bool
	n          atomic.Int32 // in the list, or taken off it and not yet completed
}

func (c *conn) inboundOf() *inbound {
	if c.in == nil {
		c.in = new(inbound)
	}
	return c.in
}

// enqueue puts op at the end of the list for its kind.
func (in *inbound) enqueue(op *pubOp) {
	op.list = in
	l := &in.lists[op.kind-mqtt.PUBACK]
	in.mu.Lock()
	l.n.Add(1)
	if l.tail == nil {
		l.head = op
	} else {
		l.tail.next = op
	}
	l.tail = op
	in.mu.Unlock()
}

// idle says whether nothing of the kind waits: an answer may go out directly.
// Only the reader adds to the lists, so for it a true stays true.
func (in *inbound) idle(kind mqtt.PacketType) bool {
	return in.lists[kind-mqtt.PUBACK].n.Load() == 0
}

// ready marks op and completes everything that is ready at the head of its list.
func (in *inbound) ready(t *turn, op *pubOp) {
	l := &in.lists[op.kind-mqtt.PUBACK]
	in.mu.Lock()
	op.ready = true
	if l.draining {
		in.mu.Unlock()
		return
	}
	l.draining = true
	for l.head != nil && l.head.ready {
		done := l.head
		if l.head = done.next; l.head == nil {
			l.tail = nil
		}
		in.mu.Unlock()
		done.complete(t)
		l.n.Add(-1)
		in.mu.Lock()
	}
	l.draining = false
	in.mu.Unlock()
}

// pending is the number of publishes of the client that are not finished.
func (in *inbound) pending() int {
	if in == nil {
		return 0
	}
	return int(in.n.Load())
}

func (in *inbound) count(d int32) {
	if in == nil {
		return // a hold of an earlier connection: this one has nothing under way
	}
	for {
		n := in.n.Load()
		if in.n.CompareAndSwap(n, max(n+d, 0)) { // PUBREL may answer for a publish of an earlier connection
			return
		}
	}
}

// answerLocked sends an acknowledgement that nothing holds up. The caller has
// seen that none of its kind waits.
func (c *conn) answerLocked(t *turn, kind mqtt.PacketType, pid mqtt.PacketID, code mqtt.ReasonCode) {
	if s := c.sess; s.conn == c && s.live {
		s.sendAckLocked(t, kind, pid, code)
	}
}

// dropInbound gives up publishes that were never handed to the store: nobody
// was told anything about them.
func (c *conn) dropInbound() {
	if c.in != nil {
		clear(c.in.busy)
		c.in.busy, c.in.aliases, c.aliasBytes = nil, nil, 0
	}
}

// complete does what an op's receipt allows, in the order of its list.
func (op *pubOp) complete(t *turn) {
	c := op.c
	switch op.kind {
	case mqtt.PUBACK:
		if op.err == nil {
			op.offerAll(t, true)
		}
		op.answer(t, c)
	case mqtt.PUBREC:
		if op.err == nil && op.hold {
			if op.fn != nil { // it was submitted
				op.s.fault("in.hold.durable")
			}
			t.lateDeliveries(op)
			op.s.fault("in.hold.delivered")
		}
		joins := op.settleHold()
		op.answer(t, c)
		for _, j := range joins {
			j.code, j.err = op.code, op.err
			j.list.ready(t, j)
		}
	case mqtt.PUBREL:
		op.answerPubrel(t)
	case mqtt.PUBCOMP:
		if op.hold {
			op.s.fault("in.release.durable")
		}
		joins := op.settleHold()
		op.answer(t, c)
		for _, j := range joins {
			j.err = op.err
			j.list.ready(t, j)
		}
	}
	op.free()
}

// settleHold brings the hold that op decided into its next state and returns
// the repeats that are answered with op.
func (op *pubOp) settleHold() []*pubOp {
	if !op.hold {
		return nil
	}
	s := op.s
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.holds.get(op.pid)
	if !ok || h.op != op {
		return op.joins
	}
	h.op = nil
	switch {
	case op.kind == mqtt.PUBCOMP && op.err == nil:
		s.holds.drop(op.pid)
	case op.kind == mqtt.PUBCOMP: // still held
		h.state = holdDone
		s.holds.put(op.pid, h)
	case op.err != nil || op.code.Failed():
		s.holds.drop(op.pid)
	default:
		h.state = holdDone
		s.holds.put(op.pid, h)
	}
	return op.joins
}

// answer sends the acknowledgement, if the connection that waits for it is still
// the session's.
func (op *pubOp) answer(t *turn, c *conn) {
	if c == nil { // a Link's
		if op.done != nil {
			op.done(op.err)
		}
		return
	}
	code := op.code
	if op.err != nil {
		code = codeOfStore(op.err)
	}
	if code.Failed() && c.version != mqtt.V5 {
		// 3.x cannot say no: silence would stall the client, success would lie.
		err := storeError(op.err)
		c.tr.post(func(t *turn) { c.fail(t, err) })
		return
	}
	if op.kind == mqtt.PUBACK || op.kind == mqtt.PUBCOMP || code.Failed() {
		c.in.count(-1)
	}
	s := op.s
	s.mu.Lock()
	if s.conn == c && s.live {
		s.sendAckLocked(t, op.kind, op.pid, code)
	}
	s.mu.Unlock()
}

// sendAckLocked puts an acknowledgement without properties into the outbox.
func (s *session) sendAckLocked(t *turn, kind mqtt.PacketType, pid mqtt.PacketID, code mqtt.ReasonCode) {
	c := s.conn
	if c == nil {
		if s.link != nil && kind == mqtt.PUBREL {
			s.link.pushRelease(pid)
		}
		return
	}
	if c.out == nil {
		c.out = outboxes.Get().(*outbox)
	}
	before := len(c.out.buf)
	c.out.buf = mqtt.AppendAck(c.out.buf, c.version, kind, pid, code)
	c.wrote(t, len(c.out.buf)-before)
	t.counts.packetsOut++
	s.faultAnswered(t, kind)
}

// receiptQueue carries receipts from the store's deliverer, which must not be
// held up, to the broker's goroutine that acts on them.
type receiptQueue struct {
	mu    sync.Mutex
	list  []receiptOf
	wake  chan struct{}
	round chan struct{} // closed after each round
}

type receiptOf struct {
	op *pubOp
	r  store.Receipt
}

func (q *receiptQueue) init() {
	q.wake = make(chan struct{}, 1)
	q.round = make(chan struct{})
}

func (q *receiptQueue) add(op *pubOp, r store.Receipt) {
	q.mu.Lock()
	q.list = append(q.list, receiptOf{op, r})
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// again returns a channel that is closed after the next round of receipts.
func (q *receiptQueue) again() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.round
}

// take swaps the waiting receipts for an empty list.
func (q *receiptQueue) take(spare []receiptOf) []receiptOf {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.list
	q.list = spare[:0]
	return list
}

func (q *receiptQueue) endRound() {
	q.mu.Lock()
	close(q.round)
	q.round = make(chan struct{})
	q.mu.Unlock()
}

package broker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"gatewayd/faulthook"
	"gatewayd/mqtt"
	"gatewayd/store"
	"gatewayd/topic"
)

// Publication is a message that enters the broker inside the process. Its
// fields are read-only from then on.
type Publication struct {
	Topic      string
	Payload    []byte
	QoS        mqtt.QoS
	Retain     bool
	Properties *mqtt.PublishProperties
	Expiry     time.Duration // 0: never
	// Lazy makes a retained message of QoS 1 or 2 as lazy as one of QoS 0 is:
	// our own sensors repeat themselves.
	Lazy bool
	// Publisher is the client id that the store keeps with the message.
	Publisher string
}

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
	op.hold, op.late, op.ready = false, false, false
	op.saves, op.removed = nil, nil
}

// origin is who publishes what is in t.out.
type origin struct {
	s      *session // nil inside the process
	client *Client
	lazy   bool // retained messages of any QoS are lazy
}

// prepare collects who needs t.out durably and what else is to be saved with
// it. It reserves places in the outflows of durable sessions; undo gives them
// back. Nothing is decided yet.
func (b *Broker) prepare(t *turn, op *pubOp, r *route, from origin) {
	o := &t.out
	op.route, op.qos = r, o.view.QoS
	op.late = op.qos == 2
	for i := range r.targets {
		tg := &r.targets[i]
		if tg.s == from.s && (!tg.local || tg.more != nil) {
			if tg = tg.more; tg == nil {
				continue
			}
		}
		if !tg.s.keeps.Load() {
			continue
		}
		qos := effective(o.view.QoS, tg.qos, tg.upgrade)
		if qos == 0 && !tg.queue0 {
			continue
		}
		rc := recipient{s: tg.s, qos: qos, ids: tg.ids}
		if o.view.Retain && tg.rap {
			rc.opts = optRetain
		}
		op.reserve(rc)
	}
	for _, g := range r.groups {
		if rc, ok := g.choose(b, o.topic, o.view.QoS); ok {
			if !o.view.Retain {
				rc.opts &^= optRetain
			}
			if rc.s.keeps.Load() && (rc.qos > 0 || rc.s.rules.Load().QueueQoS0) {
				for i := range op.to {
					if op.to[i].s == rc.s {
						rc.copies++
					}
				}
				op.reserve(rc)
			} else {
				op.other = append(op.other, rc)
			}
		}
	}
}

// reserve promises a durable recipient its copy.
func (op *pubOp) reserve(rc recipient) {
	s := rc.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || rc.qos == 0 && s.onlineLocked() {
		return // QoS 0 to a client that is there goes out directly
	}
	f := s.outLocked()
	f.unoffered++
	rc.key, rc.stored = s.key, true
	rc.live = s.passesLocked(op.topic(), rc.qos)
	switch {
	case !rc.live && (rc.qos == 0 || f.backlog || f.lanes.sorts() || !s.onlineLocked() || !s.openLocked() || !s.roomLocked()):
		f.backlog = true
		f.lanes.waits(op.topic())
	case rc.qos == 1:
		rc.sent = true
		f.reserved++
	default:
		rc.sent, rc.pid = true, f.packetIDLocked()
		f.addLocked(delivery{pid: rc.pid, qos: 2, opts: rc.opts, ids: rc.ids, state: binding, live: rc.live, floor: store.MessageID(s.b.durable.Load())})
		f.idle++
	}
	op.to = append(op.to, rc)
}

// undo gives back what reserve promised: the store refused.
func (op *pubOp) undo() {
	for i := range op.to {
		rc := &op.to[i]
		rc.s.mu.Lock()
		f := rc.s.outLocked()
		f.unoffered--
		if rc.sent && rc.qos == 1 {
			f.reserved--
		} else if rc.sent {
			if j := f.findLocked(rc.pid); j >= 0 {
				f.dropLocked(j)
				f.idle--
			}
		} else {
			f.lanes.left(op.topic())
		}
		rc.s.mu.Unlock()
	}
	clear(op.to)
	op.to = op.to[:0]
}

// fill writes t.out and its recipients into the batch. It reports whether there
// is anything that must be durable.
func (op *pubOp) fill(t *turn, from origin) (durable bool) {
	o := &t.out
	if len(op.to) > 0 {
		m := o.keep().toStore(op.class(o.topic).Class)
		for i := 0; op.addCopy(t, m, i); i++ {
		}
		durable = true
	}
	if o.view.Retain && op.b.fillRetained(t, op, from) {
		durable = true
	}
	if op.hold && op.s.keeps.Load() {
		durable = true
	}
	if durable {
		op.msg = o.keep()
	}
	return durable
}

// addCopy adds the message for those who get their n-th copy of it: a session
// that wants a message for itself and through a shared subscription gets two,
// and the store keeps one copy under a message id. It reports whether there are
// more.
func (op *pubOp) addCopy(t *turn, m *store.Message, n int) (more bool) {
	t.recs = t.recs[:0]
	for i := range op.to {
		rc := &op.to[i]
		more = more || rc.copies > n
		if rc.copies != n {
			continue
		}
		t.recs = append(t.recs, store.Recipient{
			Session: rc.key, QoS: byte(rc.qos), Options: rc.opts, SubscriptionIDs: rc.ids, PacketID: uint16(rc.pid), Sent: rc.sent,
		})
	}
	op.batch.AddMessage(m, t.recs)
	return more
}

// settle delivers t.out to everyone who waits for nothing durable, and makes it
// the retained message. It is called once, after the decision.
func (b *Broker) settle(t *turn, r *route, from *session) {
	if t.out.view.Retain {
		b.retain(t)
	}
	b.fanOut(t, r, from)
}

// settleOthers delivers to the volatile members that shared subscriptions chose.
func (b *Broker) settleOthers(t *turn, others []recipient) {
	for i := range others {
		rc := &others[i]
		b.deliver(t, rc.s, rc.qos, rc.opts, rc.ids)
	}
}

// offerAll tells the durable recipients their message's place in the queue.
func (op *pubOp) offerAll(t *turn, late bool) {
	for i := range op.to {
		rc := &op.to[i]
		// QoS 2 goes out on the receipt, whatever it was published with; and what
		// was published with QoS 2 too.
		if (op.late || rc.qos == 2) != late {
			continue
		}
		op.b.offer(t, op, rc)
	}
}

// offer puts one reserved delivery where it belongs.
func (b *Broker) offer(t *turn, op *pubOp, rc *recipient) {
	s := rc.s
	s.mu.Lock()
	f := s.flow
	if s.gone || f == nil {
		s.mu.Unlock()
		return
	}
	f.unoffered--
	var start bool
	switch {
	case !rc.sent:
		if rc.id <= f.cursor {
			f.cursor, f.lowered = rc.id-1, true
		}
		f.backlog = true
	case rc.qos == 1:
		f.reserved--
		d := delivery{msg: op.msg, id: rc.id, ids: rc.ids, qos: 1, opts: rc.opts, pid: f.packetIDLocked(), live: rc.live}
		s.markLocked(t)
		s.putInFlightLocked(t, d)
	default:
		s.fault("out.bind.durable")
		i := f.findLocked(rc.pid)
		if i < 0 {
			break
		}
		d := &f.flight[i]
		d.state, d.id, d.msg = published, rc.id, op.msg
		f.bytes += len(op.msg.Payload)
		s.sendIdleLocked(t)
	}
	start = s.wantsRefillLocked()
	s.mu.Unlock()
	if start {
		b.startRefill(s)
	}
}

// putInFlightLocked adds a published delivery and sends it if the client is
// there.
func (s *session) putInFlightLocked(t *turn, d delivery) {
	f := s.flow
	f.addLocked(d)
	f.idle++
	s.sendIdleLocked(t)
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
	for i := range f.acked {
		if f.acked[i].id != id {
			continue
		}
		if f.refilling {
			f.acked[i].submitted = true
			return
		}
		n := copy(f.acked[i:], f.acked[i+1:])
		f.acked = f.acked[:i+n]
		return
	}
}

// Publish routes a message of the process itself. done runs once the message is
// as safe as its QoS promises, on a goroutine that must not be held up; it may
// be nil. Publish waits while the store is busy.
func (b *Broker) Publish(ctx context.Context, p Publication, done func(error)) error {
	if err := topic.ValidName(p.Topic); err != nil {
		return err
	}
	op := b.newOp()
	op.done = done
	for {
		t := b.takeTurn()
		err := b.publishLocal(t, op, p, origin{lazy: p.Lazy})
		b.giveTurn(t)
		if !errors.Is(err, store.ErrBusy) {
			if err != nil {
				op.free()
			}
			return err
		}
		if err := b.waitStore(ctx); err != nil {
			op.free()
			return err
		}
	}
}

// publishLocal routes p. On an error nothing has happened and op is still the
// caller's.
func (b *Broker) publishLocal(t *turn, op *pubOp, p Publication, from origin) error {
	var expires int64
	if p.Expiry > 0 {
		expires = t.now + p.Expiry.Milliseconds()
	}
	r := t.routeOf(p.Topic)
	t.out.setOwned(&message{
		at:        t.now,
		Message:   mqtt.Message{Topic: r.topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain, Properties: p.Properties},
		expires:   expires,
		publisher: p.Publisher,
	})
	t.counts.publishIn(len(p.Payload))
	b.prepare(t, op, r, from)
	if !op.fill(t, from) {
		b.settle(t, r, from.s)
		b.settleOthers(t, op.other)
		op.finish(nil)
		return nil
	}
	if err := op.submit(); err != nil {
		op.undo()
		op.batch.Reset()
		op.other = op.other[:0]
		return err
	}
	op.fn = (*turn).localReceipt
	if !op.late {
		b.settle(t, r, from.s)
		b.settleOthers(t, op.other)
		op.offerAll(t, false)
	}
	op.launched(t)
	return nil
}

// finish reports to a publisher inside the process.
func (op *pubOp) finish(err error) {
	done := op.done
	op.free()
	if done != nil {
		done(err)
	}
}

// localReceipt goes on with a publication of the process itself.
func (t *turn) localReceipt(op *pubOp) {
	if op.err == nil {
		t.lateDeliveries(op)
	}
	op.finish(op.err)
}

// lateDeliveries makes the deliveries that had to wait for the receipt.
func (t *turn) lateDeliveries(op *pubOp) {
	if op.late {
		t.out.setOwned(op.msg)
		var from *session
		if op.s != nil {
			from = op.s
		}
		op.b.settle(t, op.route, from)
		op.b.settleOthers(t, op.other)
	}
	op.offerAll(t, true)
}

// waitStore waits until the store may have room again.
func (b *Broker) waitStore(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-b.receipts.again():
		return nil
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}

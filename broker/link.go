package broker

import (
	"context"
	"errors"

	"gatewayd/mqtt"
	"gatewayd/store"
	"gatewayd/topic"
)

var (
	// ErrLinkClosed means that the Link was closed or another took its session.
	ErrLinkClosed = errors.New("link is closed")
	// ErrPacketID means that no delivery under way has that packet id.
	ErrPacketID = errors.New("packet identifier not found")
)

// LinkOptions say what session a Link is an end of.
type LinkOptions struct {
	ClientID   string
	CleanStart bool // begin a new session
	// Expiry is the life of the session while no Link is open, in seconds. 0
	// ends it with Close; 0xFFFFFFFF keeps it for good.
	Expiry uint32
	// Limits bound the session's queue; the zero value: Options.Queue.
	Limits *QueueLimits
	// MaxQoS0 bounds the QoS 0 messages waiting for Next; 0: 1000.
	MaxQoS0 int
}

// Link is an in-process end of an ordinary session. What is queued for the
// session is handed out by Next, with packet id and QoS 2 state in sight, and
// finished by Ack, Rec and Comp: a bridge that passes these on to a remote
// server has no queue of its own. Its methods may be called from any goroutine.
type Link struct {
	b       *Broker
	s       *session
	present bool
	opts    LinkOptions
	in      inbound // answers to the remote, in order
	wake    chan struct{}

	// Guarded by the session's mutex.
	ready  []Delivery
	qos0   int
	closed bool
}

// Delivery is one step towards the remote.
type Delivery struct {
	PacketID mqtt.PacketID // 0 at QoS 0
	QoS      mqtt.QoS
	Retain   bool
	Dup      bool // was handed out before: the remote may have it
	// Release asks for PUBREL: the remote has the message already.
	Release         bool
	Message         *mqtt.Message // read-only; nil with Release
	SubscriptionIDs []uint32
	Expiry          uint32 // seconds left
	HasExpiry       bool
	Publisher       string // client id of who published it
	Received        bool   // came to this process as a replayed retained message
}

// Link opens a session of the process's own. It takes over from a Link or a
// connection with the same client id.
func (b *Broker) Link(o LinkOptions) (*Link, error) {
	if o.ClientID == "" {
		return nil, errors.New("a link needs a client id")
	}
	if o.MaxQoS0 == 0 {
		o.MaxQoS0 = 1000
	}
	l := &Link{b: b, opts: o, wake: make(chan struct{}, 1)}
	c := &conn{b: b, client: &Client{ID: o.ClientID, Username: "", Version: mqtt.V5, Local: true}}
	t := b.takeTurn()
	defer b.giveTurn(t)
	var batch store.Batch
	s, old, oldConn, oldWill := b.claimSession(t, o.ClientID, o.CleanStart)
	l.present = s.client != nil
	changed := s.client == nil || s.expiry != o.Expiry
	if s.link != nil {
		s.link.endLocked()
	}
	l.s = s
	s.link, s.conn, s.live = l, nil, false
	s.client, s.version, s.expiry = c.client, mqtt.V5, o.Expiry
	s.keeps.Store(o.Expiry > 0)
	s.inStore = s.inStore || o.Expiry > 0
	s.goneAt, s.window, s.will = 0, uint16(b.opt().MaxInflight), nil
	s.lapse++
	b.saveAttachedLocked(s, &batch, changed, oldWill)
	key := s.key
	s.mu.Unlock()
	if old != nil {
		b.forget(t, old, &batch)
	}
	b.closeTaken(oldConn, "link", func() {})
	if oldWill != nil {
		b.publishWill(t, oldWill)
	}
	if batch.Len() > 0 {
		if err := b.save(&batch); err != nil {
			l.Close()
			return nil, err
		}
	}
	if key != 0 {
		if o.Limits != nil {
			q := *o.Limits
			b.store.SetLimits(key, store.Limits{Messages: q.Messages, Bytes: q.Bytes, Age: q.Age.Milliseconds(), OnFull: store.OnFull(q.OnFull)})
		} else {
			b.limit(key)
		}
	}
	return l, nil
}

// save makes a batch durable.
func (b *Broker) save(batch *store.Batch) error {
	done := make(chan error, 1)
	if err := b.store.Submit(b.ctx, batch, func(r store.Receipt) { done <- r.Err }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-b.ctx.Done():
		return context.Cause(b.ctx)
	}
}

// Present says whether the session was there before.
func (l *Link) Present() bool { return l.present }

// Subscribe adds subscriptions; retained messages are replayed as the options
// say. It returns when they are durable.
func (l *Link) Subscribe(id uint32, requests ...mqtt.Request) error {
	s, b := l.s, l.b
	var batch store.Batch
	var fresh []*subscription
	for _, q := range requests {
		group, filter, shared, err := topic.ParseShare(q.Filter)
		if err != nil {
			return err
		}
		sub := &subscription{s: s, name: q.Filter, filter: filter, id: id, opts: subOptions(q.Options)}
		s.mu.Lock()
		if s.link != l {
			s.mu.Unlock()
			return ErrLinkClosed
		}
		old := s.putLocked(sub)
		if s.durable() && !sub.same(old) {
			batch.PutSubscription(s.key, store.Subscription{Filter: sub.name, Options: uint8(sub.opts), ID: id})
		}
		if h := sub.opts.retainHandling(); !shared && (h == 0 || h == 1 && old == nil) {
			fresh = append(fresh, sub)
		}
		s.mu.Unlock()
		b.enter(sub, old, group, shared)
	}
	if batch.Len() > 0 {
		if err := b.save(&batch); err != nil {
			return err
		}
	}
	s.mu.Lock()
	for _, sub := range fresh {
		s.replayForLocked(sub)
	}
	s.mu.Unlock()
	t := b.takeTurn()
	defer b.giveTurn(t)
	b.replay(t, s)
	return nil
}

// Unsubscribe removes subscriptions. It returns when that is durable.
func (l *Link) Unsubscribe(filters ...string) error {
	s, b := l.s, l.b
	var batch store.Batch
	var left []*subscription
	for _, name := range filters {
		s.mu.Lock()
		sub := s.takeLocked(name)
		if sub != nil && s.durable() {
			batch.DeleteSubscription(s.key, name)
		}
		s.mu.Unlock()
		if sub != nil {
			b.unsubscribe(sub)
			left = append(left, sub)
		}
	}
	b.leaveGroups(s, left)
	if batch.Len() == 0 {
		return nil
	}
	return b.save(&batch)
}

// Subscriptions are the filters of the session.
func (l *Link) Subscriptions() []string {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	var list []string
	for _, sub := range l.s.subs {
		list = append(list, sub.name)
	}
	return list
}

// Resume starts the deliveries, from the beginning of what is under way: the
// remote is there. window is its Receive Maximum. What Next had ready before is
// dropped.
func (l *Link) Resume(window int) {
	s := l.s
	t := l.b.takeTurn()
	defer l.b.giveTurn(t)
	s.mu.Lock()
	if s.link != l {
		s.mu.Unlock()
		return
	}
	l.ready, l.qos0 = nil, 0
	s.flow.offlineLocked()
	s.window = uint16(min(max(window, 1), 65535))
	s.live = true
	s.moreLocked(t)
}

// Pause stops the deliveries: the remote is gone. What was handed out and not
// finished is handed out again after Resume.
func (l *Link) Pause() {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return
	}
	s.live = false
	l.ready, l.qos0 = nil, 0
	s.flow.offlineLocked()
}

// Next waits for the next step. One goroutine at a time may call it.
func (l *Link) Next(ctx context.Context) (Delivery, error) {
	for {
		d, ok, err := l.take()
		if ok || err != nil {
			return d, err
		}
		select {
		case <-ctx.Done():
			return Delivery{}, context.Cause(ctx)
		case <-l.wake:
		}
	}
}

// TryNext is Next that does not wait.
func (l *Link) TryNext() (Delivery, bool) {
	d, ok, _ := l.take()
	return d, ok
}

func (l *Link) take() (d Delivery, ok bool, err error) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if len(l.ready) > 0 {
		d = l.ready[0]
		l.ready[0] = Delivery{}
		l.ready = l.ready[1:]
		if d.QoS == 0 && !d.Release {
			l.qos0--
		}
		return d, true, nil
	}
	if l.closed {
		err = ErrLinkClosed
	}
	return d, false, err
}

// pushLocked hands a delivery to Next. It reports false when it is dropped.
func (l *Link) pushLocked(m *message, d *delivery, now int64) bool {
	if d.qos == 0 {
		if l.qos0 >= l.opts.MaxQoS0 {
			return false
		}
		l.qos0++
	}
	x := Delivery{
		PacketID: d.pid, QoS: d.qos, Retain: d.opts&optRetain != 0, Dup: d.tried && d.qos > 0, Message: &m.Message,
		SubscriptionIDs: d.ids, Publisher: m.publisher, Received: d.opts&optReplay != 0,
	}
	if m.expires != 0 {
		x.HasExpiry, x.Expiry = true, remaining(m.expires, now)
	}
	l.ready = append(l.ready, x)
	l.signal()
	return true
}

// pushRelease asks for PUBREL. The caller holds the session's mutex.
func (l *Link) pushRelease(pid mqtt.PacketID) {
	l.ready = append(l.ready, Delivery{PacketID: pid, QoS: 2, Release: true})
	l.signal()
}

func (l *Link) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *Link) endLocked() {
	l.closed = true
	l.ready = nil
	l.signal()
}

// Ack finishes a QoS 1 delivery: PUBACK came. A failed code is an answer too.
func (l *Link) Ack(pid mqtt.PacketID, code mqtt.ReasonCode) error {
	t := l.b.takeTurn()
	defer l.b.giveTurn(t)
	return l.s.acked(t, pid)
}

// Rec takes the PUBREC of a QoS 2 delivery. then runs once PUBREL may be sent;
// with ErrPacketID there is no such delivery. It does not run when code is a
// failure: that ends the delivery.
func (l *Link) Rec(pid mqtt.PacketID, code mqtt.ReasonCode, then func(error)) error {
	s := l.s
	t := l.b.takeTurn()
	defer l.b.giveTurn(t)
	s.mu.Lock()
	i := s.flow.findLocked(pid)
	if i < 0 {
		s.mu.Unlock()
		if !code.Failed() {
			then(ErrPacketID)
		}
		return nil
	}
	d := &s.flow.flight[i]
	switch {
	case d.qos != 2:
		s.mu.Unlock()
		return protocolError("PUBREC for a QoS 1 delivery")
	case code.Failed():
		s.finishLocked(t, i)
		s.moreLocked(t)
		return nil
	case d.state == released || d.id == 0 && !s.durable():
		d.state = released
		s.flow.forgetMessageLocked(d)
		s.mu.Unlock()
		then(nil)
		return nil
	case d.state == releasing:
		s.mu.Unlock() // the first one's then runs
		return nil
	}
	d.state = releasing
	s.flow.forgetMessageLocked(d)
	key := s.key
	s.mu.Unlock()
	op := l.b.newOp()
	op.s, op.pid, op.kind, op.fn, op.done = s, pid, mqtt.PUBREL, (*turn).ackReceipt, then
	op.batch.Released(key, uint16(pid))
	l.in.enqueue(op)
	l.b.submitOrRetry(op)
	return nil
}

// Comp finishes a QoS 2 delivery: PUBCOMP came.
func (l *Link) Comp(pid mqtt.PacketID) error {
	t := l.b.takeTurn()
	defer l.b.giveTurn(t)
	return l.s.completed(t, pid)
}

// Receive routes a message from the remote, as one that this session publishes.
// done runs when it may be acknowledged: PUBACK, or PUBREC at QoS 2, where pid
// is held until Release and a repeat is not routed again. Receive waits while
// the store is busy.
func (l *Link) Receive(ctx context.Context, p Publication, pid mqtt.PacketID, dup bool, done func(error)) error {
	if err := topic.ValidName(p.Topic); err != nil {
		return err
	}
	if p.Publisher == "" {
		p.Publisher = l.s.id
	}
	for {
		t := l.b.takeTurn()
		err := l.receive(t, p, pid, dup, done)
		l.b.giveTurn(t)
		if !errors.Is(err, store.ErrBusy) {
			return err
		}
		if err := l.b.waitStore(ctx); err != nil {
			return err
		}
	}
}

func (l *Link) receive(t *turn, p Publication, pid mqtt.PacketID, dup bool, done func(error)) error {
	s := l.s
	op := l.b.newOp()
	op.s, op.pid, op.done = s, pid, done
	switch p.QoS {
	case 0:
		op.s = nil
		err := l.b.publishLocal(t, op, p, origin{s: s, client: s.client, lazy: p.Lazy})
		if err != nil {
			op.free()
		}
		return err
	case 1:
		op.kind = mqtt.PUBACK
	default:
		op.kind, op.hold = mqtt.PUBREC, true
		sum := digest(p.Topic, p.Payload)
		s.mu.Lock()
		if h, held := s.holds[pid]; held && (dup || h.digest == sum || h.state != holdDone) {
			op.hold = false
			wait := h.state == holdPending && h.op != nil
			if wait {
				h.op.joins = append(h.op.joins, op)
			}
			l.in.enqueue(op)
			s.mu.Unlock()
			if !wait {
				l.in.ready(t, op)
			}
			return nil
		}
		h := hold{state: holdPending, digest: sum, op: op, stored: s.durable()}
		s.holdLocked(pid, h)
		if h.stored {
			op.batch.Hold(s.key, uint16(pid), sum)
		}
		s.mu.Unlock()
	}
	err := l.b.publishOrdered(t, op, p, origin{s: s, client: s.client, lazy: p.Lazy}, &l.in)
	if err != nil {
		if op.hold {
			s.mu.Lock()
			delete(s.holds, pid)
			s.mu.Unlock()
		}
		op.free()
	}
	return err
}

// publishOrdered is publishLocal for those who are answered in order.
func (b *Broker) publishOrdered(t *turn, op *pubOp, p Publication, from origin, in *inbound) error {
	var expires int64
	if p.Expiry > 0 {
		expires = t.now + p.Expiry.Milliseconds()
	}
	r := t.routeOf(p.Topic)
	t.out.setOwned(&message{
		Message:   mqtt.Message{Topic: r.topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain, Properties: p.Properties},
		expires:   expires,
		publisher: p.Publisher,
	})
	t.counts.publishIn(len(p.Payload))
	b.prepare(t, op, r, from)
	durable := op.fill(t, from)
	op.msg = t.out.keep()
	if durable {
		if err := op.submit(); err != nil {
			op.undo()
			return err
		}
		op.fn = (*turn).ackReceipt
	}
	in.enqueue(op)
	if !op.late {
		b.settle(t, r, from.s)
		b.settleOthers(t, op.other)
		op.offerAll(t, false)
	}
	if durable {
		op.launched(t)
	} else {
		in.ready(t, op)
	}
	return nil
}

// Release lets go of a held packet id: PUBREL came. done runs when PUBCOMP may
// be sent.
func (l *Link) Release(pid mqtt.PacketID, done func(error)) {
	s := l.s
	t := l.b.takeTurn()
	defer l.b.giveTurn(t)
	op := l.b.newOp()
	op.s, op.pid, op.kind, op.done = s, pid, mqtt.PUBCOMP, done
	s.mu.Lock()
	h, held := s.holds[pid]
	switch {
	case held && h.state == holdReleasing && h.op != nil:
		h.op.joins = append(h.op.joins, op)
		l.in.enqueue(op)
		s.mu.Unlock()
		return
	case held && h.stored:
		h.state, h.op = holdReleasing, op
		s.holds[pid] = h
		op.hold = true
		op.batch.Release(s.key, uint16(pid))
		op.fn = (*turn).ackReceipt
		l.in.enqueue(op)
		s.mu.Unlock()
		l.b.submitOrRetry(op)
		return
	case held:
		delete(s.holds, pid)
	}
	l.in.enqueue(op)
	s.mu.Unlock()
	l.in.ready(t, op)
}

// ForgetHolds lets go of every held packet id: the remote has lost its session,
// so its packet ids mean new messages from now on.
func (l *Link) ForgetHolds() error {
	s := l.s
	var batch store.Batch
	s.mu.Lock()
	for pid, h := range s.holds {
		if h.stored {
			batch.Release(s.key, uint16(pid))
		}
	}
	clear(s.holds)
	s.mu.Unlock()
	if batch.Len() == 0 {
		return nil
	}
	return l.b.save(&batch)
}

// Depth is what waits or is under way, and the receipt time in ms of the oldest
// (on the broker's clock; 0: none).
func (l *Link) Depth() (messages int, bytes int64, oldest int64) {
	s := l.s
	s.mu.Lock()
	key := s.key
	if s.flow != nil {
		messages = len(s.flow.flight) + len(s.flow.queue)
		bytes = s.flow.queueBytes + int64(s.flow.bytes)
	}
	durable := s.durable()
	s.mu.Unlock()
	if key != 0 && durable {
		return l.b.store.Depth(key)
	}
	return messages, bytes, 0
}

// Inflight is the number of deliveries handed out and not finished.
func (l *Link) Inflight() int {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.s.flow == nil {
		return 0
	}
	return len(l.s.flow.flight) - l.s.flow.idle
}

// Close leaves the session; it waits for the next Link as its expiry says.
func (l *Link) Close() { l.leave(false) }

// Delete ends the session with all it owns.
func (l *Link) Delete() { l.leave(true) }

func (l *Link) leave(forGood bool) {
	b, s := l.b, l.s
	t := b.takeTurn()
	defer b.giveTurn(t)
	s.mu.Lock()
	l.endLocked()
	if s.link != l {
		s.mu.Unlock()
		return
	}
	s.link, s.live = nil, false
	s.goneAt = t.now
	s.lapse++
	s.flow.offlineLocked()
	if s.expiry != 0 && !forGood {
		if s.expiry != neverExpires {
			b.timers.add(t.now+int64(s.expiry)*1000, s, s.lapse, timerExpiry)
		}
		b.noteAwayLocked(s, t.now)
		s.mu.Unlock()
		return
	}
	s.gone = true
	s.mu.Unlock()
	op := b.newOp()
	b.forget(t, s, &op.batch)
	b.submitOrRetry(op)
}

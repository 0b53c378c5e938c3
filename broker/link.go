package broker

import (
	"context"
	"errors"
	"time"

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
	// Parts bound the messages of some subscriptions by themselves.
	Parts []QueuePart
	// MaxQoS0 bounds the QoS 0 messages waiting for Next; 0: 1000.
	MaxQoS0 int
	// Lanes says what may pass the messages that wait.
	Lanes LaneOrder
	// HistoryRate bounds what had queued up before Resume, in messages a second;
	// 0: no bound.
	HistoryRate float64
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

	gathered gathering

	// Guarded by the session's mutex.
	ready  []Delivery
	qos0   int
	closed bool
	drops  LinkDrops
	parts  []linkPart // of opts.Parts
}

// LinkDrops is what a Link's session has lost since the process started, by
// reason.
type LinkDrops struct {
	store.Drops
	QoS0 uint64 // more than MaxQoS0 waited
}

// Drops says what was lost here.
func (l *Link) Drops() LinkDrops {
	l.s.mu.Lock()
	d, key := l.drops, l.s.key
	l.s.mu.Unlock()
	if key != 0 {
		d.add(l.b.store.Drops(key))
	}
	return d
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
	// Origin is when the message reached this process, on the wall clock; zero
	// when it is not known, as with QoS 0.
	Origin time.Time

	received int64 // on the broker's clock
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
	l := &Link{b: b, opts: o, wake: make(chan struct{}, 1), parts: make([]linkPart, len(o.Parts))}
	c := &conn{b: b, client: &Client{ID: o.ClientID, Username: "", Version: mqtt.V5, Local: true}}
	last := b.store.LastID()
	b.loadFlights(o.ClientID)
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
	s.rules.Store(&b.opt().Rules)
	s.link, s.conn, s.live = l, nil, false
	s.client, s.version, s.expiry = c.client, mqtt.V5, o.Expiry
	s.keeps.Store(o.Expiry > 0)
	s.inStore = s.inStore || o.Expiry > 0
	s.goneAt, s.window, s.will = 0, uint16(b.opt().MaxInflight), nil
	s.lapse++
	b.saveAttachedLocked(s, &batch, changed, oldWill)
	saves := s.saveLocked(&batch)
	l.setLanesLocked(last)
	key := s.key
	s.mu.Unlock()
	b.links.add(l)
	if old != nil {
		b.forget(t, old, &batch)
	}
	b.closeTaken(oldConn, "link", func() {})
	if oldWill != nil {
		b.publishWill(t, oldWill)
	}
	if err := b.saveFor(s, &batch, saves); err != nil {
		l.leave(!l.present)
		return nil, err
	}
	if key != 0 {
		switch {
		case o.Limits != nil || len(o.Parts) > 0:
			q := b.opt().Queue
			if o.Limits != nil {
				q = *o.Limits
			}
			b.store.SetLimits(key, q.toStore(), partsToStore(o.Parts)...)
		default:
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

// Subscribe adds subscriptions under an id, 0 is none; retained messages are
// replayed as the options say. It returns when they are durable.
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
	s.mu.Lock()
	saves := s.saveLocked(&batch)
	s.mu.Unlock()
	b.promiseReplay(s, &batch, fresh)
	if err := b.saveFor(s, &batch, saves); err != nil {
		return err
	}
	s.mu.Lock()
	for _, sub := range fresh {
		s.replayForLocked(sub)
	}
	s.mu.Unlock()
	if len(fresh) > 0 {
		b.cursors.put(s)
	}
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
	s.mu.Lock()
	saves := s.saveLocked(&batch)
	s.mu.Unlock()
	return b.saveFor(s, &batch, saves, filters...)
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

// Depth is what waits or is under way, and when the oldest of it reached the
// process, on the wall clock; zero when nothing waits.
func (l *Link) Depth() (messages int, bytes int64, oldest time.Time) {
	s := l.s
	s.mu.Lock()
	key := s.key
	if s.flow != nil {
		messages = len(s.flow.flight) + s.flow.queue.len()
		bytes = s.flow.queue.bytes + int64(s.flow.bytes)
	}
	durable := s.durable()
	s.mu.Unlock()
	if key == 0 || !durable {
		return messages, bytes, oldest
	}
	messages, bytes, received := l.b.store.Depth(key)
	if received > 0 {
		oldest = l.origin(received)
	}
	return messages, bytes, oldest
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

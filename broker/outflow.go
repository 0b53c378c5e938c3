package broker

import (
	"gatewayd/mqtt"
	"gatewayd/store"
)

// outflow is what a session has under way to its client at QoS 1 and 2, and
// where it stands in its queue. The session's mutex guards it.
//
// A session that ends with its connection keeps a bounded queue in memory. A
// durable one has its queue in the store: while the window is open and nothing
// waits, a delivery goes out as it is routed (Sent); otherwise the session is in
// backlog mode, and a refill reads the queue from the cursor on.
type outflow struct {
	flight   []delivery // in the order of sending; a part of base
	base     []delivery
	head     int     // where flight begins in base
	lead     int     // so many at the front were sent on this connection, at least
	seek     int     // where the last search for a packet id ended
	used     *pidSet // the packet ids in flight, when they are many
	bytes    int     // of payload in flight
	idle     int     // in flight, but not yet sent on this connection
	reserved int     // slots of the window promised to messages not yet offered
	nextPID  mqtt.PacketID
	mark     mqtt.PacketID // QoS 1 packet ids are in use up to here, as the store knows

	// Not durable: what waits.
	queue memQueue
	swept int64 // when a full queue was last looked through, in milliseconds

	// Durable: what the store has.
	backlog   bool
	refilling bool            // a refill runs
	refill    bool            // another has to run after it
	lowered   bool            // the cursor went back since the refill looked
	cursor    store.MessageID // everything up to here is under way, done or ours to skip
	unoffered int             // submitted, or about to be, and not yet offered
	acked     []ackedDelivery // done, but a refill may still see them
	ackedSeek int             // where the last search in them ended
	replayed  []*replay       // sent, but not yet acknowledged as a whole
	lanes     *lanes          // nil: nothing passes what waits
	live      int             // in flight: those that passed
}

// delivery is one message on its way to one client.
type delivery struct {
	msg   *message        // nil when nobody will ask for it again
	id    store.MessageID // 0: not in the store
	ids   []uint32        // subscription identifiers
	pid   mqtt.PacketID
	qos   mqtt.QoS
	opts  uint8   // optRetain, …
	from  *replay // of a durable session: which replay it is part of
	state deliveryState
	tried bool // was sent on this or an earlier connection: DUP
	wire  bool // was sent on this connection
	// With lanes.
	live    bool            // passed what waits, or nothing waited
	counted bool            // among its topic's waiting messages
	later   bool            // was refused, or is behind one on its topic: goes with history
	floor   store.MessageID // while binding: its id will be higher
}

// deliveryState only moves forward:
//
//	binding ──receipt──▶ published ──PUBREC──▶ releasing ──receipt──▶ released ──PUBCOMP──▶ gone
//
// QoS 1 is published at once and gone at PUBACK; a session that is not durable
// needs no receipts.
type deliveryState uint8

const (
	published deliveryState = iota
	binding                 // QoS 2: the packet id is not durable yet
	releasing               // PUBREL waits until `released` is durable
	released
)

type ackedDelivery struct {
	id        store.MessageID
	submitted bool
}

// openLocked says whether the window has room for another message.
func (s *session) openLocked() bool {
	f := s.flow
	if f == nil {
		return true
	}
	if len(f.flight)+f.reserved >= int(s.window) {
		return false
	}
	max := s.rules.Load().MaxInflightBytes
	return max == 0 || f.bytes < max || len(f.flight) == 0
}

// roomLocked says whether the outbox takes more.
func (s *session) roomLocked() bool {
	if s.conn == nil {
		return true
	}
	if s.conn.waiting < s.rules.Load().MaxOutbox {
		return true
	}
	s.conn.wantDrain = true
	return false
}

// packetIDLocked takes a packet id that is not in use [MQTT-2.2.1-3].
func (f *outflow) packetIDLocked() mqtt.PacketID {
	for {
		pid := f.nextPID
		f.nextPID++
		if f.nextPID == 0 {
			f.nextPID = 1
		}
		if f.used != nil && !f.used.has(pid) || f.used == nil && f.findLocked(pid) < 0 {
			return pid
		}
	}
}

// findLocked returns the place in flight of a packet id, or -1. Acknowledgements
// come in the order of sending, so the first is nearly always the one, or the
// one behind the last that was looked for.
func (f *outflow) findLocked(pid mqtt.PacketID) int {
	if f == nil || len(f.flight) == 0 || f.used != nil && !f.used.has(pid) {
		return -1
	}
	if f.flight[0].pid == pid {
		return 0
	}
	from := min(f.seek, len(f.flight)-1)
	for n := range f.flight {
		i := from + n
		if i >= len(f.flight) {
			i -= len(f.flight)
		}
		if f.flight[i].pid == pid {
			f.seek = i + 1
			return i
		}
	}
	return -1
}

// addLocked puts a delivery in flight.
func (f *outflow) addLocked(d *delivery) {
	if d.msg != nil {
		f.bytes += d.msg.size()
	}
	if d.live {
		f.live++
	}
	if len(f.flight) == cap(f.flight) {
		if f.head > len(f.flight)/2 { // there is room in front
			n := copy(f.base, f.flight)
			clear(f.base[n:])
			f.flight, f.head = f.base[:n], 0
		} else {
			f.flight = append(make([]delivery, 0, max(4, 2*len(f.flight))), f.flight...)
			f.base, f.head = f.flight[:cap(f.flight)], 0
		}
	}
	f.flight = append(f.flight, *d)
	switch {
	case f.used != nil:
		f.used.add(d.pid)
	case len(f.flight) > pidSetFrom:
		f.used = new(pidSet)
		for i := range f.flight {
			f.used.add(f.flight[i].pid)
		}
	}
}

// pidSetFrom is how many deliveries in flight are worth a set of their packet
// ids.
const pidSetFrom = 64

// pidSet is a set of packet ids.
type pidSet [1 << 16 / 64]uint64

func (s *pidSet) has(pid mqtt.PacketID) bool { return s[pid/64]>>(pid%64)&1 != 0 }
func (s *pidSet) add(pid mqtt.PacketID)      { s[pid/64] |= 1 << (pid % 64) }
func (s *pidSet) remove(pid mqtt.PacketID)   { s[pid/64] &^= 1 << (pid % 64) }

// dropLocked takes the i-th delivery out of flight.
func (f *outflow) dropLocked(i int) {
	d := &f.flight[i]
	f.goneLocked(d)
	if d.live {
		f.live--
	}
	if d.msg != nil {
		f.bytes -= d.msg.size()
	}
	if f.used != nil {
		f.used.remove(d.pid)
	}
	if i < f.lead {
		f.lead--
	}
	if i < f.seek {
		f.seek--
	}
	if i == 0 {
		f.flight[0] = delivery{}
		f.flight = f.flight[1:]
		f.head++
	} else {
		copy(f.flight[i:], f.flight[i+1:])
		f.flight[len(f.flight)-1] = delivery{}
		f.flight = f.flight[:len(f.flight)-1]
	}
	if len(f.flight) == 0 {
		f.flight, f.head = f.base[:0], 0
		if cap(f.base) > pidSetFrom {
			f.flight, f.base, f.used = nil, nil, nil
		}
	}
}

// emptyLocked lets go of everything: the session is gone, but a route or a
// receipt may still know it.
func (f *outflow) emptyLocked() {
	if f == nil {
		return
	}
	f.flight, f.base, f.acked, f.replayed = nil, nil, nil, nil
	f.head, f.idle, f.live, f.bytes, f.lead, f.seek, f.used = 0, 0, 0, 0, 0, 0, nil
	f.queue.empty()
}

// forgetMessageLocked drops what a released delivery needs no more: only PUBREL
// may be sent for it.
func (f *outflow) forgetMessageLocked(d *delivery) {
	if d.msg != nil {
		f.goneLocked(d)
		f.bytes -= d.msg.size()
		d.msg = nil
	}
	d.ids = nil
}

// hasLocked says whether a message of the store is in flight or was acknowledged
// so recently that the queue may still show it.
func (f *outflow) hasLocked(id store.MessageID) bool {
	for i := range f.flight {
		if f.flight[i].id == id {
			return true
		}
	}
	for _, a := range f.acked {
		if a.id == id {
			return true
		}
	}
	return false
}

// sendLocked puts the PUBLISH of a delivery into the outbox, or hands it to the
// link. It reports false when the client does not accept a packet of that size
// [MQTT-3.1.2-25]: it must not be sent, and counts as delivered.
func (s *session) sendLocked(t *turn, o *outgoing, d *delivery) bool {
	if s.link != nil {
		m := o.keep()
		if m.body != nil { // was in flight on a connection that a link has taken over from
			if m = m.whole(); m == nil {
				return false
			}
		}
		if !s.link.pushLocked(m, d, t.now) {
			return false
		}
		d.tried = true
		return true
	}
	c := s.conn
	h := mqtt.Header{QoS: d.qos, Retain: d.opts&optRetain != 0, PacketID: d.pid, Dup: d.tried && d.qos > 0, SubscriptionIDs: d.ids}
	f := o.frame(c.version)
	if c.version == mqtt.V5 && o.expires != 0 {
		h.HasExpiry, h.Expiry = true, remaining(o.expires, t.now) // [MQTT-3.3.2-6]
	}
	if s.mount != "" {
		f = o.unmounted(s.mount, c.version)
	}
	if c.aliases != nil {
		c.aliases.use(f, &h)
	}
	n := 0
	if c.maxPacket != 0 {
		if f.Size(h) > int(c.maxPacket) {
			if c.aliases != nil {
				c.aliases.undo(f, &h)
			}
			return false
		}
	}
	if c.out == nil {
		c.out = outboxes.Get().(*outbox)
	}
	if o.body != nil {
		n = c.out.publishBody(f, h, &bodyRead{body: o.body, key: s.key, id: d.id})
	} else {
		n = c.out.publish(f, h, o.owned != nil)
	}
	d.tried = true
	c.waiting += n
	t.pending += n
	t.counts.publishOut(n, len(o.view.Payload)+o.view.Later)
	t.touch(c)
	if d.qos == 2 {
		s.faultSent(t, "out.publish.sent")
	}
	return true
}

// remaining is what is left of a message's life, in whole seconds.
func remaining(expires, now int64) uint32 {
	if expires <= now {
		return 0
	}
	return uint32((expires - now + 999) / 1000)
}

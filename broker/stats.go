package broker

import (
	"slices"
	"sync"
	"sync/atomic"

	"gatewayd/mqtt"
)

// counts is what one turn adds to the broker's counters.
type counts struct {
	bytesIn, bytesOut         uint64
	packetsIn, packetsOut     uint64
	publishesIn, publishesOut uint64
	payloadIn, payloadOut     uint64
	dropped, expired, refused uint64
}

func (c *counts) packetIn(b []byte) {
	c.bytesIn += uint64(len(b))
	c.packetsIn++
}

func (c *counts) publishIn(payload int) {
	c.publishesIn++
	c.payloadIn += uint64(payload)
}

func (c *counts) publishOut(n, payload int) {
	c.packetsOut++
	c.publishesOut++
	c.bytesOut += uint64(n)
	c.payloadOut += uint64(payload)
}

func (c *counts) runIn(r *mqtt.Run) {
	c.bytesIn += uint64(r.Bytes)
	c.packetsIn += uint64(r.Packets)
	c.publishesIn += uint64(r.Packets)
	c.payloadIn += uint64(r.Payload)
}

func (c *counts) runOut(r *mqtt.Run) {
	c.packetsOut += uint64(r.Packets)
	c.publishesOut += uint64(r.Packets)
	c.bytesOut += uint64(r.Bytes)
	c.payloadOut += uint64(r.Payload)
}

// totals are the broker's counters.
type totals struct {
	bytesIn, bytesOut         atomic.Uint64
	packetsIn, packetsOut     atomic.Uint64
	publishesIn, publishesOut atomic.Uint64
	payloadIn, payloadOut     atomic.Uint64
	dropped, expired, refused atomic.Uint64
}

// add takes over what a turn has counted.
func (t *totals) add(c *counts) {
	for _, p := range [...]struct {
		to *atomic.Uint64
		n  uint64
	}{
		{&t.bytesIn, c.bytesIn}, {&t.bytesOut, c.bytesOut}, {&t.packetsIn, c.packetsIn}, {&t.packetsOut, c.packetsOut},
		{&t.publishesIn, c.publishesIn}, {&t.publishesOut, c.publishesOut}, {&t.payloadIn, c.payloadIn},
		{&t.payloadOut, c.payloadOut}, {&t.dropped, c.dropped}, {&t.expired, c.expired}, {&t.refused, c.refused},
	} {
		if p.n != 0 {
			p.to.Add(p.n)
		}
	}
	*c = counts{}
}

// gauges are numbers that go up and down, and events that are rare.
type gauges struct {
	connected      atomic.Int64 // clients
	connectionsNow atomic.Int64 // sockets
	admitted       atomic.Int64 // sockets, those that still shake hands included
	connections    atomic.Uint64
	sockets        atomic.Uint64
	refused        atomic.Uint64 // connections and CONNECTs
	expired        atomic.Uint64 // sessions
	maximum        atomic.Int64  // of clients
	subscriptions  atomic.Int64
	shared         atomic.Int64
}

// Stats is a reading of the broker's counters and gauges.
type Stats struct {
	Uptime                                             int64 // ms since this start
	Connected, Disconnected, Maximum, Expired          int64 // clients
	Sockets                                            int64
	Subscriptions, SharedSubscriptions                 int64
	Retained                                           int
	RetainedBytes                                      int64
	BytesReceived, BytesSent                           uint64
	MessagesReceived, MessagesSent                     uint64 // packets of every type
	PublishesReceived, PublishesSent, PublishesDropped uint64
	PublishesExpired, PublishesRefused                 uint64
	PayloadReceived, PayloadSent                       uint64
	Connections, SocketsOpened, Refused, Takeovers     uint64
}

// Stats reads the counters.
func (b *Broker) Stats() Stats {
	b.sessionsMu.RLock()
	sessions := int64(len(b.sessions))
	b.sessionsMu.RUnlock()
	b.retained.mu.RLock()
	retained, bytes := b.retained.names.Len(), b.retained.bytes
	b.retained.mu.RUnlock()
	b.takeovers.mu.Lock()
	takeovers := b.takeovers.total
	b.takeovers.mu.Unlock()
	// A Link is a client as Mosquitto's bridges are: connected while the remote is.
	connected := b.stats.connected.Load() + b.links.up()
	c := &b.counts
	return Stats{
		Uptime:    b.uptime(),
		Connected: connected, Disconnected: max(sessions-connected, 0), Maximum: max(b.stats.maximum.Load(), sessions),
		Expired: int64(b.stats.expired.Load()), Sockets: b.stats.connectionsNow.Load(),
		Subscriptions: b.stats.subscriptions.Load(), SharedSubscriptions: b.stats.shared.Load(),
		Retained: retained, RetainedBytes: bytes,
		BytesReceived: c.bytesIn.Load(), BytesSent: c.bytesOut.Load(),
		MessagesReceived: c.packetsIn.Load(), MessagesSent: c.packetsOut.Load(),
		PublishesReceived: c.publishesIn.Load(), PublishesSent: c.publishesOut.Load(), PublishesDropped: c.dropped.Load(),
		PublishesExpired: c.expired.Load(), PublishesRefused: c.refused.Load(),
		PayloadReceived: c.payloadIn.Load(), PayloadSent: c.payloadOut.Load(),
		Connections: b.stats.connections.Load(), SocketsOpened: b.stats.sockets.Load(), Refused: b.stats.refused.Load(), Takeovers: takeovers,
	}
}

// clientSet is the conns that are connected.
type clientSet struct {
	mu  sync.Mutex
	all map[*conn]struct{}
}

func (cs *clientSet) add(c *conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.all == nil {
		cs.all = make(map[*conn]struct{})
	}
	cs.all[c] = struct{}{}
}

func (cs *clientSet) remove(c *conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.all, c)
}

// linkSet is the Links that are open.
type linkSet struct {
	mu  sync.Mutex
	all []*Link
}

func (ls *linkSet) add(l *Link) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.all = append(ls.all, l)
}

// up counts those whose remote is there, and forgets those that were closed.
func (ls *linkSet) up() (n int64) {
	ls.mu.Lock()
	all := slices.Clone(ls.all)
	ls.mu.Unlock()
	var closed []*Link
	for _, l := range all {
		l.s.mu.Lock()
		if l.closed {
			closed = append(closed, l)
		} else if l.s.live {
			n++
		}
		l.s.mu.Unlock()
	}
	if len(closed) > 0 {
		ls.mu.Lock()
		ls.all = slices.DeleteFunc(ls.all, func(l *Link) bool { return slices.Contains(closed, l) })
		ls.mu.Unlock()
	}
	return n
}

// ClientInfo describes one session.
type ClientInfo struct {
	Client
	Connected     bool
	Subscriptions int
	Inflight      int
	Queued        int
	QueuedBytes   int64
	Expiry        uint32
	CleanStart    bool
	KeepAlive     uint32 // ms after which it is taken for dead
	MQTT          mqtt.Version
}

// Clients lists every session, connected or not.
func (b *Broker) Clients() []ClientInfo {
	b.sessionsMu.RLock()
	sessions := make([]*session, 0, len(b.sessions))
	for _, s := range b.sessions {
		sessions = append(sessions, s)
	}
	b.sessionsMu.RUnlock()
	list := make([]ClientInfo, 0, len(sessions))
	for _, s := range sessions {
		s.mu.Lock()
		if s.gone || s.client == nil {
			s.mu.Unlock()
			continue
		}
		info := ClientInfo{Client: *s.client, Connected: s.onlineLocked(), Subscriptions: len(s.subs), Expiry: s.expiry, MQTT: s.version, CleanStart: !s.durable()}
		if s.flow != nil {
			info.Inflight, info.Queued, info.QueuedBytes = len(s.flow.flight), s.flow.queue.len(), s.flow.queue.bytes
		}
		if s.conn != nil {
			info.KeepAlive = s.conn.keepAlive
		}
		key := s.key
		s.mu.Unlock()
		if key != 0 && info.Expiry > 0 {
			n, bytes, _ := b.store.Depth(key)
			info.Queued, info.QueuedBytes = n, bytes
		}
		list = append(list, info)
	}
	return list
}

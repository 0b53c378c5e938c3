package broker

import (
	"errors"
	"runtime"
	"sync"
	"time"

	"gatewayd/mqtt"
	"gatewayd/store"
)

var errTakenOver = errors.New("another connection has taken over the session")

// openSession gives the conn the session of its client id: a new one, or the
// one that waits for it. What has to be durable first is submitted; CONNACK
// follows on the receipt, or at once when nothing has changed.
func (c *conn) openSession(t *turn) {
	b, p := c.b, c.hs.p
	expiry := c.set.Rules.expiryGranted(expiryAsked(p))
	op := b.newOp()
	op.c, op.fn = c, (*turn).connectReceipt

	s, old, oldConn, oldWill := b.claimSession(t, c.client.ID, p.CleanStart)
	fresh := s.client == nil
	c.hs.present = !fresh
	was := s.rules.Load().Queue
	changed := c.attachLocked(s, expiry)
	b.saveAttachedLocked(s, &op.batch, changed, oldWill)
	h := c.hs
	h.waits.Store(1)
	if s.saveLocked(&op.batch) {
		op.saves = s
	}
	saved := func(err error) { c.tr.post(func(t *turn) { c.sessionSaved(t, err) }) }
	if s.saves.under > 1 || op.saves == nil { // an earlier connection's change is on its way
		h.waits.Add(1)
		if !s.whenSavedLocked(saved) {
			h.waits.Add(-1)
		}
	}
	c.hs.limits = s.key != 0 && (fresh && c.set.Rules.Queue != (QueueLimits{}) || !fresh && was != c.set.Rules.Queue)
	s.mu.Unlock()

	if old != nil {
		b.forget(t, old, &op.batch)
		old.mu.Lock()
		h.waits.Add(1)
		if !old.whenSavedLocked(saved) {
			h.waits.Add(-1)
		}
		old.mu.Unlock()
	}
	if oldConn != nil {
		h.waits.Add(1)
	}
	b.closeTaken(oldConn, c.peer.Remote, func() {
		if h.waits.Add(-1) == 0 {
			c.tr.post(func(t *turn) {
				if c.state == connecting {
					c.accept(t)
				}
			})
		}
	})
	if oldWill != nil {
		b.publishWill(t, oldWill)
	}
	if op.batch.Len() == 0 {
		op.free()
		if h.waits.Add(-1) == 0 {
			c.accept(t)
		}
		return
	}
	b.submitOrRetry(op)
}

// claimSession returns the session of a client id, locked, with whoever had it
// dismissed: the one that waits for the client, or a new one (its client is
// nil). old is the one that ends for it; forget it outside the lock. The will is
// one that has to be published now.
func (b *Broker) claimSession(t *turn, id string, clean bool) (s, old *session, oldConn *conn, oldWill *will) {
	for {
		b.sessionsMu.Lock()
		s = b.sessions[id]
		if s == nil {
			s = b.newSession(id)
			b.sessions[id] = s
		}
		b.sessionsMu.Unlock()
		s.mu.Lock()
		if !s.gone {
			break
		}
		s.mu.Unlock() // being removed right now: a new one takes its place
		runtime.Gosched()
	}
	if s.client == nil {
		return s, nil, nil, nil
	}
	if clean || !s.durable() { // [MQTT-3.1.2-4] [MQTT-4.1.0-2]
		old = s
		oldConn, oldWill = b.endLocked(t, old)
		old.mu.Unlock()
		s = b.newSession(id)
		s.mu.Lock()
		b.sessionsMu.Lock()
		b.sessions[id] = s
		b.sessionsMu.Unlock()
		return s, old, oldConn, oldWill
	}
	if s.link != nil {
		s.link.endLocked()
		s.link, s.live = nil, false
		s.flow.offlineLocked()
	}
	if oldConn = s.conn; oldConn != nil {
		s.dismissLocked(t)
		if s.will != nil && s.will.delay == 0 { // [MQTT-3.1.3-9]
			oldWill, s.will = s.will, nil
		}
	}
	return s, nil, oldConn, oldWill
}

// closeTaken closes a connection whose session another has taken over. then is
// called when the old one's reader has stopped: what it had read by then is
// done, and nothing that comes late can be mistaken for news. Before that the
// new connection gets no CONNACK, so its client cannot have repeated anything.
func (b *Broker) closeTaken(old *conn, by string, then func()) {
	if old == nil {
		return
	}
	b.takeovers.note(old.client.ID, old.peer.Remote, by)
	old.tr.always(func(t *turn) {
		old.end(t, errTakenOver)
		old.tr.finish(t)
		then()
	})
}

// attachLocked makes c the session's connection and takes over what CONNECT
// says. It reports whether that has changed what the store knows.
func (c *conn) attachLocked(s *session, expiry uint32) (changed bool) {
	h := c.hs
	p := h.p
	first := s.client == nil
	changed = first || s.expiry != expiry || s.client.Username != c.client.Username || s.version != p.Version || s.mount != c.set.MountPoint ||
		s.client.Listener != c.client.Listener
	if s.keeps.Load() != (expiry > 0) {
		c.b.gen.Add(1) // durable sessions are merged in routes
	}
	if !first && (s.client.Username != c.client.Username || s.client.Listener != c.client.Listener) {
		c.b.gen.Add(1) // rights may differ: routes are to be found again
	}
	c.sess = s
	s.conn, s.live = c, false
	s.client, s.version, s.expiry, s.mount = c.client, p.Version, expiry, c.set.MountPoint
	s.keeps.Store(expiry > 0)
	s.inStore = s.inStore || expiry > 0
	s.rules.Store(c.set.Rules)
	s.goneAt = 0
	s.lapse++
	s.window = uint16(c.set.Rules.MaxInflight)
	c.keepAlive = uint32(keepAliveOf(p, c.set)) * 1500
	if props := p.Properties; props != nil {
		if props.ReceiveMaximum > 0 { // [MQTT-3.3.4-9]
			s.window = min(s.window, props.ReceiveMaximum)
		}
		c.maxPacket = props.MaximumPacketSize
		if n := min(props.TopicAliasMaximum, *c.set.MaxTopicAliasBroker); n > 0 {
			c.aliases = &outAliases{max: n}
		}
	}
	s.will = nil
	if p.Will != nil {
		s.will = c.willOf(p.Will)
	}
	return changed
}

// saveAttachedLocked writes into the batch what the store has to know of a
// connect: nothing when nothing has changed.
func (b *Broker) saveAttachedLocked(s *session, batch *store.Batch, changed bool, oldWill *will) {
	keep := s.durable() || s.will != nil
	if keep && s.key == 0 {
		s.key = b.store.NewSessionID()
		changed = true
	}
	if !keep {
		return
	}
	if changed {
		batch.PutSession(s.recordLocked())
	}
	switch {
	case s.will != nil && !s.will.same(s.stored):
		batch.PutWill(s.key, s.will.record(0))
		s.stored = s.will
	case s.will == nil && s.stored != nil && oldWill == nil:
		batch.DeleteWill(s.key)
		s.stored = nil
	case s.will == nil && oldWill != nil:
		// It is submitted before this batch: a power cut between the two publishes
		// it again, and without this it would come after any power cut to come.
		batch.DeleteWill(s.key)
		s.stored = nil
	}
	b.noteAwayLocked(s, 0)
}

func (s *session) recordLocked() store.Session {
	return store.Session{
		ID: s.key, ClientID: s.id, User: s.client.Username, Version: byte(s.version),
		ExpiryInterval: s.expiry, Data: s.originLocked(),
	}
}

// dismissLocked tells the session's connection that another has taken over
// [MQTT-3.1.4-3] and takes it off the session.
func (s *session) dismissLocked(t *turn) {
	c := s.conn
	if s.live && c.version == mqtt.V5 {
		c.sendLocked(t, &mqtt.Disconnect{Code: mqtt.SessionTakenOver})
	}
	s.conn, s.live = nil, false
	s.flow.offlineLocked()
}

// endLocked marks the session as gone and returns what is left to do outside
// its mutex: the connection to close and the will to publish, if any.
func (b *Broker) endLocked(t *turn, s *session) (*conn, *will) {
	c, w := s.conn, s.will
	if c != nil {
		s.dismissLocked(t)
	}
	if s.link != nil {
		s.link.endLocked()
		s.link, s.live = nil, false
	}
	s.gone, s.will = true, nil
	s.lapse++
	return c, w
}

// forget removes what the broker and the store have of a session that is gone.
// It was marked so before; nobody changes it any more.
func (b *Broker) forget(t *turn, s *session, batch *store.Batch) {
	s.mu.Lock()
	subs := s.subs
	s.subs, s.index, s.replay, s.holds = nil, nil, nil, holds{}
	groups := groupsOf(subs)
	if len(groups) == 0 {
		s.flow.emptyLocked()
	}
	key, inStore, cursor := s.key, s.inStore, s.cursor
	s.mu.Unlock()
	b.sessionsMu.Lock()
	if b.sessions[s.id] == s {
		delete(b.sessions, s.id)
	}
	b.sessionsMu.Unlock()
	for _, sub := range subs {
		b.unsubscribe(sub)
	}
	if key != 0 && len(groups) > 0 && inStore {
		b.moveThenDelete(s, key, groups)
		return
	}
	if len(groups) > 0 {
		b.moveShared(s, groups)
	}
	if key != 0 {
		batch.DeleteSession(key)
		batch.Delete(awayKey(key))
		if cursor {
			batch.Delete(cursorKey(key))
		}
	}
}

// detach takes a connection that has ended off its session: the will and the
// session's end are scheduled.
func (b *Broker) detach(t *turn, s *session, c *conn, why error) {
	s.mu.Lock()
	if s.conn != c {
		s.mu.Unlock()
		return // taken over: it is another connection's session now
	}
	s.conn, s.live = nil, false
	s.goneAt = t.now
	s.lapse++
	s.flow.offlineLocked()
	w := s.will
	op := b.newOp()
	if errors.Is(why, errShutdown) {
		// The next start finds the client connected and publishes its will.
		s.mu.Unlock()
		op.free()
		return
	}
	if s.expiry == 0 {
		s.gone, s.will = true, nil
		s.mu.Unlock()
		b.forget(t, s, &op.batch)
	} else {
		switch {
		case w == nil && s.stored != nil: // taken back by DISCONNECT
			op.batch.DeleteWill(s.key)
			s.stored = nil
		case w == nil:
		case w.delay == 0:
			op.batch.DeleteWill(s.key)
			s.will, s.stored = nil, nil
		default:
			delay := min(w.delay, s.expiry) // [MQTT-3.1.3-9]: at the session's end at the latest
			op.batch.PutWill(s.key, w.record(t.now+int64(delay)*1000))
			s.stored = nil // differs from what is stored
			b.timers.add(t.now+int64(delay)*1000, s, s.lapse, timerWill)
			w = nil
		}
		if s.expiry != neverExpires {
			b.timers.add(t.now+int64(s.expiry)*1000, s, s.lapse, timerExpiry)
		}
		if s.saveLocked(&op.batch) {
			op.saves = s
		}
		b.noteAwayLocked(s, t.now)
		replays := s.replaysLocked()
		s.mu.Unlock()
		if replays {
			b.cursors.put(s)
		}
		b.groupsChanged(t, s)
	}
	if op.batch.Len() > 0 && w == nil {
		op.s = s
		b.submitOrRetry(op)
	} else if w == nil {
		op.free()
	}
	if w != nil {
		b.publishWillWith(t, w, op)
	}
}

// offlineLocked forgets what belonged to the connection. What was read ahead of
// the window goes back to the queue: memory holds one window of a client that
// is away. Bound QoS 2 stays, its packet ids are in the store.
func (f *outflow) offlineLocked() {
	if f == nil {
		return
	}
	for i := len(f.flight) - 1; i >= 0; i-- {
		d := &f.flight[i]
		d.wire = false
		if d.qos == 1 && d.id != 0 && !d.tried {
			f.cursor, f.lowered, f.backlog = min(f.cursor, d.id-1), true, true
			f.returnedLocked(d)
			f.dropLocked(i)
		}
	}
	f.idle, f.lead = len(f.flight), 0
}

// takeoverLog names clients that fight over an id, once a minute.
type takeoverLog struct {
	mu    sync.Mutex
	byID  map[string]*takeoverNote
	total uint64
}

type takeoverNote struct {
	n        int
	from, to string
}

func (l *takeoverLog) note(id, from, to string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	if l.byID == nil {
		l.byID = make(map[string]*takeoverNote)
	}
	n := l.byID[id]
	if n == nil {
		if len(l.byID) >= 1000 {
			return
		}
		n = new(takeoverNote)
		l.byID[id] = n
	}
	n.n++
	n.from, n.to = from, to
}

// report logs what happened since the last call.
func (l *takeoverLog) report(b *Broker) {
	l.mu.Lock()
	byID := l.byID
	l.byID = nil
	l.mu.Unlock()
	for id, n := range byID {
		b.log.Warn("client id taken over", "client", id, "times", n.n, "from", n.from, "remote", n.to)
	}
}

func msec(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

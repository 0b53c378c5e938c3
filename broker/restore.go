package broker

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"gatewayd/mqtt"
	"gatewayd/store"
	"gatewayd/topic"
)

const (
	clockKey   = "x/clock"
	awayPrefix = "x/away/"
)

// awayKey is where it is kept since when a session's client is away.
func awayKey(id store.SessionID) string { return awayPrefix + strconv.FormatUint(uint64(id), 16) }

// noteAwayLocked keeps since when the client is away, 0 for not. It is written
// behind: a client that comes and goes costs one write a minute at most. Who
// never expires needs none.
func (b *Broker) noteAwayLocked(s *session, since int64) {
	if s.key == 0 || s.expiry == 0 || s.expiry == neverExpires || since == 0 && !s.noted {
		return
	}
	s.noted = since != 0
	b.away.put(s.key, since)
}

// originLocked is where the session's client came from, as the store keeps it:
// the mount point of its topics, and the listener whose rules hold.
func (s *session) originLocked() []byte {
	if s.client.Listener == "" {
		return []byte(s.mount)
	}
	return []byte(s.mount + "\x00" + s.client.Listener)
}

// originOf is the inverse of originLocked.
func originOf(data []byte) (mount, listener string) {
	mount, listener, _ = strings.Cut(string(data), "\x00")
	return mount, listener
}

// restore loads what the store has. It runs before anything else does.
func (b *Broker) restore() error {
	byKey := make(map[store.SessionID]*session)
	away := make(map[store.SessionID]int64)
	replays := make(map[store.SessionID][]byte)
	var wills []*session
	err := b.store.Load(store.Loader{
		Value: func(key string, value []byte) error {
			if key == clockKey {
				b.clock.restore(value)
			}
			if hex, ok := strings.CutPrefix(key, awayPrefix); ok && len(value) == 8 {
				if id, err := strconv.ParseUint(hex, 16, 64); err == nil {
					away[store.SessionID(id)] = int64(binary.BigEndian.Uint64(value))
				}
			}
			if hex, ok := strings.CutPrefix(key, cursorPrefix); ok {
				if id, err := strconv.ParseUint(hex, 16, 64); err == nil {
					replays[store.SessionID(id)] = bytes.Clone(value)
				}
			}
			return nil
		},
		Session: func(r store.Session, mark uint16) error {
			s := b.newSession(r.ClientID)
			s.key, s.expiry, s.version = r.ID, r.ExpiryInterval, mqtt.Version(r.Version)
			mount, listener := originOf(r.Data)
			s.mount = mount
			s.rules.Store(b.opt().rulesOf(listener))
			s.client = &Client{ID: r.ClientID, Username: r.User, Version: s.version, Listener: listener}
			s.keeps.Store(s.expiry > 0)
			s.inStore = s.expiry > 0
			f := s.outLocked()
			f.backlog = true
			f.nextPID = cmp.Or(mqtt.PacketID(mark), firstMark)
			f.mark = f.nextPID
			old := b.sessions[s.id]
			if old != nil && old.key > s.key { // an incarnation that was not removed in time
				b.stale = append(b.stale, s.key)
				return nil
			}
			if old != nil {
				b.stale = append(b.stale, old.key)
				delete(byKey, old.key)
			}
			b.sessions[s.id] = s
			byKey[s.key] = s
			return nil
		},
		Subscription: func(id store.SessionID, r store.Subscription) error {
			if s := byKey[id]; s != nil {
				b.restoreSubscription(s, r)
			}
			return nil
		},
		Will: func(id store.SessionID, r store.Will) error {
			if s := byKey[id]; s != nil {
				s.will = willFromStore(r, s.client, s.mount)
				s.stored = s.will
				s.willDue = r.Due
				wills = append(wills, s)
			}
			return nil
		},
		Hold: func(id store.SessionID, pid uint16, digest uint64) error {
			if s := byKey[id]; s != nil {
				s.holds.put(mqtt.PacketID(pid), hold{state: holdDone, digest: digest, stored: true})
			}
			return nil
		},
		Flight: func(id store.SessionID, r store.Flight) error {
			s := byKey[id]
			if s == nil {
				return nil
			}
			d := delivery{pid: mqtt.PacketID(r.PacketID), qos: 2, id: r.ID, tried: true, state: released}
			if !r.Released && r.Message != nil {
				d.state, d.msg, d.ids, d.opts = published, fromStore(r.Message), r.SubscriptionIDs, r.Options
			}
			s.flow.addLocked(&d)
			s.flow.idle++
			return nil
		},
		Retained: func(r *store.Message) error {
			m := fromStore(r)
			if b.opt().retainedClass(b.opt().classOf(m.Topic), m.QoS == 0, false) == store.Memory {
				b.forgotten = append(b.forgotten, m.Topic) // from before its class was memory
				return nil
			}
			b.keepRetained(m)
			return nil
		},
	})
	if err != nil {
		return fmt.Errorf("restore sessions: %w", err)
	}
	now := b.clock.Now()
	for id, s := range byKey {
		b.limitTo(id, s.rules.Load().Queue)
		if record := replays[id]; record != nil {
			s.takeCursorLocked(record)
			b.cursors.put(s)
		}
		s.goneAt = now
		if since := away[id]; since > 0 {
			s.goneAt, s.noted = since, true
		} else {
			// It was there when we stopped: its absence begins now.
			b.noteAwayLocked(s, now)
		}
		switch {
		case s.expiry == 0:
			b.timers.add(now, s, s.lapse, timerExpiry)
		case s.expiry != neverExpires:
			b.timers.add(s.goneAt+int64(s.expiry)*1000, s, s.lapse, timerExpiry)
		}
	}
	for _, s := range wills {
		due := s.willDue
		if due == 0 {
			due = now + int64(min(s.will.delay, s.expiry))*1000
		}
		if s.expiry > 0 {
			b.timers.add(due, s, s.lapse, timerWill)
		}
	}
	return nil
}

func (b *Broker) restoreSubscription(s *session, r store.Subscription) {
	group, filter, shared, err := topic.ParseShare(r.Filter)
	if err != nil {
		b.log.Warn("stored subscription is not valid", "client", s.id, "filter", r.Filter, "err", err)
		return
	}
	sub := &subscription{s: s, name: r.Filter, filter: s.mount + filter, id: r.ID, opts: subOptions(r.Options)}
	old := s.putLocked(sub)
	b.enter(sub, old, group, shared)
}

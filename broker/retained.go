package broker

import (
	"sync"

	"gatewayd/store"
	"gatewayd/topic"
)

// retainedSet holds the retained messages.
type retainedSet struct {
	mu    sync.RWMutex // guards the fields below
	names topic.Names[*message]
	bytes int64
}

// fillRetained puts the change that t.out makes to the retained messages into
// the store. It reports whether op's receipt stands for it; lazy ones are
// written behind.
func (b *Broker) fillRetained(t *turn, op *pubOp, from origin) bool {
	o := &t.out
	if !b.retainable(o.topic, len(o.view.Payload)) {
		return false
	}
	if b.opt().RetainMemory {
		return false
	}
	lazy := o.view.QoS == 0 || from.lazy || b.opt().RetainLazy
	batch := &op.batch
	if lazy && len(op.to) == 0 {
		batch = &t.done
	}
	if len(o.view.Payload) == 0 { // [MQTT-3.3.1-6]
		b.retained.mu.RLock()
		_, had := b.retained.names.Get(o.topic)
		b.retained.mu.RUnlock()
		if !had {
			return false
		}
		batch.DeleteRetained(o.topic)
		return !lazy
	}
	class := store.Commit
	if lazy {
		class = store.Lazy
	}
	batch.PutRetained(o.keep().toStore(class))
	return !lazy
}

// retainable says whether the topic may have a retained message (more).
func (b *Broker) retainable(name string, payload int) bool {
	max := b.opt().MaxRetained
	if max == 0 || payload == 0 {
		return true
	}
	b.retained.mu.RLock()
	defer b.retained.mu.RUnlock()
	if b.retained.names.Len() < max {
		return true
	}
	_, had := b.retained.names.Get(name)
	return had
}

// retain makes t.out the retained message of its topic [MQTT-3.3.1-5].
func (b *Broker) retain(t *turn) {
	o := &t.out
	if !b.retainable(o.topic, len(o.view.Payload)) {
		t.counts.dropped++
		return
	}
	if len(o.view.Payload) == 0 { // [MQTT-3.3.1-6] [MQTT-3.3.1-7]
		b.retained.drop(o.topic)
		return
	}
	b.keepRetained(o.keep())
}

// keepRetained makes m the retained message of its topic, for as long as it may
// be one.
func (b *Broker) keepRetained(m *message) {
	if age := b.opt().RetainExpiry; age > 0 && (m.expires == 0 || m.expires > m.at+age.Milliseconds()) {
		aged := *m
		aged.expires = m.at + age.Milliseconds()
		m = &aged
	}
	b.retained.set(m)
	if m.expires != 0 {
		b.timers.addRetained(m.expires, m.Topic)
	}
}

func (r *retainedSet) set(m *message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, had := r.names.Set(m.Topic, m); had {
		r.bytes -= int64(len(old.Payload))
	}
	r.bytes += int64(len(m.Payload))
}

func (r *retainedSet) drop(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, had := r.names.Delete(name); had {
		r.bytes -= int64(len(old.Payload))
	}
}

// dropExpired drops the retained message of a topic if its life is over.
func (r *retainedSet) dropExpired(name string, now int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.names.Get(name)
	if !ok || !m.expired(now) {
		return false
	}
	r.names.Delete(name)
	r.bytes -= int64(len(m.Payload))
	return true
}

// replay is where the sending of retained messages for one subscription stands.
// Each value is read when its turn comes, so it is never older than what was
// sent live.
type replay struct {
	sub   *subscription
	after string // the last topic that was sent
	busy  bool   // a turn walks it right now
}

const replaySlice = 256 // messages looked at in one go

// replayFor begins the replay of a new subscription.
func (s *session) replayForLocked(sub *subscription) {
	for _, r := range s.replay {
		if r.sub.name == sub.name {
			r.sub, r.after = sub, "" // subscribing again starts it again
			return
		}
	}
	s.replay = append(s.replay, &replay{sub: sub})
}

// replay goes on sending retained messages while outbox and window have room.
func (b *Broker) replay(t *turn, s *session) {
	for {
		s.mu.Lock()
		if len(s.replay) == 0 || s.gone || !s.onlineLocked() || s.replay[0].busy || !s.replayRoomLocked() {
			s.mu.Unlock()
			return
		}
		r := s.replay[0]
		sub, after, client := r.sub, r.after, s.client
		slice := s.replaySliceLocked(sub)
		if slice == 0 {
			s.mu.Unlock()
			return
		}
		r.busy = true
		s.mu.Unlock()

		list := b.retainedSlice(t, sub, after, slice)
		checked := b.auth() != nil
		kept := list[:0:0]
		last := ""
		if len(list) > 0 {
			last = list[len(list)-1].Topic
		}
		if checked {
			for _, m := range list {
				if b.mayDeliver(client, b.unmounted(s, m.Topic)) && b.sourceAllowed(m) {
					kept = append(kept, m)
				}
			}
		} else {
			kept = list
		}

		s.mu.Lock()
		r.busy = false
		done := len(list) < slice
		if r.sub != sub || len(s.replay) == 0 || s.replay[0] != r {
			s.mu.Unlock() // subscribed again, or unsubscribed
			continue
		}
		for _, m := range kept {
			if !s.replayRoomLocked() || !s.onlineLocked() {
				done, last = false, ""
				break
			}
			s.replayLocked(t, m, sub)
			r.after = m.Topic
		}
		if last != "" {
			r.after = last
		}
		if done {
			s.replay = s.replay[1:]
			if len(s.replay) == 0 {
				s.replay = nil
			}
		}
		s.mu.Unlock()
		if t.pending >= flushAt {
			t.flush()
		}
	}
}

// retainedSlice reads the next retained messages a subscription selects.
func (b *Broker) retainedSlice(t *turn, sub *subscription, after string, slice int) []*message {
	t.slice = t.slice[:0]
	b.retained.mu.RLock()
	defer b.retained.mu.RUnlock()
	b.retained.names.WalkFrom(sub.filter, after, func(_ string, m *message) bool {
		t.slice = append(t.slice, m)
		return len(t.slice) < slice
	})
	return t.slice
}

// sourceAllowed asks again whether the publisher may still publish it.
func (b *Broker) sourceAllowed(m *message) bool {
	if !b.opt().CheckRetainSource || m.publisher == "" {
		return true
	}
	b.sessionsMu.RLock()
	s := b.sessions[m.publisher]
	b.sessionsMu.RUnlock()
	if s == nil {
		return true
	}
	return b.mayPublish(s.who(), m.Topic, m.QoS, true)
}

// replaySliceLocked is how many retained messages to look at next: those that the
// window has room for, if they may be QoS 1 or 2, and none before half of it is
// free, or every acknowledgement would walk the tree.
func (s *session) replaySliceLocked(sub *subscription) int {
	if sub.opts.qos() == 0 || s.flow == nil || len(s.flow.flight) == 0 {
		return replaySlice
	}
	free := int(s.window) - len(s.flow.flight)
	if free < (int(s.window)+1)/2 {
		return 0
	}
	return min(free, replaySlice)
}

// replayRoomLocked says whether another retained message may be sent now.
func (s *session) replayRoomLocked() bool {
	if !s.roomLocked() {
		return false
	}
	f := s.flow
	return f == nil || len(f.queue) == 0 && s.openLocked() && f.idle == 0
}

// replayLocked sends one retained message [MQTT-3.3.1-8].
func (s *session) replayLocked(t *turn, m *message, sub *subscription) {
	if m.expired(t.now) || sub.opts.noLocal() && m.publisher == s.id {
		return
	}
	d := delivery{opts: optRetain | optReplay, qos: effective(m.QoS, sub.opts.qos(), s.rules.Load().UpgradeOutgoingQoS)}
	if sub.id != 0 {
		d.ids = []uint32{sub.id}
	}
	o := &t.out2
	o.setOwned(m)
	if d.qos == 0 {
		if !s.sendLocked(t, o, &d) {
			t.counts.dropped++
		}
		return
	}
	s.launchLocked(t, o, d)
}

package broker

// replay is where the sending of retained messages for one subscription stands.
// Each value is read when its turn comes, so it is never older than what was
// sent live.
type replay struct {
	sub     *subscription
	after   string // the last topic that was sent
	unacked int    // QoS 1 and 2 under way, of durable sessions
	busy    bool   // a turn walks it right now
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
				if b.mayDeliver(client, b.unmounted(s, m.Topic)) && b.sourceAllowed(t, m) {
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
			s.replayLocked(t, m, r)
			r.after = m.Topic
		}
		if last != "" {
			r.after = last
		}
		if done {
			s.sentAllLocked(r)
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
	return f == nil || f.queue.len() == 0 && s.openLocked() && f.idle == 0
}

// replayLocked sends one retained message [MQTT-3.3.1-8].
func (s *session) replayLocked(t *turn, m *message, r *replay) {
	sub := r.sub
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
	if s.durable() {
		d.from = r
	}
	s.launchLocked(t, o, &d)
}

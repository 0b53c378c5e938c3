package broker

import (
	"encoding/binary"
	"slices"
	"strconv"
	"sync"

	"gatewayd/mqtt"
	"gatewayd/store"
)

const cursorPrefix = "x/replay/"

// cursorKey is where it is kept how far the retained messages of a durable
// session have been replayed.
func cursorKey(id store.SessionID) string {
	return cursorPrefix + strconv.FormatUint(uint64(id), 16)
}

// cursors are the sessions whose place in a replay the store has to learn. With
// a new subscription it is told at once that a replay begins; how far it has come,
// and that it is over, is written behind, once a minute: after a crash the client
// gets again what it had acknowledged since.
type cursors struct {
	mu  sync.Mutex
	set map[*session]struct{}
}

func (cs *cursors) put(s *session) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.set == nil {
		cs.set = make(map[*session]struct{})
	}
	cs.set[s] = struct{}{}
}

// save writes behind what has changed.
func (cs *cursors) save(b *Broker) {
	cs.mu.Lock()
	set := cs.set
	cs.set = nil
	cs.mu.Unlock()
	if len(set) == 0 {
		return
	}
	op := b.newOp()
	for s := range set {
		s.mu.Lock()
		key, record, had := s.key, s.cursorLocked(nil), s.cursor
		saves := !s.gone && key != 0 && s.durable()
		s.cursor = saves && record != nil
		again := s.cursor && s.onlineLocked()
		s.mu.Unlock()
		switch {
		case !saves:
		case record != nil:
			op.batch.PutLazy(cursorKey(key), record)
		case had:
			op.batch.Delete(cursorKey(key))
		}
		if again {
			cs.put(s)
		}
	}
	if op.batch.Len() == 0 {
		op.free()
		return
	}
	b.submitOrRetry(op)
}

// cursorLocked is where the session's replays stand, those of more included,
// which are about to begin; nil when there is none. What is not acknowledged
// counts as not sent: it is lost with the process.
func (s *session) cursorLocked(more []*subscription) (record []byte) {
	add := func(name, after string) {
		record = binary.AppendUvarint(record, uint64(len(name)))
		record = append(record, name...)
		record = binary.AppendUvarint(record, uint64(len(after)))
		record = append(record, after...)
	}
	first := make(map[*replay]string) // unacknowledged
	all := s.replay
	if f := s.flow; f != nil {
		for i := range f.flight {
			d := &f.flight[i]
			if d.from == nil || d.msg == nil {
				continue
			}
			if t, seen := first[d.from]; !seen || d.msg.Topic < t {
				first[d.from] = d.msg.Topic
			}
		}
		all = slices.Concat(f.replayed, s.replay)
	}
	for _, r := range all {
		after := r.after
		if t, ok := first[r]; ok {
			after = min(after, justBefore(t))
		}
		add(r.sub.name, after)
	}
	for _, sub := range more {
		add(sub.name, "")
	}
	return record
}

// justBefore is greater than every topic name less than name: 0xFF is no byte of
// UTF-8.
func justBefore(name string) string {
	n := len(name) - 1
	return name[:n] + string([]byte{name[n] - 1, 0xff})
}

// takeCursorLocked begins the replays that a record of cursorLocked tells of.
func (s *session) takeCursorLocked(record []byte) {
	field := func() (string, bool) {
		n, used := binary.Uvarint(record)
		if used <= 0 || n > uint64(len(record)-used) {
			return "", false
		}
		text := string(record[used : used+int(n)])
		record = record[used+int(n):]
		return text, true
	}
	for len(record) > 0 {
		name, ok := field()
		after, ok2 := field()
		if !ok || !ok2 {
			return
		}
		i := s.findLocked(name)
		if i < 0 {
			continue
		}
		j := slices.IndexFunc(s.replay, func(r *replay) bool { return r.sub == s.subs[i] })
		if j >= 0 {
			s.replay[j].after = min(s.replay[j].after, after)
			continue
		}
		s.replay = append(s.replay, &replay{sub: s.subs[i], after: after})
	}
	s.cursor = true
}

// sentAllLocked takes a replay that has come to its end off the list.
func (s *session) sentAllLocked(r *replay) {
	if s.replay = slices.DeleteFunc(s.replay, func(x *replay) bool { return x == r }); len(s.replay) == 0 {
		s.replay = nil
	}
	if r.unacked > 0 {
		s.flow.replayed = append(s.flow.replayed, r)
	}
}

// replayAckedLocked notes that a message of a replay is done with.
func (s *session) replayAckedLocked(r *replay) {
	if r.unacked--; r.unacked > 0 {
		return
	}
	f := s.flow
	if f.replayed = slices.DeleteFunc(f.replayed, func(x *replay) bool { return x == r }); len(f.replayed) == 0 {
		f.replayed = nil
	}
}

// replaysLocked says whether a replay is not over.
func (s *session) replaysLocked() bool {
	return len(s.replay) > 0 || s.flow != nil && len(s.flow.replayed) > 0
}

// promiseReplay puts into the batch of new subscriptions that their replay
// begins, where it has anything that must not be lost.
func (b *Broker) promiseReplay(s *session, batch *store.Batch, fresh []*subscription) {
	if batch.Len() == 0 {
		return // nothing new: whoever subscribes again does so after a crash too
	}
	var begin []*subscription
	for _, sub := range fresh {
		if sub.opts.qos() > 0 && b.replaysAny(sub) {
			begin = append(begin, sub)
		}
	}
	if len(begin) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.durable() && s.key != 0 {
		batch.Put(cursorKey(s.key), s.cursorLocked(begin))
		s.cursor = true
	}
}

// replaysAny says whether a subscription's replay has, or may have, a message
// of QoS 1 or 2.
func (b *Broker) replaysAny(sub *subscription) bool {
	const look = 64
	found := false
	upgrade := sub.s.rules.Load().UpgradeOutgoingQoS
	b.retained.mu.RLock()
	defer b.retained.mu.RUnlock()
	_, all := b.retained.names.WalkSome(sub.filter, "", look, func(_ string, m *message) bool {

		found = effective(m.QoS, sub.opts.qos(), upgrade) > mqtt.QoS(0)
		return !found
	})
	return found || !all
}

package broker

import (
	"context"

	"gatewayd/mqtt"
	"gatewayd/store"
)

// A message that the remote cannot take as it is can be kept aside: it is moved
// to the queue of another link, from which nothing is sent, and can be moved
// back or given up. The move is one write: the message is never in both queues
// nor in none.

// Kept is a message that lies aside.
type Kept struct {
	ID      uint64
	QoS     mqtt.QoS
	Retain  bool
	Message *mqtt.Message // read-only
	Time    int64         // when it was published, ms of the wall clock
}

// MoveTo ends a delivery that was handed out by moving its message to another
// link's queue. It reports false when that cannot be: the message lies in no
// store, or is not known any more.
func (l *Link) MoveTo(to *Link, pid mqtt.PacketID) bool {
	to.s.mu.Lock()
	key, aside := to.s.key, to.s.durable()
	to.s.mu.Unlock()
	t := l.b.takeTurn()
	defer l.b.giveTurn(t)
	s := l.s
	s.mu.Lock()
	i := s.flow.findLocked(pid)
	if !aside || i < 0 || s.flow.flight[i].id == 0 || s.flow.flight[i].state >= releasing {
		s.mu.Unlock()
		return false
	}
	// Before it is done with, else there would be nothing to move.
	t.done.Move(s.key, key, []store.MessageID{s.flow.flight[i].id})
	s.finishLocked(t, i)
	s.moreLocked(t)
	return true
}

// Return moves messages that lie aside in this link's queue back to the one
// they came from, and says how many they were. It returns when that is durable.
func (l *Link) Return(to *Link, ids ...uint64) (int, error) {
	from, key := l.key(), to.key()
	list, err := l.b.peek(from, ids)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	s := to.s
	s.mu.Lock()
	if s.link != to {
		s.mu.Unlock()
		return 0, ErrLinkClosed
	}
	f := s.outLocked()
	f.backlog = true
	f.unoffered++
	for i := range list {
		if f.lanes.counted(list[i].ID) { // it waits again
			f.lanes.waits(list[i].Message.Topic)
		}
	}
	s.mu.Unlock()
	var batch store.Batch
	first := list[0].ID
	moved := make([]store.MessageID, len(list))
	for i := range list {
		moved[i] = list[i].ID
	}
	batch.Move(from, key, moved)
	err = l.b.save(&batch)
	s.mu.Lock()
	f.unoffered--
	if err == nil && first <= f.cursor {
		f.cursor, f.lowered = first-1, true
	}
	start := s.wantsRefillLocked()
	s.mu.Unlock()
	if start {
		l.b.startRefill(s)
	}
	if err != nil {
		return 0, err
	}
	return len(list), nil
}

// GiveUp forgets messages that lie aside in this link's queue, and says how
// many they were. It returns when that is durable.
func (l *Link) GiveUp(ids ...uint64) (int, error) {
	key := l.key()
	list, err := l.b.peek(key, ids)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	gone := make([]store.MessageID, len(list))
	for i := range list {
		gone[i] = list[i].ID
	}
	var batch store.Batch
	batch.Move(key, 0, gone) // to nobody: unlike Done it is on the disk with the receipt
	if err := l.b.save(&batch); err != nil {
		return 0, err
	}
	return len(list), nil
}

// Kept lists up to n of the messages that lie aside in this link's queue, the
// oldest first. Payloads may be large: f takes one after the other.
func (l *Link) Kept(ctx context.Context, n int, f func(Kept)) error {
	key := l.key()
	var page []store.Queued
	for after := store.MessageID(0); n > 0; n-- {
		var err error
		if page, err = l.b.store.Peek(page[:0], key, after, 1, 1); err != nil || len(page) == 0 || ctx.Err() != nil {
			return err
		}
		q := &page[0]
		m := fromStore(q.Message)
		f(Kept{ID: uint64(q.ID), QoS: mqtt.QoS(q.QoS), Retain: q.Options&optRetain != 0, Message: &m.Message, Time: l.origin(q.Message.Time).UnixMilli()})
		after = q.ID
	}
	return nil
}

// peek reads the messages of a queue with these ids, or all of them.
func (b *Broker) peek(key store.SessionID, ids []uint64) (list []store.Queued, err error) {
	var after store.MessageID
	for {
		page, err := b.store.Peek(nil, key, after, 256, 1<<20)
		if err != nil || len(page) == 0 {
			return list, err
		}
		after = page[len(page)-1].ID
		for _, q := range page {
			if len(ids) == 0 || containsID(ids, q.ID) {
				m := *q.Message
				m.Payload = nil // not needed, and there may be many
				q.Message = &m
				list = append(list, q)
			}
		}
	}
}

func containsID(ids []uint64, id store.MessageID) bool {
	for _, x := range ids {
		if x == uint64(id) {
			return true
		}
	}
	return false
}

func (l *Link) key() store.SessionID {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	return l.s.key
}

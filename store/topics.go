package store

import (
	"errors"
	"slices"

	"github.com/tinylib/msgp/msgp"
)

const (
	topicsPage  = 8192    // messages looked at in one go
	topicsBytes = 8 << 20 // and their size
)

// Topics calls f for the next messages of a session's queue after the given id,
// in order, with their topics, and returns the id of the last: after itself when
// there are none. It reads whole groups and of each message only where it goes,
// so that a million take a fraction of a second. Messages whose body has gone
// or cannot be read are left out. It reads the disk: never call it on an event
// loop or under a lock.
func (s *Store) Topics(id SessionID, after MessageID, f func(id MessageID, topic string)) (last MessageID, err error) {
	names := map[string]string{} // most messages share their topic with others
	var topics []string
	for try := 0; ; try++ {
		s.mu.Lock()
		if s.be == nil || s.state != stateOpen {
			err := s.stateErrLocked()
			s.mu.Unlock()
			return after, err
		}
		be, ss := s.be, s.sessions[id]
		var items []queueItem
		if ss != nil {
			items = ss.page(after, topicsPage, topicsBytes)
		}
		s.mu.Unlock()
		last = after
		for len(items) > 0 {
			n := sameGroup(items)
			if topics, err = groupTopics(be, topics[:0], items[:n], names); err != nil {
				return last, err
			}
			// A damaged record may name a message of another group for ever.
			if try < 100 && slices.Contains(topics, "") && s.relocated(id, items[:n]) {
				break
			}
			for i, topic := range topics {
				if topic != "" {
					f(items[i].id, topic)
				}
			}
			last, items = items[n-1].id, items[n:]
		}
		if last > after || len(items) == 0 {
			return last, nil
		}
	}
}

// sameGroup is how many of the first items lie in one group, or are in memory.
func sameGroup(items []queueItem) int {
	n := 1
	for n < len(items) && items[n].gid == items[0].gid && (items[n].msg == nil) == (items[0].msg == nil) {
		n++
	}
	return n
}

// groupTopics appends the topics of the items, which lie in one group; an empty
// one where that group has not got the message.
func groupTopics(be backend, dst []string, items []queueItem, names map[string]string) ([]string, error) {
	if items[0].msg != nil {
		for i := range items {
			dst = append(dst, items[i].msg.Topic)
		}
		return dst, nil
	}
	err := be.get(appendKey(nil, prefixGroup, items[0].gid), func(v []byte) error {
		r, err := readBodies(items[0].gid, v)
		if err != nil {
			return err
		}
		id, body, ok, err := r.next()
		for i := range items {
			for ok && id < items[i].id {
				id, body, ok, err = r.next()
			}
			if err != nil {
				return err
			}
			if !ok || id != items[i].id {
				dst = append(dst, "")
				continue
			}
			name, err := topicOf(body)
			if err != nil {
				return err
			}
			topic, known := names[string(name)]
			if !known {
				topic = string(name)
				names[topic] = topic
			}
			dst = append(dst, topic)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errNotFound) && !errors.Is(err, errCorrupt) {
		return dst, err
	}
	for len(dst) < len(items) {
		dst = append(dst, "")
	}
	return dst, nil
}

// topicOf is the topic of a messageRecord, which begins with it.
func topicOf(b []byte) ([]byte, error) {
	_, b, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil {
		return nil, errCorrupt
	}
	name, _, err := msgp.ReadStringZC(b)
	if err != nil {
		return nil, errCorrupt
	}
	return name, nil
}

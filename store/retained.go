package store

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/tinylib/msgp/msgp"
)

// Retained messages are packed as queued ones are: what a transaction changes is
// one record, of values and of deletions (tombstones), and the newest entry of a
// topic counts. Memory knows for each topic in which record that lies, and how
// many newest entries a record has; one that has none left goes with the next
// transaction. When what is out of date outweighs what is not, the newest entries
// of the oldest record are copied to the newest record, a little with each
// transaction that changes retained messages.
//
// A tombstone stands until it lies in the oldest record, since an older one may
// hold a value of its topic. A payload too large for a record has a record of its
// own, r/topic, which counts before any other entry of the topic.

// retainedIndex says where the retained messages lie. The committer's own.
type retainedIndex struct {
	topics map[string]uint64 // the record of the newest entry, shifted by one; bit 0: a tombstone
	groups map[uint64]*retainedGroup
	order  []uint64 // ids of groups, ascending; some are gone
	next   uint64

	bytes  int64    // of all records
	stale  int64    // of it, about what is out of date
	tombs  int      // newest entries that are tombstones
	empty  []uint64 // groups to be deleted
	frozen bool     // a record cannot be read: nothing is copied any more

	// The record being packed.
	fresh uint64 // ids from it on are not on the disk yet
	gid   uint64
	g     *retainedGroup // nil: none is
	buf   []byte
	twice bool     // a topic is in it twice
	after [][]byte // keys to delete once it is written
}

// retainedGroup is one record.
type retainedGroup struct {
	entries int32
	newest  int32 // of the entries, those that are their topic's newest
	bytes   int32 // 0: being packed
}

const (
	// retainedSlack is how much may be out of date in any case.
	retainedSlack = 512 << 10
	// retainedShare bounds what is copied with one transaction.
	retainedShare = 32 << 10
)

func (r *retainedIndex) init() {
	*r = retainedIndex{topics: make(map[string]uint64), groups: make(map[uint64]*retainedGroup), next: 1, fresh: 1}
}

func (g *retainedGroup) each() int64 { return int64(g.bytes) / int64(g.entries) }

// claim makes the entry just added to group gid the newest of its topic.
func (r *retainedIndex) claim(topic string, gid uint64, g *retainedGroup, tomb bool) {
	if old, had := r.topics[topic]; had {
		r.outdate(old, gid)
	}
	at := gid << 1
	if tomb {
		at |= 1
		r.tombs++
	}
	r.topics[topic] = at
	g.newest++
}

// outdate is called when an entry is its topic's newest no longer.
func (r *retainedIndex) outdate(at, by uint64) {
	if at&1 != 0 {
		r.tombs--
	}
	id := at >> 1
	r.twice = r.twice || id == by
	g := r.groups[id]
	g.newest--
	if g.bytes == 0 {
		return // counted when it is whole
	}
	r.stale += g.each()
	if g.newest == 0 {
		r.empty = append(r.empty, id)
	}
}

// whole is called when a group's record has its size.
func (r *retainedIndex) whole(id uint64, g *retainedGroup, size int) {
	g.bytes = int32(size)
	r.bytes += int64(size)
	r.stale += int64(g.entries-g.newest) * g.each()
	if g.newest == 0 {
		r.empty = append(r.empty, id)
	}
}

// forget takes a group without a newest entry out of the index.
func (r *retainedIndex) forget(id uint64) {
	g := r.groups[id]
	r.bytes -= int64(g.bytes)
	r.stale -= int64(g.entries) * g.each()
	delete(r.groups, id)
	for len(r.order) > 0 && r.groups[r.order[0]] == nil {
		r.order = r.order[1:]
	}
}

// untidy says whether enough is out of date to be worth copying the rest.
func (r *retainedIndex) untidy(eager bool) bool {
	if len(r.order) == 0 || r.frozen {
		return false
	}
	if eager {
		return r.stale > 0 || r.tombs > 0
	}
	return r.stale > max(r.bytes-r.stale, retainedSlack) || r.tombs > max(len(r.topics)/2, 4096)
}

// retainedOpen begins a record, or goes on with the one begun.
func (s *Store) retainedOpen(c *cut, size int) {
	r := &s.retained
	if r.g != nil && len(r.buf)+size > s.tune.record {
		s.sealRetained(c)
	}
	if r.g == nil {
		r.gid, r.g, r.twice = r.next, new(retainedGroup), false
		r.next++
		r.groups[r.gid] = r.g
	}
	r.g.entries++
}

// packRetained adds the newest value of a topic to the transaction, or that it
// has none.
func (s *Store) packRetained(c *cut, m *Message, tomb bool) {
	r := &s.retained
	s.retainedOpen(c, m.size())
	rec := m.record()
	if tomb {
		rec.Flags |= flagTomb
	}
	r.buf, _ = rec.MarshalMsg(r.buf)
	r.claim(m.Topic, r.gid, r.g, tomb)
}

// sealRetained ends the record, which joins the transaction, and what it replaces
// leaves with it.
func (s *Store) sealRetained(c *cut) {
	r := &s.retained
	if r.g == nil {
		r.dropKeys(c)
		return
	}
	rec := retainedGroupRecord{Version: recordVersion, Twice: r.twice, Count: uint32(r.g.entries), Sum: crc32.Checksum(r.buf, castagnoli), Entries: r.buf}
	key := c.full.key(prefixTopics, r.gid)
	at := len(c.full.arena)
	c.full.arena, _ = rec.MarshalMsg(c.full.arena)
	value := c.full.arena[at:len(c.full.arena):len(c.full.arena)]
	c.full.put(key, value)
	r.order = append(r.order, r.gid)
	r.whole(r.gid, r.g, len(value))
	r.dropKeys(c)
	r.g, r.buf = nil, r.buf[:0]
}

// dropKeys deletes the records of large retained messages that are replaced.
func (r *retainedIndex) dropKeys(c *cut) {
	for _, key := range r.after {
		c.full.delete(key)
	}
	clear(r.after)
	r.after = r.after[:0]
}

// keep takes back that a large retained message is replaced: another one is in
// its place.
func (r *retainedIndex) keep(key []byte) {
	r.after = slices.DeleteFunc(r.after, func(k []byte) bool { return bytes.Equal(k, key) })
}

// finishRetained ends what a transaction does to retained messages.
func (s *Store) finishRetained(c *cut) {
	r := &s.retained
	if r.g != nil {
		s.tidyRetained(c)
	}
	s.sealRetained(c)
	for _, id := range r.empty {
		if g := r.groups[id]; g != nil && g.newest == 0 {
			r.forget(id)
			c.full.delete(c.full.key(prefixTopics, id))
		}
	}
	r.empty, r.fresh = r.empty[:0], r.next
}

// tidyRetained copies what is left of the oldest records to the one being packed.
func (s *Store) tidyRetained(c *cut) {
	r := &s.retained
	for moved := 0; moved < retainedShare && r.untidy(s.opts.eager); {
		id := r.order[0]
		g := r.groups[id]
		if id >= r.fresh {
			return
		}
		if g == nil || g.newest == 0 { // goes by itself
			r.order = r.order[1:]
			continue
		}
		err := s.be.get(appendKey(nil, prefixTopics, id), func(v []byte) error {
			rec, err := readRetainedGroup(v)
			if err != nil {
				return err
			}
			return rec.each(func(topic, entry []byte, tomb bool) bool {
				at := id << 1
				if tomb {
					at |= 1
				}
				if r.topics[string(topic)] != at {
					return true
				}
				if tomb { // nothing older can have the topic
					r.outdate(at, 0)
					delete(r.topics, string(topic))
					return true
				}
				if rec.Twice && !rec.newest(topic, entry) {
					return true
				}
				moved += len(entry)
				s.retainedOpen(c, len(entry))
				r.buf = append(r.buf, entry...)
				r.claim(string(topic), r.gid, r.g, false)
				return true
			})
		})
		if err != nil {
			// It stays as it is, and so does everything newer.
			r.frozen = true
			s.opts.Log.Error("a record of retained messages cannot be read, what is out of date stays", "err", err)
			return
		}
	}
}

// readRetainedGroup takes a t/ record apart, without copying it.
func readRetainedGroup(v []byte) (rec retainedGroupReader, err error) {
	n, v, err := msgp.ReadArrayHeaderBytes(v)
	if err != nil || n != 5 {
		return rec, errCorrupt
	}
	version, v, err := msgp.ReadUint8Bytes(v)
	if err != nil {
		return rec, errCorrupt
	}
	if version != recordVersion {
		return rec, badVersion("retained group", version)
	}
	if rec.Twice, v, err = msgp.ReadBoolBytes(v); err != nil {
		return rec, errCorrupt
	}
	if rec.Count, v, err = msgp.ReadUint32Bytes(v); err != nil {
		return rec, errCorrupt
	}
	sum, v, err := msgp.ReadUint32Bytes(v)
	if err != nil {
		return rec, errCorrupt
	}
	if rec.Entries, _, err = msgp.ReadBytesZC(v); err != nil || crc32.Checksum(rec.Entries, castagnoli) != sum {
		return rec, errCorrupt
	}
	return rec, nil
}

type retainedGroupReader struct {
	Twice   bool
	Count   uint32
	Entries []byte
}

// each calls f for the entries, in order, until it returns false.
func (rec *retainedGroupReader) each(f func(topic, entry []byte, tomb bool) bool) error {
	rest := rec.Entries
	for range rec.Count {
		next, err := msgp.Skip(rest)
		if err != nil {
			return errCorrupt
		}
		entry := rest[:len(rest)-len(next)]
		topic, tomb, err := retainedHead(entry)
		if err != nil {
			return errCorrupt
		}
		if !f(topic, entry, tomb) {
			return nil
		}
		rest = next
	}
	if len(rest) > 0 {
		return errCorrupt
	}
	return nil
}

// newest says whether no later entry of the record has the topic; entry is one of
// the record's.
func (rec *retainedGroupReader) newest(topic, entry []byte) bool {
	var last []byte
	_ = rec.each(func(t, e []byte, _ bool) bool {
		if string(t) == string(topic) {
			last = e
		}
		return true
	})
	return len(last) > 0 && &last[0] == &entry[0]
}

// retainedHead reads topic and flags of a messageRecord.
func retainedHead(b []byte) (topic []byte, tomb bool, err error) {
	n, b, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil || n < 4 {
		return nil, false, errCorrupt
	}
	if topic, b, err = msgp.ReadStringZC(b); err != nil {
		return nil, false, err
	}
	for range 2 { // payload, properties
		if b, err = msgp.Skip(b); err != nil {
			return nil, false, err
		}
	}
	flags, _, err := msgp.ReadUint8Bytes(b)
	return topic, flags&flagTomb != 0, err
}

// restoreRetained reads which record holds the newest entry of each topic.
func (s *Store) restoreRetained() error {
	r := &s.retained
	r.init()
	return s.be.scan([]byte(prefixTopics), nil, false, func(key, value []byte, size int) error {
		id, ok := keyID(key, 0)
		if !ok {
			return errCorrupt
		}
		rec, err := readRetainedGroup(value)
		if err != nil {
			return fmt.Errorf("store: retained messages, record %d: %w", id, err)
		}
		g := &retainedGroup{entries: int32(rec.Count)}
		r.groups[id] = g
		err = rec.each(func(topic, _ []byte, tomb bool) bool {
			r.claim(string(topic), id, g, tomb)
			return true
		})
		if err != nil || rec.Count == 0 {
			return fmt.Errorf("store: retained messages, record %d: %w", id, errCorrupt)
		}
		r.order = append(r.order, id)
		r.whole(id, g, size)
		r.next = max(r.next, id+1)
		r.fresh = r.next
		return nil
	})
}

// migrateRetained packs the retained messages of a store of format 1, which had a
// record for each.
func (s *Store) migrateRetained() error {
	var c cut
	n := 0
	flush := func() error {
		if len(c.full.list) == 0 {
			return nil
		}
		err := s.be.write(&c.full)
		c.full.reset()
		return err
	}
	err := s.be.scan([]byte(prefixRetained), nil, false, func(key, value []byte, _ int) error {
		id, err := chunkID(value)
		if err != nil || id != 0 {
			return err
		}
		m, err := s.readRetained(value)
		if err != nil {
			return err
		}
		n++
		s.packRetained(&c, m, false)
		s.retained.after = append(s.retained.after, append([]byte(nil), key...))
		if len(s.retained.after) > s.tune.entries/2 {
			s.sealRetained(&c)
		}
		return flush()
	})
	if err != nil {
		return err
	}
	s.sealRetained(&c)
	if n > 0 {
		s.opts.Log.Info("retained messages were packed", "topics", n)
	}
	return flush()
}

// loadRetainedGroups hands out the newest values that lie in packed records.
func (s *Store) loadRetainedGroups(f func(*Message) error) error {
	var key []byte
	return s.be.scan([]byte(prefixTopics), nil, false, func(k, value []byte, _ int) error {
		id, _ := keyID(k, 0)
		rec, err := readRetainedGroup(value)
		if err != nil {
			return fmt.Errorf("store: retained messages, record %d: %w", id, err)
		}
		var failed error
		err = rec.each(func(topic, entry []byte, tomb bool) bool {
			if tomb || s.retained.topics[string(topic)] != id<<1 || rec.Twice && !rec.newest(topic, entry) {
				return true
			}
			if len(s.retainedChunks) > 0 {
				key = appendRetainedKey(key[:0], string(topic))
				if _, large := s.retainedChunks[string(key)]; large {
					return true
				}
			}
			var r messageRecord
			if _, failed = r.UnmarshalMsg(entry); failed == nil {
				m := r.message()
				failed = f(&m)
			}
			return failed == nil
		})
		if err != nil {
			return fmt.Errorf("store: retained messages, record %d: %w", id, err)
		}
		return failed
	})
}

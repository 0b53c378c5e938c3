package store

import "time"

// lazyValue is the newest value of a retained topic, or of a key, that waits to
// be written. Store.lazy has it by its record's key.
type lazyValue struct {
	seq     uint64 // submissions up to it must be written first
	message *Message
	value   []byte
}

type lazyOut struct {
	key string
	lazyValue
}

// lazyLocked takes what is of class Lazy out of the pipeline; true means that
// the operation needs no write now. A later value of class Commit supersedes a
// lazy one.
func (s *Store) lazyLocked(o *op, now time.Duration) bool {
	lazy := o.kind == opPutLazy
	switch o.kind {
	case opPutRetained:
		if o.message.Class == Memory {
			return true
		}
		lazy = o.message.Class == Lazy
		fallthrough
	case opDeleteRetained:
		if !lazy && len(s.lazy) == 0 {
			return false
		}
		s.lazyKey = appendRetainedKey(s.lazyKey[:0], o.key)
	default:
		s.lazyKey = append(append(s.lazyKey[:0], prefixValue...), o.key...)
	}
	if !lazy {
		if old, ok := s.lazy[string(s.lazyKey)]; ok {
			s.lazyBytes -= old.size()
			delete(s.lazy, string(s.lazyKey))
		}
		return false
	}
	key := string(s.lazyKey)
	if len(s.lazy) == 0 {
		s.lazyDue = now + s.lazyIntervalLocked()
	}
	v := lazyValue{seq: s.seq, message: o.message, value: o.value}
	s.lazyBytes += v.size() - s.lazy[key].size()
	s.lazy[key] = v
	if s.lazyBytes > s.opts.MaxMemory/2 {
		s.lazyDue = now
	}
	return true
}

func (v lazyValue) size() int {
	if v.message != nil {
		return v.message.size()
	}
	return len(v.value)
}

// lazyDueLocked adds the lazy values to a cut when they are due, as many as fit.
// A value older than a pending submission's would be written over it, so they
// wait until what was submitted before them is cut.
func (s *Store) lazyDueLocked(c *cut, now time.Duration, force bool, budget int) {
	if len(s.lazy) == 0 || !force && now < s.lazyDue {
		return
	}
	upto := s.cutSeq
	if s.pendingHead == len(s.pending) {
		upto = s.seq
	}
	for key, v := range s.lazy {
		if v.seq > upto {
			continue
		}
		cost := entryCost(len(key), v.size())
		if cost > budget && len(c.lazies)+len(c.subs) > 0 {
			return
		}
		budget -= cost
		c.lazies = append(c.lazies, lazyOut{key, v})
		s.lazyBytes -= v.size()
		delete(s.lazy, key)
	}
}

func (s *Store) encodeLazies(c *cut) error {
	for i := range c.lazies {
		l := &c.lazies[i]
		if l.message == nil {
			c.full.put([]byte(l.key), l.value)
			continue
		}
		if err := s.encodeRetained(c, l.message); err != nil {
			return err
		}
	}
	return nil
}

package store

import (
	"context"
	"errors"
	"fmt"
)

// Check verifies the store: every queue entry has a body, counts agree, nothing
// is orphaned. It reads everything, and should be called while nothing is
// submitted; Flush first, or what is written behind is reported.
func (s *Store) Check() error {
	if err := s.sweepOrphans(context.Background(), 0); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mergedWaitLocked()
	if s.be == nil {
		return s.stateErrLocked()
	}
	k := checker{be: s.be, bodies: make(map[uint64]map[MessageID]bool), leaving: make(map[uint64]bool)}
	for _, gid := range s.dead {
		k.leaving[gid] = true
	}
	for _, ch := range s.chores {
		if ch.kind != choreQueue {
			k.leaving[ch.group] = true
		}
	}
	for id := range s.streams {
		k.leaving[id] = true
	}
	if err := k.read(); err != nil {
		return err
	}
	k.compare(s)
	return errors.Join(k.errs...)
}

type checker struct {
	be       backend
	bodies   map[uint64]map[MessageID]bool // by group; true: somebody needs it
	chunked  map[uint64]bool
	leaving  map[uint64]bool   // to be deleted, and known to be
	sessions map[SessionID]int // messages queued on disk
	errs     []error
}

func (k *checker) fail(format string, a ...any) {
	if len(k.errs) < 20 {
		k.errs = append(k.errs, fmt.Errorf(format, a...))
	}
}

func (k *checker) read() error {
	k.sessions, k.chunked = make(map[SessionID]int), make(map[uint64]bool)
	err := k.be.scan([]byte(prefixSession), nil, false, func(key, value []byte, _ int) error {
		id, _ := keyID(key, 0)
		k.sessions[SessionID(id)] = 0
		var r sessionRecord
		if _, err := r.UnmarshalMsg(value); err != nil {
			k.fail("session %d: %w", id, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, step := range []func() error{k.readBodies, k.readQueues, k.readState} {
		if err := step(); err != nil {
			return err
		}
	}
	for gid, needed := range k.bodies {
		anyNeeded := false
		for _, ok := range needed {
			anyNeeded = anyNeeded || ok
		}
		if !anyNeeded && !k.leaving[gid] {
			k.fail("group %d: nobody needs it", gid)
		}
	}
	return nil
}

func (k *checker) readBodies() error {
	return k.be.scan([]byte(prefixGroup), nil, false, func(key, value []byte, _ int) error {
		gid, _ := keyID(key, 0)
		if isPart(key) {
			return nil
		}
		r, err := readBodies(gid, value)
		if err != nil {
			k.fail("group %d: %w", gid, err)
			return nil
		}
		ids := make(map[MessageID]bool)
		k.bodies[gid] = ids
		for {
			id, body, ok, err := r.next()
			if err != nil {
				k.fail("group %d: %w", gid, err)
			}
			if !ok || err != nil {
				return nil
			}
			var m messageRecord
			if _, err := m.UnmarshalMsg(body); err != nil {
				k.fail("message %d: %w", id, err)
			}
			if m.Chunks > 0 && !k.leaving[gid] {
				k.chunked[gid] = true
				if _, err := readChunks(k.be, gid, &m); err != nil {
					k.fail("message %d: %w", id, err)
				}
			}
			ids[id] = false
		}
	})
}

func (k *checker) readQueues() error {
	var session SessionID
	var last MessageID
	return k.be.scan([]byte(prefixQueue), nil, false, func(key, value []byte, _ int) error {
		sid, _ := keyID(key, 0)
		gid, _ := keyID(key, 1)
		if _, ok := k.sessions[SessionID(sid)]; !ok {
			k.fail("queue record of session %d, which does not exist", sid)
			return nil
		}
		g, err := readQgroup(gid, value)
		if err != nil {
			k.fail("queue record of session %d, group %d: %w", sid, gid, err)
			return nil
		}
		bodies, ok := k.bodies[gid]
		if !ok {
			k.fail("session %d needs group %d, which does not exist", sid, gid)
			return nil
		}
		if g.n == 0 {
			k.fail("session %d needs nothing of group %d", sid, gid)
		}
		k.sessions[SessionID(sid)] += int(g.n)
		if SessionID(sid) == session && gid <= uint64(last) {
			k.fail("session %d: message %d lies beyond group %d, which follows it", sid, last, gid)
		}
		session, last = SessionID(sid), 0
		g.walk(0, func(e entry) bool {
			if _, ok := bodies[e.id]; !ok {
				k.fail("session %d needs message %d of group %d, which has no body", sid, e.id, gid)
				return true
			}
			if e.id <= last {
				k.fail("session %d, group %d: messages %d and %d are not in order", sid, gid, last, e.id)
			}
			last = e.id
			bodies[e.id] = true
			return true
		})
		return nil
	})
}

func (k *checker) readState() error {
	for _, prefix := range []string{prefixSubscription, prefixWill, prefixFlight, prefixHold} {
		err := k.be.scan([]byte(prefix), nil, true, func(key, _ []byte, _ int) error {
			if id, _ := keyID(key, 0); !k.has(id) {
				k.fail("%q belongs to session %d, which does not exist", key[:1], id)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	retained := make(map[uint64]bool)
	err := k.be.scan([]byte(prefixRetained), nil, false, func(key, value []byte, _ int) error {
		var r retainedRecord
		if _, err := r.UnmarshalMsg(value); err != nil {
			k.fail("retained message %q: %w", key, err)
			return nil
		}
		if r.ChunkID != 0 {
			retained[r.ChunkID] = true
			if _, err := readChunks(k.be, r.ChunkID, &r.Message); err != nil {
				k.fail("retained message %q: %w", r.Message.Topic, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = k.be.scan([]byte(prefixTopics), nil, false, func(key, value []byte, _ int) error {
		if !wellFormed(key, value) {
			k.fail("retained messages, record %x: %w", key[len(prefixTopics):], errCorrupt)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = eachParts(k.be, func(gid, id uint64) {
		if k.chunked[gid] || k.leaving[gid] {
			k.chunked[id] = true
		} else {
			k.fail("parts of group %d, which does not exist", gid)
		}
	})
	if err != nil {
		return err
	}
	return k.be.scan([]byte(prefixGroup), nil, true, func(key, _ []byte, _ int) error {
		if id, _ := keyID(key, 0); isPart(key) && !k.chunked[id] && !retained[id] && !k.leaving[id] {
			k.fail("part of message %d, which does not exist", id)
		}
		return nil
	})
}

func (k *checker) has(id uint64) bool {
	_, ok := k.sessions[SessionID(id)]
	return ok
}

// compare sets what is on disk against what the store has in memory.
func (k *checker) compare(s *Store) {
	total := 0
	for id, ss := range s.sessions {
		n := 0
		var bytes int64
		for i := range ss.qs {
			n += int(ss.qs[i].n)
			bytes += ss.qs[i].bytes
		}
		pend := 0
		for _, p := range ss.pend {
			if p.sub != nil && !p.rcpt().late {
				pend++
				bytes += int64(p.sub.msgs[p.m].size)
			}
		}
		mem := 0
		for _, m := range ss.memq {
			if m.m != nil {
				mem++
				bytes += int64(m.e.size)
			}
		}
		if n+pend+mem != ss.messages || bytes != ss.bytes {
			k.fail("session %d counts %d messages, %d bytes; its queue has %d, %d", id, ss.messages, ss.bytes, n+pend+mem, bytes)
		}
		if disk, ok := k.sessions[id]; ok && disk != n && len(s.chores) == 0 {
			k.fail("session %d: %d messages queued in memory, %d on disk", id, n, disk)
		}
		total += ss.messages
	}
	if total != s.messages {
		k.fail("the store counts %d messages, its sessions %d", s.messages, total)
	}
	if len(s.groups) != len(k.bodies) && len(s.chores) == 0 && len(s.dead) == 0 {
		k.fail("%d groups in memory, %d on disk", len(s.groups), len(k.bodies))
	}
	if s.pendingHead == len(s.pending) && s.pendingBytes != 0 {
		k.fail("%d bytes pending of nothing", s.pendingBytes)
	}
}

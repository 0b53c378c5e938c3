package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// Health is the store's state in words.
type Health struct {
	OK      bool
	Reasons []string
}

// Health says whether the store can keep its promises, and if not, why.
func (s *Store) Health() Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	var h Health
	switch {
	case s.state == stateFailed:
		h.Reasons = append(h.Reasons, fmt.Sprintf("the disk has failed: %v", s.failure))
	case s.state == stateClosed:
		h.Reasons = append(h.Reasons, "closed")
	}
	if s.full {
		h.Reasons = append(h.Reasons, "the disk is full: messages that must be kept are refused until there is space")
	}
	if s.meter.lost > 0 {
		h.Reasons = append(h.Reasons, fmt.Sprintf("%d queued messages were lost to corruption", s.meter.lost))
	}
	if s.salvaged != "" {
		h.Reasons = append(h.Reasons, s.salvaged)
	}
	h.OK = len(h.Reasons) == 0
	return h
}

// repair undoes a transaction that failed: badger has it in its memtable all the
// same and may yet make it durable, while its publishers were refused and will
// repeat. Messages of it that came back would be delivered twice, and holds of
// it would swallow the repeat.
type repair struct {
	groups []queueRef // records of groups that were refused; session 0: the body
	holds  map[SessionID][]hold
	upto   MessageID // messages after it were refused
}

// failLocked is called when a transaction could not be made durable. Nothing
// that this badger says can be trusted from here on: everything that waits is
// refused, and the committer opens the store anew.
func (s *Store) failLocked(c *cut, err error) {
	s.state, s.failure = stateFailed, err
	s.opts.Log.Error("the store cannot write", "err", err)
	clear(s.streams) // of their parts some may be missing
	r := &repair{holds: make(map[SessionID][]hold), upto: s.publishedMessage}
	for i := range c.built {
		b := &c.built[i]
		r.groups = append(r.groups, queueRef{b.ss.id, b.g.gid}, queueRef{0, b.g.gid})
	}
	for _, ss := range c.holds {
		r.holds[ss.id] = slices.Clone(ss.before)
	}
	s.repair = r
	for _, sub := range c.subs {
		s.completeLocked(sub, Receipt{Err: ErrFailed})
	}
	s.refuseLocked(ErrFailed)
	s.flushedLocked()
}

// refuseLocked answers everything that waits with an error.
func (s *Store) refuseLocked(err error) {
	for _, sub := range s.pending[s.pendingHead:] {
		if !sub.over {
			s.completeLocked(sub, Receipt{Err: err})
		}
	}
	s.pending, s.pendingHead, s.pendingOver, s.pendingBytes = nil, 0, 0, 0
}

// healPause is how long the committer waits between attempts to open a store
// whose disk has failed.
const healPause = time.Second

// healthy watches the disk's space and, when the disk has failed, tries to open
// the store anew; false means that it is still failed.
func (s *Store) healthy(ctx context.Context) bool {
	s.mu.Lock()
	failed := s.state == stateFailed
	s.mu.Unlock()
	if !failed {
		s.watchSpace()
		return true
	}
	if err := s.reopen(ctx); err != nil {
		s.mu.Lock()
		s.failure = err
		s.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(healPause):
		}
		return false
	}
	s.opts.Log.Info("the store works again")
	return true
}

// reopen closes what badger had in memory, opens the files, undoes the failed
// transaction, verifies, and puts what it found in place of the old index.
func (s *Store) reopen(ctx context.Context) error {
	s.mu.Lock()
	old, r := s.be, s.repair
	s.be = nil
	s.mu.Unlock()
	if old != nil {
		s.closing = make(chan error, 1)
		go func(c chan<- error) { c <- old.close() }(s.closing)
	}
	if err := s.awaitClosed(ctx); err != nil {
		return err
	}
	fresh := &Store{opts: s.opts, dir: s.dir, tune: s.tune, start: s.start}
	fresh.clearLocked()
	be, err := fresh.openBackend()
	if err != nil {
		return err
	}
	fresh.be = be
	if err := r.apply(be); err != nil {
		be.close()
		return err
	}
	if err := fresh.restore(); err != nil {
		be.close()
		return err
	}
	if err := fresh.Check(); err != nil && len(fresh.chores) == 0 {
		s.opts.Log.Error("the store does not agree with itself after the failure", "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.be, s.repair, s.state, s.failure = be, nil, stateOpen, nil
	s.adoptLocked(fresh)
	return nil
}

// awaitClosed waits until badger has let go of its files. It writes its memtable
// first, and tries again until that succeeds: on a full disk it takes until there
// is space.
func (s *Store) awaitClosed(ctx context.Context) error {
	for s.closing != nil {
		select {
		case err := <-s.closing:
			s.closing = nil
			if err != nil {
				s.opts.Log.Warn("the failed store did not close well", "err", err)
			}
		case <-time.After(spaceEvery):
			s.watchSpace() // may give up the ballast
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// closePatience is how long Close waits for a badger that cannot write. What it
// has in memory is in its log too.
const closePatience = 10 * time.Second

var errCloseStuck = errors.New("store: the disk cannot be written, the files were left as after a power cut")

// closeBackend closes badger for good.
func (s *Store) closeBackend(be backend) error {
	if s.closing == nil {
		if be == nil {
			return nil
		}
		s.closing = make(chan error, 1)
		go func(c chan<- error) { c <- be.close() }(s.closing)
	}
	for waited := time.Duration(0); ; waited += spaceEvery {
		select {
		case err := <-s.closing:
			s.closing = nil
			return err
		case <-time.After(spaceEvery):
		}
		if s.dir == "" {
			continue
		}
		s.watchSpace()
		if waited > closePatience && s.closeStuck() {
			return errCloseStuck
		}
	}
}

// closeStuck says whether badger is kept from closing by the disk.
func (s *Store) closeStuck() bool {
	f, err := os.CreateTemp(s.dir, ".probe-")
	if err != nil {
		return true
	}
	defer os.Remove(f.Name())
	defer f.Close()
	return allocate(f, s.tune.memtable) != nil
}

// adoptLocked takes over the index of a store that was opened anew, and keeps
// what only memory knows.
func (s *Store) adoptLocked(fresh *Store) {
	s.nextMessage, s.nextSession = max(s.nextMessage, fresh.nextMessage), max(s.nextSession, fresh.nextSession)
	s.keptMessages, s.keptSessions = fresh.keptMessages, fresh.keptSessions
	s.groups, s.bodies, s.messages, s.bytes = fresh.groups, fresh.bodies, fresh.messages, fresh.bytes
	s.chores, s.exact, s.dead, s.deadBytes = fresh.chores, nil, nil, fresh.deadBytes
	s.retained = fresh.retained
	s.retainedChunks, s.restoredChunks = fresh.retainedChunks, fresh.restoredChunks
	s.bound, s.orphansSwept = fresh.bound, false
	s.upto, s.publishedMessage = fresh.upto, fresh.upto
	s.cutSeq, s.publishedSeq = s.seq, s.seq
	s.memBytes = 0
	for id, ss := range fresh.sessions {
		was := s.sessions[id]
		if was == nil {
			continue
		}
		ss.limits, ss.topics, ss.rtt, ss.rttvar = was.limits, was.topics, was.rtt, was.rttvar
		ss.handed, ss.ahead, ss.waiting, ss.waitBits = was.handed, was.ahead, 0, 0
		for i := range ss.qs {
			ss.qs[i].walk(ss.handed, func(e entry) bool {
				if !ss.lent(e.id) {
					ss.waiting++
					ss.waitBits += int64(e.size)
				}
				return true
			})
		}
		for _, m := range was.memq {
			if m.m != nil {
				ss.memq = append(ss.memq, m)
				s.countLocked(ss, m.id, m.e.size, m.e.subs)
				s.memBytes += int64(m.e.size)
			}
		}
		ss.parts = was.parts
		ss.recount()
	}
	s.sessions = fresh.sessions
}

// apply writes the opposite of the failed transaction.
func (r *repair) apply(be backend) error {
	if r == nil {
		return nil
	}
	var w writes
	for _, q := range r.groups {
		if q.session == 0 {
			w.delete(w.key(prefixGroup, q.group))
		} else {
			w.delete(w.key(prefixQueue, uint64(q.session), q.group))
		}
	}
	for id, holds := range r.holds {
		ss := session{holds: holds}
		if v := ss.holdRecord(nil); v != nil {
			w.put(w.key(prefixHold, uint64(id)), v)
		} else {
			w.delete(w.key(prefixHold, uint64(id)))
		}
	}
	err := be.scan([]byte(prefixFlight), nil, false, func(key, value []byte, _ int) error {
		var f flightRecord
		if _, err := f.UnmarshalMsg(value); err != nil {
			return err
		}
		ss := session{mark: f.Mark}
		for i, pid := range f.Packets {
			ss.flights = append(ss.flights, flight{pid: pid, id: MessageID(f.Messages[i]), released: f.Released[i] != 0})
		}
		if !slices.ContainsFunc(ss.flights, func(f flight) bool { return f.id > r.upto }) {
			return nil
		}
		if v := ss.flightRecord(nil, r.upto); v != nil {
			w.put(slices.Clone(key), v)
		} else {
			w.delete(slices.Clone(key))
		}
		return nil
	})
	if err != nil || len(w.list) == 0 {
		return err
	}
	return be.write(&w)
}

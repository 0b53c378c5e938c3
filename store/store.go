package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrBusy is TrySubmit's answer while Options.MaxPending bytes wait.
	ErrBusy = errors.New("store: too much waits to be written")
	// ErrQuota means that a recipient's queue, the store or the disk is full.
	ErrQuota = errors.New("store: quota exceeded")
	// ErrQuotaClose is ErrQuota of a queue whose publishers are to be disconnected.
	ErrQuotaClose = fmt.Errorf("%w: its publishers are disconnected", ErrQuota)
	// ErrFailed means that the disk has failed and nothing can be made durable now.
	ErrFailed = errors.New("store: the disk has failed")
	// ErrTooLarge means that a message is larger than Options.MaxMessage.
	ErrTooLarge = errors.New("store: message too large")
	// ErrInUse means that another process has the store open.
	ErrInUse = errors.New("store: in use")
	// ErrClosed means that the store was closed.
	ErrClosed = errors.New("store: closed")
)

type state uint8

const (
	stateOpen state = iota
	stateFailed
	stateClosed
)

// Store is the durable store. Open makes one, Run drives it.
type Store struct {
	opts  Options
	dir   string
	tune  tuning
	start time.Time // all times inside the store are since then

	wake    chan struct{} // to the committer: something is due earlier than it thinks
	deliver chan struct{} // to the deliverer: completions wait
	room    chan struct{} // to one waiter in Submit: bytes were taken from pending

	mu       sync.Mutex // guards all below
	be       backend    // replaced when a failed disk is opened again
	state    state
	failure  error
	repair   *repair // what a failed transaction may have left
	running  bool
	sessions map[SessionID]*session
	groups   map[uint64]group
	bodies   int64 // bytes of all groups
	messages int
	bytes    int64

	pending          []*submission // in order of seq; head is pending[pendingHead]
	pendingHead      int
	pendingOver      int // of them, those already answered
	pendingBytes     int
	waiters          int // in Submit
	seq              uint64
	cutSeq           uint64 // the last one cut
	publishedSeq     uint64 // the last one on disk
	cutNo            uint64
	upto             MessageID // the last message cut
	publishedMessage MessageID // the last one on disk
	sleepUntil       time.Duration

	nextMessage, keptMessages uint64 // next to give; reserved on disk
	nextSession, keptSessions uint64

	chores    []chore  // written behind, in order
	dead      []uint64 // groups nobody needs, still on disk
	deadBytes int64
	exact     []queueRef
	marks     []*session // whose mark is to be written with the next cut
	lazy      map[string]lazyValue
	lazyKey   []byte // scratch
	lazyDue   time.Duration
	lazyBytes int
	memBytes  int64 // of class Memory
	swept     time.Duration

	completions []completion
	flushes     []flushRequest

	full  bool  // the disk is at its reserve
	free  int64 // on the disk, when it was last looked at
	meter meter
	wear  wear

	merging    bool  // a merge may be on disk and not yet in memory
	freed      int64 // bytes deleted since space was last reclaimed
	freedAt    time.Duration
	reclaiming bool
	background sync.WaitGroup

	spaceSeen time.Duration // when the disk was last looked at; the committer's own
	spaceUsed int64         // bytes written since the disk was last looked at; the committer's own
	lastFree  int64         // the committer's own, as are the next three
	settledAt time.Duration // since when nobody took more
	starved   bool          // too little space to write anything
	turns     atomic.Uint64 // of the commit loop
	ballast   bool          // the committer's own

	closing chan error // a badger that failed is being closed; the committer's own

	warned   bool   // of a badger without the corrections
	salvaged string // what happened to a damaged store, for Health

	cleaner cleaner
	cleanAt time.Duration // when it wants to be called; the committer's own

	bound          uint64              // ids below it are older than this start
	orphansSwept   bool                // what a crash left was looked for
	restoredChunks map[uint64]struct{} // parts of retained messages when it was opened

	streams map[uint64]*Stream // payloads on their way, by the id of their parts

	retained       retainedIndex     // the committer's own
	retainedChunks map[string]uint64 // ids of chunked retained messages by key; the committer's own
}

// group is a packed group that somebody still needs.
type group struct {
	refs   int32 // sessions
	bytes  int32 // of its record
	chunks bool  // its one body lies in chunks
}

type completion struct {
	done    func(Receipt)
	receipt Receipt
}

type flushRequest struct {
	seq  uint64
	at   time.Duration
	done chan error

	published bool // all up to seq is on disk, at is when that was seen
}

// Open opens the store in dir, creating it if need be. An empty dir keeps
// everything in memory.
func Open(dir string, o Options) (*Store, error) {
	o = o.withDefaults()
	s := &Store{
		opts: o, dir: dir, tune: tuneFor(o), start: time.Now(),
		wake: make(chan struct{}, 1), deliver: make(chan struct{}, 1), room: make(chan struct{}, 1),
	}
	if o.Reserve == 0 {
		s.opts.Reserve = s.tune.reserve()
	}
	s.clearLocked()
	if err := s.openAndRestore(); err != nil {
		return nil, err
	}
	s.boundBytes()
	s.watchSpace()
	s.watchWearLocked(s.since())
	return s, nil
}

// clearLocked forgets everything that restore reads.
func (s *Store) clearLocked() {
	s.sessions = make(map[SessionID]*session)
	s.groups = make(map[uint64]group)
	s.lazy = make(map[string]lazyValue)
	s.bodies, s.messages, s.bytes, s.memBytes = 0, 0, 0, 0
	s.chores, s.exact, s.marks, s.dead, s.deadBytes = nil, nil, nil, nil, 0
	s.pending, s.pendingHead, s.pendingOver, s.pendingBytes = nil, 0, 0, 0
	s.nextMessage, s.nextSession = max(s.nextMessage, 1), max(s.nextSession, 1)
}

// since is the time on the store's own clock.
func (s *Store) since() time.Duration { return time.Since(s.start) }

// Run commits and delivers until ctx is done; it then writes what is pending,
// runs the last done functions and returns.
func (s *Store) Run(ctx context.Context) error {
	s.mu.Lock()
	s.running = true
	s.mu.Unlock()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { s.runDeliverer(stop) })
	s.background.Go(func() {
		if err := s.sweepOrphans(ctx, orphanPause); err != nil && ctx.Err() == nil {
			s.opts.Log.Warn("what a crash left cannot be looked for", "err", err)
		}
	})
	s.runCommitter(ctx)
	s.background.Wait()
	close(stop)
	wg.Wait()
	s.mu.Lock()
	s.running = false
	s.mu.Unlock()
	return context.Cause(ctx)
}

// Close writes what is pending and closes the files. Run must have returned.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.state == stateClosed && s.be == nil {
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	s.drain()
	s.runCompletions()
	s.mu.Lock()
	be := s.be
	s.be, s.state = nil, stateClosed
	err := s.failure
	s.mu.Unlock()
	err = errors.Join(err, s.closeBackend(be))
	if err == nil {
		s.noteEnd()
	}
	return err
}

// Flush returns when everything submitted before it is durable, lazy values
// and written-behind progress included.
func (s *Store) Flush(ctx context.Context) error {
	s.mu.Lock()
	if s.state != stateOpen {
		defer s.mu.Unlock()
		return s.stateErrLocked()
	}
	req := flushRequest{seq: s.seq, at: s.since(), done: make(chan error, 1)}
	s.flushes = append(s.flushes, req)
	s.mu.Unlock()
	s.poke(s.wake)
	select {
	case err := <-req.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Store) stateErrLocked() error {
	switch s.state {
	case stateFailed:
		return ErrFailed
	case stateClosed:
		return ErrClosed
	}
	return nil
}

// unusable is the error of a store that cannot be read now.
func (s *Store) unusable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == stateFailed {
		return ErrFailed
	}
	return ErrClosed
}

// poke wakes whoever waits on a channel of capacity one.
func (s *Store) poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// NewSessionID gives an id that no session of this store ever had.
func (s *Store) NewSessionID() SessionID {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.nextSession
	s.nextSession++
	return SessionID(id)
}

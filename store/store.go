package store

import (
	"context"
	"errors"
)

var (
	// ErrBusy is TrySubmit's answer while Options.MaxPending bytes wait.
	ErrBusy = errors.New("store: too much waits to be written")
	// ErrQuota means that a recipient's queue, the store or the disk is full.
	ErrQuota = errors.New("store: quota exceeded")
	// ErrFailed means that the disk has failed and nothing can be made durable now.
	ErrFailed = errors.New("store: the disk has failed")
	// ErrTooLarge means that a message is larger than Options.MaxMessage.
	ErrTooLarge = errors.New("store: message too large")
	// ErrClosed means that the store was closed.
	ErrClosed = errors.New("store: closed")
)

// Store is the durable store. Open makes one, Run drives it.
type Store struct {
	opts Options
}

// Open opens the store in dir, creating it if need be. An empty dir keeps
// everything in memory.
func Open(dir string, o Options) (*Store, error) { return &Store{opts: o.withDefaults()}, nil }

// Run commits and delivers until ctx is done; it then writes what is pending,
// runs the last done functions and returns.
func (s *Store) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Close writes what is pending and closes the files. Run must have returned.
func (s *Store) Close() error { return nil }

// Flush returns when everything submitted before it is durable, lazy values
// and written-behind progress included.
func (s *Store) Flush(ctx context.Context) error { return nil }

// NewSessionID gives an id that no session of this store ever had.
func (s *Store) NewSessionID() SessionID { return 0 }

// Submit is TrySubmit that waits while too much is pending. The caller must
// hold no lock.
func (s *Store) Submit(ctx context.Context, b *Batch, done func(Receipt)) error { return nil }

// TrySubmit hands over a batch. With an error nothing has happened: ErrBusy,
// ErrQuota, ErrFailed, ErrTooLarge, ErrClosed. Otherwise done, if not nil, runs
// once on the deliverer; it must not block and not submit. Batches that are
// written get their receipts in order of submission; one that cancels out
// (Receipt.Elided) gets it at that moment, ahead of those still being written.
func (s *Store) TrySubmit(b *Batch, done func(Receipt)) error { return nil }

// Queue appends the session's messages after the given id to dst, in order,
// submitted but uncommitted ones included, until limit messages or maxBytes
// bytes are reached (at least one). It may read the disk.
func (s *Store) Queue(dst []Queued, id SessionID, after MessageID, limit, maxBytes int) ([]Queued, error) {
	return dst, nil
}

// Depth is what a session's queue holds; oldest is the Time of its first
// message, 0 when it is empty.
func (s *Store) Depth(id SessionID) (messages int, bytes int64, oldest int64) { return 0, 0, 0 }

// SetLimits bounds a session's queue. It holds until the next SetLimits; a
// restart forgets it.
func (s *Store) SetLimits(id SessionID, l Limits) {}

// Get reads a value of a room above; nil when there is none.
func (s *Store) Get(key string) ([]byte, error) { return nil, nil }

// Scan calls f for each value whose key begins with prefix and is greater than
// after, in order of keys, until f returns false. The value is valid during the
// call.
func (s *Store) Scan(prefix, after string, f func(key string, value []byte) bool) error { return nil }

// Check verifies the store: every queue entry has a body, counts agree, nothing
// is orphaned.
func (s *Store) Check() error { return nil }

// Stats are counters since Open and present sizes.
func (s *Store) Stats() Stats { return Stats{} }

// Health says whether the store can keep its promises.
func (s *Store) Health() Health { return Health{} }

// Stats describe what the store did and holds.
type Stats struct {
	Sessions, Retained       int
	Messages                 int   // queued deliveries
	MessageBytes             int64 // their size
	Groups                   int   // packed groups on disk
	PendingBytes             int   // waiting for the committer
	Submitted, Elided        uint64
	Commits, Syncs           uint64
	DroppedOldest            uint64
	DroppedNewest            uint64
	DroppedTopic             uint64 // replaced by a later message of its topic
	DroppedAge               uint64
	DroppedExpired           uint64
	Rejected                 uint64
	Written                  map[string]uint64 // bytes by subsystem: queues, retained, sessions, qos2, values, compaction
	CommitP50, CommitP99     int64             // µs, of the last thousand
	CommitDelay              int64             // µs, at present
	DiskBytes, DiskFreeBytes int64
}

// Health is the store's state in words.
type Health struct {
	OK      bool
	Reasons []string
}

// Loader receives what the store held when it was opened. Nil members are
// skipped; an error ends Load with it. Sessions come before what they own.
type Loader struct {
	Session      func(s Session, packetIDMark uint16) error
	Subscription func(SessionID, Subscription) error
	Will         func(SessionID, Will) error
	Hold         func(id SessionID, pid uint16, digest uint64) error
	Flight       func(SessionID, Flight) error // in order of sending
	Retained     func(*Message) error
	Value        func(key string, value []byte) error
}

// Load hands out what was stored. Call it before Run.
func (s *Store) Load(l Loader) error { return nil }

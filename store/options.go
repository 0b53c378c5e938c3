package store

import (
	"cmp"
	"log/slog"
	"time"
)

// Options configure a Store. The zero value works.
type Options struct {
	// Large gives badger eight times the memory: for machines with gigabytes to
	// spare and traffic that never rests. See tune.go.
	Large bool
	// MaxPending bounds the bytes that wait for the committer: beyond it Submit
	// waits and TrySubmit answers ErrBusy. Zero: 4 MB.
	MaxPending int
	// MaxMemory bounds the bytes of class Memory; beyond it they are dropped.
	// Zero: 16 MB.
	MaxMemory int
	// MaxGroup bounds the bytes joined into one transaction. Zero, or more than
	// badger takes: 13 % of its memtable.
	MaxGroup int
	// MaxMessage is the largest message in bytes. Zero: 2 MB; at most 256 MB.
	MaxMessage int
	// MaxBytes bounds the bodies kept for all sessions together: beyond it
	// batches with messages are refused with ErrQuota. Zero: half of the disk's
	// free space at Open.
	MaxBytes int64
	// MaxMessages bounds what waits for all sessions together, a message counting
	// once for each; beyond it ErrQuota. Zero: no bound.
	MaxMessages int
	// MaxAge is how long, in ms, a message may wait for any session. Zero: for ever.
	MaxAge int64
	// CommitDelay is the longest the committer waits, from idle, for recipients
	// that are online to acknowledge, so that a message cancels out before it is
	// written. It adapts to their round trip below this cap. Zero: off.
	CommitDelay time.Duration
	// LazyInterval is how long values of class Lazy wait for a newer one. Zero:
	// one minute.
	LazyInterval time.Duration
	// Reserve is the disk space kept free so that badger never meets a full
	// disk. Zero: derived from the memtable's size.
	Reserve int64
	// WriteBudget is the number of bytes a day the store aims not to exceed: near
	// it the commit delay and the lazy interval grow. No acknowledgement is
	// weakened by it. Zero: none.
	WriteBudget int64
	// CardWrites is how often the disk can be written over as a whole, for the
	// estimate of its life. Zero: 300.
	CardWrites int
	// Now is the broker's clock in ms, for Limits.Age. Nil: the wall clock.
	Now func() int64
	// Delivered is called on the deliverer after each run of done functions.
	Delivered func()
	// BeforeWrite is called before each transaction goes to the disk; an error is
	// the disk's. Tests of the rooms above hold it up: while it does not return
	// nothing becomes durable, so nothing that depends on it may be seen outside.
	BeforeWrite func() error
	wrap        func(backend) backend       // of tests: faults
	free        func(string) (int64, error) // of tests: statfs
	eager       bool                        // of tests: old groups are merged all the time
	// Log receives what an operator should know. Nil: nothing is logged.
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
	o.MaxPending = cmp.Or(o.MaxPending, 4<<20)
	o.MaxMessage = min(cmp.Or(o.MaxMessage, 2<<20), 256<<20)
	o.MaxMemory = cmp.Or(o.MaxMemory, 16<<20)
	o.LazyInterval = cmp.Or(o.LazyInterval, time.Minute)
	if o.Now == nil {
		o.Now = func() int64 { return time.Now().UnixMilli() }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.free == nil {
		o.free = freeSpace
	}
	return o
}

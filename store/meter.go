package store

import (
	"slices"
	"time"
)

// meter counts what the store did. Store.mu guards it.
type meter struct {
	submitted, elided, commits uint64
	droppedOldest              uint64
	droppedNewest              uint64
	droppedTopic               uint64
	droppedAge, droppedExpired uint64
	rejected                   uint64
	reclaims                   uint64
	merged                     uint64
	lost                       uint64 // queue entries without a body, found by restore
	written                    [subsystems]uint64
	times                      [1000]int32 // µs of the last commits
	next                       int
	counted                    uint64
}

type subsystem uint8

const (
	wroteQueues subsystem = iota
	wroteRetained
	wroteSessions
	wroteQoS2
	wroteValues
	wroteMerges
	wroteOther
	subsystems
)

var subsystemNames = [subsystems]string{"queues", "retained", "sessions", "qos2", "values", "merges", "other"}

func subsystemOf(key []byte) subsystem {
	switch key[0] {
	case 'g', 'q':
		return wroteQueues
	case 'r', 't':
		return wroteRetained
	case 's', 'u', 'w':
		return wroteSessions
	case 'h', 'i':
		return wroteQoS2
	case 'v':
		return wroteValues
	}
	return wroteOther
}

func (m *meter) wrote(w *writes) {
	for i := range w.list {
		e := &w.list[i]
		m.written[subsystemOf(e.key)] += uint64(len(e.key) + len(e.value))
	}
}

// bytes is what the writes hand to badger.
func (w *writes) bytes() (n int) {
	for i := range w.list {
		n += len(w.list[i].key) + len(w.list[i].value)
	}
	return n
}

func (m *meter) committed(c *cut, took time.Duration) {
	m.commits++
	m.wrote(&c.full)
	m.times[m.next] = int32(min(took.Microseconds(), 1<<31-1))
	m.next = (m.next + 1) % len(m.times)
	m.counted++
}

// percentiles of the last commits, in µs.
func (m *meter) percentiles() (p50, p99 int64) {
	n := int(min(m.counted, uint64(len(m.times))))
	if n == 0 {
		return 0, 0
	}
	t := slices.Clone(m.times[:n])
	slices.Sort(t)
	return int64(t[n/2]), int64(t[n*99/100])
}

// Stats describe what the store did since Open and what it holds.
type Stats struct {
	Sessions       int
	Messages       int   // queued deliveries
	MessageBytes   int64 // their size
	Groups         int   // packed groups on disk
	BodyBytes      int64 // their records
	PendingBytes   int   // waiting for the committer
	Lazy           int   // values waiting to be written
	Submitted      uint64
	Elided         uint64 // batches with messages that were never written
	Commits        uint64 // each with one sync
	DroppedOldest  uint64
	DroppedNewest  uint64
	DroppedTopic   uint64 // replaced by a later message of its topic
	DroppedAge     uint64
	DroppedExpired uint64
	Rejected       uint64
	Reclaims       uint64            // times space was given back after a drain
	Merged         uint64            // old groups copied together
	Lost           uint64            // queue entries that had no body when the store was opened
	Written        map[string]uint64 // bytes handed to badger, by subsystem
	CommitP50      time.Duration     // of the last thousand
	CommitP99      time.Duration
	DiskWritten    uint64        // bytes this process made the kernel write since Open, compactions included
	DeviceWritten  uint64        // bytes written to the block device since Open, by everyone; 0: not known
	BudgetUsed     float64       // of the write budget, of what it allows by now; 0: none is set
	CommitDelay    time.Duration // to keep to the budget, 0: none
	DiskFree       int64         // bytes, 0: not known
	DiskSize       int64         // of the whole device, in bytes; 0: not known
	BytesPerDay    uint64        // what the disk is given to write at the rate since Open; 0: too early to say
	CardYears      float64       // an estimate of the disk's life at that rate; 0: not known
}

// Stats are counters since Open and present sizes.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &s.meter
	p50, p99 := m.percentiles()
	st := Stats{
		Sessions: len(s.sessions), Messages: s.messages, MessageBytes: s.bytes,
		Groups: len(s.groups), BodyBytes: s.bodies, PendingBytes: s.pendingBytes, Lazy: len(s.lazy),
		Submitted: m.submitted, Elided: m.elided, Commits: m.commits,
		DroppedOldest: m.droppedOldest, DroppedNewest: m.droppedNewest, DroppedTopic: m.droppedTopic,
		DroppedAge: m.droppedAge, DroppedExpired: m.droppedExpired, Rejected: m.rejected, Reclaims: m.reclaims, Merged: m.merged, Lost: m.lost,
		Written:   make(map[string]uint64, subsystems),
		CommitP50: time.Duration(p50) * time.Microsecond, CommitP99: time.Duration(p99) * time.Microsecond,
	}
	if s.dir != "" {
		st.DiskWritten, st.DiskFree = s.writtenLocked(), s.free
		st.BudgetUsed, st.CommitDelay = s.wear.pressure, s.commitDelayLocked()
		if now, err := deviceWritten(s.dir); err == nil && now >= s.wear.device && s.wear.device > 0 {
			st.DeviceWritten = now - s.wear.device
		}
		st.DiskSize = deviceSize(s.dir)
		s.lifeLocked(&st, s.since())
	}
	for i, n := range m.written {
		st.Written[subsystemNames[i]] = n
	}
	return st
}

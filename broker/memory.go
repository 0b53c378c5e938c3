package broker

import (
	"runtime"
	"runtime/metrics"
	"sync/atomic"
)

// memoryState is how near the broker is to its memory limit. It degrades in
// steps instead of being killed: first new connections are refused, then QoS 0
// is dropped, then publishers are refused.
type memoryState struct {
	level  atomic.Int32
	cycles uint64 // of the collector, at the last measurement; the clock's own
}

const (
	memoryFine = iota
	memoryNoConnections
	memoryNoQoS0
	memoryNoPublish
)

func (m *memoryState) refuseConnections() bool { return m.level.Load() >= memoryNoConnections }
func (m *memoryState) dropQoS0() bool          { return m.level.Load() >= memoryNoQoS0 }
func (m *memoryState) refusePublishers() bool  { return m.level.Load() >= memoryNoPublish }

// measure compares what the process holds with the limit. Garbage does not
// count: the collector lets it grow until the limit makes it work, so a heap that
// looks full is collected, if it was not since the last measurement, and looked at
// again before anybody is refused for it. The clock calls it.
func (m *memoryState) measure(limit int64) {
	used, cycles := heldMemory()
	if levelOf(used, limit) > memoryFine && cycles == m.cycles {
		runtime.GC()
		used, cycles = heldMemory()
	}
	m.cycles = cycles
	m.level.Store(levelOf(used, limit))
}

// heldMemory is what the process has from the system and cannot give back:
// everything but free and released heap and what is known to be garbage.
func heldMemory() (bytes int64, cycles uint64) {
	sample := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"}, {Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(sample)
	held := int64(sample[0].Value.Uint64())
	for _, s := range sample[1:4] {
		held -= int64(s.Value.Uint64())
	}
	return held, sample[4].Value.Uint64()
}

func levelOf(used, limit int64) int32 {
	switch percent := used * 100 / limit; {
	case percent >= 97:
		return memoryNoPublish
	case percent >= 92:
		return memoryNoQoS0
	case percent >= 85:
		return memoryNoConnections
	}
	return memoryFine
}

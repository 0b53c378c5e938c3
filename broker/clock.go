package broker

import (
	"encoding/binary"
	"sync/atomic"
	"time"
)

// Clock is the broker's clock: milliseconds of uptime, gathered over restarts.
// It never goes back. Within one boot of the system the time the broker was off
// is known exactly, without any wall clock. Over boots the time the broker was off counts only when the wall
// clock can be trusted on both sides of the gap, so that a boot in 1970
// followed by NTP expires nothing.
type Clock struct {
	start time.Time    // monotonic
	base  atomic.Int64 // uptime at start
}

// NewClock starts a clock. Broker.New sets it to where the last run left off.
func NewClock() *Clock {
	c := &Clock{start: time.Now()}
	c.base.Store(1) // zero stands for "never" in every record
	return c
}

// Now is the uptime in ms.
func (c *Clock) Now() int64 { return c.base.Load() + time.Since(c.start).Milliseconds() }

// plausible is the earliest wall clock that can be right, in ms: this code did
// not exist before 2026.
var plausible = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

// record is what restore needs, all of the same moment: uptime, wall clock, and
// where the system tells them, its time since boot and which boot that was.
func (c *Clock) record() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(c.Now()))
	b = binary.BigEndian.AppendUint64(b, uint64(time.Now().UnixMilli()))
	if since, boot, ok := sinceBoot(); ok {
		b = binary.BigEndian.AppendUint64(b, uint64(since.Milliseconds()))
		b = append(b, boot...)
	}
	return b
}

// restore goes on from a record of an earlier run.
func (c *Clock) restore(record []byte) {
	if len(record) < 16 {
		return
	}
	uptime := int64(binary.BigEndian.Uint64(record))
	then := int64(binary.BigEndian.Uint64(record[8:]))
	if off, ok := offThisBoot(record[16:]); ok {
		uptime += off
	} else if now := time.Now().UnixMilli(); then >= plausible && now > then {
		uptime += now - then
	}
	if uptime > c.base.Load() {
		c.base.Store(uptime)
	}
}

// offThisBoot is how long the broker was off, in ms, by the end of a record that
// was written during this very boot.
func offThisBoot(tail []byte) (ms int64, ok bool) {
	since, boot, ok := sinceBoot()
	if !ok || len(tail) < 8 || string(tail[8:]) != boot {
		return 0, false
	}
	ms = since.Milliseconds() - int64(binary.BigEndian.Uint64(tail))
	return ms, ms >= 0
}

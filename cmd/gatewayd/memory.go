package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gatewayd/config"
)

// setMemoryLimit sets the ceiling once, from the configuration or from what
// the board and the control group have, and returns it. It also has the
// collector keep the heap small. An operator's GOMEMLIMIT wins for the collector.
func setMemoryLimit(c *config.Config, ram int64) int64 {
	limit := int64(c.MQTT.MemoryLimit)
	if limit == 0 && ram > 0 {
		limit = ram / 4 * 3
	}
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		h := &heapKeeper{ceiling: limit, least: leanHeap}
		if c.Store.Memory == "large" {
			h.least = math.MaxInt64 // up to the ceiling
		}
		h.adjust()
		h.watch()
	}
	return limit
}

// leanHeap is the process's memory below which the collector runs no more often
// than usual.
const leanHeap = 56 << 20

// heapKeeper sets the collector's limit after each of its cycles. Left alone it
// lets the heap double: badger's buffers under load would become 80 MB of
// anonymous memory on any machine. A fixed limit is no answer, since a broker
// with many clients needs what it needs, and a limit below that makes the
// collector run all the time. So the limit follows what is alive: half as much
// again, and never below leanHeap.
type heapKeeper struct {
	ceiling int64 // 0: none
	least   int64
	set     int64
}

// watch has adjust called after the next cycle of the collector, and so on.
func (h *heapKeeper) watch() {
	runtime.AddCleanup(new([16]byte), func(h *heapKeeper) {
		h.adjust()
		h.watch()
	}, h)
}

func (h *heapKeeper) adjust() {
	limit := h.limit(heapAlive())
	if d := limit - h.set; d < h.set/16 && d > -h.set/16 && h.set != 0 {
		return // setting it stops the world
	}
	h.set = limit
	debug.SetMemoryLimit(limit)
}

// limit is the collector's for a heap with so much alive and so much memory
// beside it.
func (h *heapKeeper) limit(alive, beside int64) int64 {
	limit := max(h.least, alive+alive/2+beside)
	if h.ceiling > 0 {
		limit = min(limit, h.ceiling)
	}
	return limit
}

// heapAlive is what the last cycle found alive, and what the process has beside
// the heap: stacks and the runtime's own.
func heapAlive() (alive, beside int64) {
	sample := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(sample)
	beside = int64(sample[1].Value.Uint64())
	for _, s := range sample[2:] {
		beside -= int64(s.Value.Uint64())
	}
	return int64(sample[0].Value.Uint64()), beside
}

// memory is the RAM this process may use: the board's, or less where the
// control group says so. 0 when nothing is known.
func memory() int64 {
	var info unix.Sysinfo_t
	ram := int64(0)
	if unix.Sysinfo(&info) == nil {
		ram = int64(info.Totalram) * int64(info.Unit)
	}
	if group := cgroupMemory("/proc/self/cgroup", "/sys/fs/cgroup"); group > 0 && (ram == 0 || group < ram) {
		ram = group
	}
	return ram
}

// cgroupMemory is the smallest bound of the control group and those around it,
// of version 2 and 1; 0 for none.
func cgroupMemory(self, root string) int64 {
	text, err := os.ReadFile(self)
	if err != nil {
		return 0
	}
	smallest := int64(0)
	for line := range strings.Lines(string(text)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3) // id, controllers, path
		if len(part) < 3 {
			continue
		}
		top, file := root, "memory.max"
		if part[1] != "" {
			if !hasController(part[1], "memory") {
				continue
			}
			top, file = filepath.Join(root, "memory"), "memory.limit_in_bytes"
		}
		for dir := filepath.Join(top, part[2]); strings.HasPrefix(dir, top); dir = filepath.Dir(dir) {
			b, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				continue
			}
			n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
			if err == nil && n > 0 && n < unbounded && (smallest == 0 || n < smallest) {
				smallest = n
			}
		}
	}
	return smallest
}

// unbounded is what version 1 writes, to the page, for no bound.
const unbounded = math.MaxInt64 &^ (1<<20 - 1)

func hasController(list, name string) bool {
	for c := range strings.SplitSeq(list, ",") {
		if c == name {
			return true
		}
	}
	return false
}

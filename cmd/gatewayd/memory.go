package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gatewayd/config"
)

// setMemoryLimit sets the ceiling once, from the configuration or from what
// the board and the control group have, and returns it. An operator's
// GOMEMLIMIT wins for the collector.
func setMemoryLimit(c *config.Config, ram int64) int64 {
	limit := int64(c.MQTT.MemoryLimit)
	if limit == 0 && ram > 0 {
		limit = ram / 4 * 3
	}
	if limit > 0 && debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(limit)
	}
	return limit
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

// cgroupMemory is the smallest memory.max of the control group (version 2)
// and those around it; 0 for none.
func cgroupMemory(self, root string) int64 {
	text, err := os.ReadFile(self)
	if err != nil {
		return 0
	}
	smallest := int64(0)
	for _, line := range strings.Split(string(text), "\n") {
		path, ok := strings.CutPrefix(line, "0::")
		if !ok {
			continue
		}
		for dir := filepath.Join(root, path); strings.HasPrefix(dir, root); dir = filepath.Dir(dir) {
			b, err := os.ReadFile(filepath.Join(dir, "memory.max"))
			if err != nil {
				continue
			}
			n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
			if err == nil && n > 0 && (smallest == 0 || n < smallest) {
				smallest = n
			}
		}
	}
	return smallest
}

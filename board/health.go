package board

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Health is how the board is doing. A figure that cannot be had here is zero
// and its Has field false.
type Health struct {
	Model  string `json:"model"`
	Serial string `json:"serial,omitempty"`

	Temperature    float64            `json:"temperature,omitempty"` // of the processor, °C
	HasTemperature bool               `json:"-"`
	Temperatures   map[string]float64 `json:"temperatures,omitempty"` // of every thermal zone by its name

	Power    Power `json:"power"`
	HasPower bool  `json:"-"`

	Load            float64       `json:"load"` // of the last minute
	MemoryTotal     uint64        `json:"memory_total"`
	MemoryAvailable uint64        `json:"memory_available"`
	DiskTotal       uint64        `json:"disk_total"`
	DiskFree        uint64        `json:"disk_free"`
	Uptime          time.Duration `json:"-"`
	UptimeSeconds   int64         `json:"uptime"`

	Clock   Clock  `json:"clock"`
	Card    Card   `json:"card"`
	HasCard bool   `json:"-"`
	SimNote string `json:"note,omitempty"`
}

// Power is what the firmware of a Raspberry Pi says about its supply.
type Power struct {
	UnderVoltage    bool `json:"under_voltage"` // now
	FrequencyCapped bool `json:"frequency_capped"`
	Throttled       bool `json:"throttled"`
	TemperatureCap  bool `json:"temperature_limit"`
	// Since boot:
	UnderVoltageSeen   bool `json:"under_voltage_seen"`
	FrequencyCapSeen   bool `json:"frequency_capped_seen"`
	ThrottledSeen      bool `json:"throttled_seen"`
	TemperatureCapSeen bool `json:"temperature_limit_seen"`
}

// Clock is what the kernel knows about the time.
type Clock struct {
	Synchronised bool          `json:"synchronised"`
	MaxError     time.Duration `json:"max_error_ns,omitempty"`
	Plausible    bool          `json:"plausible"` // not before this program was built
}

// Card is the wear of the SD card or eMMC, as far as it tells.
type Card struct {
	Device  string `json:"device"`
	Name    string `json:"name,omitempty"`      // what it calls itself
	Life    string `json:"life_time,omitempty"` // eMMC: tenths of the life used, of both memory types
	Used    int    `json:"life_used,omitempty"` // per cent of the life used, at most; 0: it does not tell
	PreEOL  string `json:"pre_eol,omitempty"`
	Written uint64 `json:"written"` // bytes since boot
}

// builtAfter is before any build of this program: a clock that shows less was
// never set.
var builtAfter = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// Health looks how the board is doing; dataDir tells which disk counts. It
// reads files of the kernel only and takes no time.
func (b *Board) Health(dataDir string) Health {
	var h Health
	read := func(name string) string {
		t, err := os.ReadFile(filepath.Join(b.root, name))
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(t))
	}
	h.Model, h.Serial = b.info.Model, b.info.Serial
	h.Temperatures = temperatures(b.root, read)
	if v, err := strconv.ParseFloat(read("sys/class/thermal/thermal_zone0/temp"), 64); err == nil {
		h.Temperature, h.HasTemperature = v/1000, true
	}
	h.Power, h.HasPower = power(b.root, read)
	if f := strings.Fields(read("proc/loadavg")); len(f) > 0 {
		h.Load, _ = strconv.ParseFloat(f[0], 64) // 0 when it is unreadable
	}
	if f := strings.Fields(read("proc/uptime")); len(f) > 0 {
		s, _ := strconv.ParseFloat(f[0], 64) // 0 when it is unreadable
		h.Uptime, h.UptimeSeconds = time.Duration(s*float64(time.Second)), int64(s)
	}
	mem := read("proc/meminfo")
	h.MemoryTotal, h.MemoryAvailable = memField(mem, "MemTotal:"), memField(mem, "MemAvailable:")
	h.DiskTotal, h.DiskFree = diskSpace(dataDir)
	h.Clock = ReadClock()
	h.Card, h.HasCard = card(read)
	if b.info.Simulated {
		h.SimNote = "figures of the machine the simulated board runs on"
	}
	return h
}

// power reads the firmware's word, or the undervoltage alarm alone.
func power(root string, read func(string) string) (Power, bool) {
	for _, f := range []string{"sys/devices/platform/soc/soc:firmware/get_throttled", "sys/devices/platform/soc/firmware/get_throttled"} {
		if v, err := strconv.ParseUint(strings.TrimPrefix(read(f), "0x"), 16, 32); err == nil {
			return parseThrottled(uint32(v)), true
		}
	}
	found, _ := filepath.Glob(filepath.Join(root, "sys/class/hwmon/hwmon*/name")) // the pattern is well-formed
	for _, f := range found {
		if t, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(t)) == "rpi_volt" {
			alarm, err := os.ReadFile(filepath.Join(filepath.Dir(f), "in0_lcrit_alarm"))
			low := strings.TrimSpace(string(alarm)) == "1"
			return Power{UnderVoltage: low, UnderVoltageSeen: low}, err == nil
		}
	}
	return Power{}, false
}

func parseThrottled(v uint32) Power {
	bit := func(n int) bool { return v>>n&1 == 1 }
	return Power{UnderVoltage: bit(0), FrequencyCapped: bit(1), Throttled: bit(2), TemperatureCap: bit(3),
		UnderVoltageSeen: bit(16), FrequencyCapSeen: bit(17), ThrottledSeen: bit(18), TemperatureCapSeen: bit(19)}
}

// card finds the first SD card or eMMC.
func card(read func(string) string) (Card, bool) {
	for _, dev := range []string{"mmcblk0", "mmcblk1"} {
		f := strings.Fields(read("sys/block/" + dev + "/stat"))
		if len(f) < 7 {
			continue
		}
		sectors, _ := strconv.ParseUint(f[6], 10, 64) // 0 when it is unreadable
		c := Card{Device: dev, Written: sectors * 512, Name: read("sys/block/" + dev + "/device/name"),
			Life: read("sys/block/" + dev + "/device/life_time"), PreEOL: read("sys/block/" + dev + "/device/pre_eol_info")}
		c.Used = lifeUsed(c.Life)
		return c, true
	}
	return Card{}, false
}

// lifeUsed reads "0x01 0x02": steps of ten per cent, of both kinds of memory;
// 0x0b is beyond the end. The worse one counts.
func lifeUsed(text string) (percent int) {
	for _, f := range strings.Fields(text) {
		if v, err := strconv.ParseUint(strings.TrimPrefix(f, "0x"), 16, 8); err == nil {
			percent = max(percent, 10*int(v))
		}
	}
	return percent
}

// temperatures reads the kernel's thermal zones; two of one name are numbered.
func temperatures(root string, read func(string) string) map[string]float64 {
	zones, _ := filepath.Glob(filepath.Join(root, "sys/class/thermal/thermal_zone*")) // the pattern is well-formed
	var all map[string]float64
	for _, z := range zones {
		dir := filepath.Join("sys/class/thermal", filepath.Base(z))
		v, err := strconv.ParseFloat(read(filepath.Join(dir, "temp")), 64)
		if err != nil {
			continue // an unplugged one says so
		}
		name := read(filepath.Join(dir, "type"))
		if name == "" {
			name = filepath.Base(z)
		}
		if _, taken := all[name]; taken {
			name += "-" + strings.TrimPrefix(filepath.Base(z), "thermal_zone")
		}
		if all == nil {
			all = map[string]float64{}
		}
		all[name] = v / 1000
	}
	return all
}

func memField(meminfo, key string) uint64 {
	for line := range strings.Lines(meminfo) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == key {
			kb, _ := strconv.ParseUint(f[1], 10, 64) // 0 when it is unreadable
			return kb << 10
		}
	}
	return 0
}

package board

import (
	"maps"
	"strings"
	"testing"
)

func TestFigures(t *testing.T) {
	files := map[string]string{
		"proc/device-tree/model":                              "Raspberry Pi 4 Model B Rev 1.4\x00",
		"proc/device-tree/serial-number":                      "10000000abcdef01\x00",
		"proc/uptime":                                         "3600.50 7000.00",
		"proc/meminfo":                                        "MemTotal:        948304 kB\nMemAvailable:    600000 kB\n",
		"proc/loadavg":                                        "0.42 0.30 0.20 1/100 1",
		"sys/class/thermal/thermal_zone0/temp":                "52160\n",
		"sys/class/thermal/thermal_zone0/type":                "cpu-thermal\n",
		"sys/class/thermal/thermal_zone1/temp":                "40000\n",
		"sys/class/thermal/thermal_zone1/type":                "cpu-thermal\n",
		"sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
		"sys/block/mmcblk0/stat":                              "1 2 3 4 5 6 2048 8 9 10 11\n",
		"sys/block/mmcblk0/device/life_time":                  "0x01 0x0a\n",
		"sys/block/mmcblk0/device/name":                       "SC32G\n",
	}
	health := func(change map[string]string) Health {
		all := maps.Clone(files)
		maps.Copy(all, change)
		b, err := Open(Options{Root: fakeRoot(t, all), Log: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		return b.Health(t.TempDir())
	}
	h := health(nil)
	got := map[string]string{}
	for _, f := range h.Figures() {
		got[f.Name] = strings.TrimSpace(f.Value + " " + f.Unit)
	}
	for name, want := range map[string]string{"model": "Raspberry Pi 4 Model B Rev 1.4", "serial": "10000000abcdef01", "temperature": "52.2 °C",
		"under_voltage": "on", "under_voltage_seen": "on", "throttled": "on", "frequency_capped": "off", "memory_available": "614400000 B",
		"uptime": "3600 s", "load": "0.42", "card_written": "1048576 B", "card_life_used": "100 %"} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if h.Temperatures["cpu-thermal"] != 52.16 || h.Temperatures["cpu-thermal-1"] != 40 {
		t.Errorf("temperatures are %v", h.Temperatures)
	}
	if s := h.Trouble(); !strings.Contains(s, "voltage") || !strings.Contains(s, "throttled") || !strings.Contains(s, "card") {
		t.Errorf("trouble is %q", s)
	}
	well := health(map[string]string{"sys/devices/platform/soc/soc:firmware/get_throttled": "50000", "sys/block/mmcblk0/device/life_time": "0x01 0x01"})
	if s := well.Trouble(); s != "" {
		t.Errorf("a board that was throttled an hour ago is in trouble now: %q", s)
	}
	// A board of another maker says less.
	for _, f := range health(map[string]string{"sys/devices/platform/soc/soc:firmware/get_throttled": "?", "sys/block/mmcblk0/stat": "?"}).Figures() {
		if strings.HasPrefix(f.Name, "under") || strings.HasPrefix(f.Name, "card") {
			t.Errorf("it cannot know %s: %s", f.Name, f.Value)
		}
	}
}

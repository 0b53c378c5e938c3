package board

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatewayd/sensors"
)

var _ sensors.Buses = (*Board)(nil) // the board meets what the sensors ask for

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// fakeRoot makes the files of a machine.
func fakeRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestDetect(t *testing.T) {
	for _, tc := range []struct {
		name   string
		files  map[string]string
		usable bool
		pi     int
		why    string // or note
	}{
		{"Pi 4", map[string]string{"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\x00", "proc/device-tree/serial-number": "10000000abcdef01\x00",
			"dev/i2c-1": "", "sys/class/i2c-dev/i2c-1/name": "bcm2835 (i2c@7e804000)"}, true, 4, ""},
		{"Pi Zero 2 W without I2C", map[string]string{"proc/device-tree/model": "Raspberry Pi Zero 2 W Rev 1.0\x00"}, true, 3, "dtparam=i2c_arm=on"},
		{"Pi 5 without a driver", map[string]string{"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\x00"}, true, 5, "no I2C and no SPI bus: on a Pi 5 they hang on the RP1"},
		{"the first Pi", map[string]string{"proc/device-tree/model": "Raspberry Pi Model B Rev 2\x00"}, true, 1, ""},
		{"another board", map[string]string{"proc/device-tree/model": "Freescale i.MX6 Quad SABRE Smart Device Board\x00", "dev/i2c-0": ""}, true, 0, ""},
		{"emulated, no bus", map[string]string{"proc/device-tree/model": "linux,dummy-virt\x00"}, false, 0, "no I2C, SPI or 1-wire"},
		{"a PC with its own buses", map[string]string{"sys/class/dmi/id/product_name": "Laptop 13", "dev/i2c-0": "",
			"sys/class/i2c-dev/i2c-0/name": "SMBus I801 adapter at efa0"}, false, 0, "no I2C bus together with GPIO"},
		{"a server", map[string]string{}, false, 0, "no I2C bus and no GPIO"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := Detect(fakeRoot(t, tc.files))
			if d.Usable != tc.usable || d.Pi != tc.pi {
				t.Errorf("usable %v, Pi %d; want %v, %d (%s)", d.Usable, d.Pi, tc.usable, tc.pi, d.Why)
			}
			if all := d.Why + strings.Join(d.Notes, " "); !strings.Contains(all, tc.why) {
				t.Errorf("it says %q, want something with %q", all, tc.why)
			}
		})
	}
}

func TestAutoSimulatesAndSaysSo(t *testing.T) {
	b, err := Open(Options{Root: fakeRoot(t, nil), Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if i := b.Info(); !i.Simulated || i.Reason == "" || !slices.Contains(i.Buses, "i2c-1") || b.Sim() == nil {
		t.Errorf("info is %+v", i)
	}
	for _, name := range []string{"i2c-1", "1", "I2C1", "/dev/i2c-1"} {
		if _, err := b.I2C(name); err != nil {
			t.Errorf("I2C(%q): %v", name, err)
		}
	}
}

func TestModes(t *testing.T) {
	root := fakeRoot(t, nil)
	if _, err := Open(Options{Mode: ModeHardware, Root: root, Log: quiet()}); err == nil {
		t.Error("hardware where there is none must be an error")
	}
	if _, err := Open(Options{Mode: "both", Root: root, Log: quiet()}); err == nil {
		t.Error("an unknown mode must be an error")
	}
	b, err := Open(Options{Mode: ModeNone, Root: root, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.I2C("i2c-1"); err == nil {
		t.Error("no board has no bus")
	}
}

func TestMissingBusNamesTheRemedy(t *testing.T) {
	b, err := Open(Options{Log: quiet(), Root: fakeRoot(t, map[string]string{
		"proc/device-tree/model": "Raspberry Pi 3 Model B Rev 1.2\x00", "dev/i2c-0": ""})})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{second(b.I2C("i2c-1")), "only i2c-0; on a Raspberry Pi set dtparam=i2c_arm=on"},
		{second(b.OneWire("w1-1")), "dtoverlay=w1-gpio"},
		{second(b.SPI("spi0.0")), "dtparam=spi=on"},
		{second(b.I2C("spi0")), "not an I2C bus"},
		{second(b.Serial("ttyAMA9", 9600)), "no serial port"},
	} {
		if tc.err == nil || !strings.Contains(tc.err.Error(), tc.want) {
			t.Errorf("error %v, want one with %q", tc.err, tc.want)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestLineNames(t *testing.T) {
	for in, want := range map[string]string{"17": "GPIO17", "gpio17": "GPIO17", "BCM17": "GPIO17", "pin 11": "GPIO17", "P1_11": "GPIO17",
		"gpiochip0:17": "gpiochip0:17", "2712_WAKE": "2712_WAKE", "pin 40": "GPIO21"} {
		if got, err := lineName(in); err != nil || got != want {
			t.Errorf("lineName(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	if _, err := lineName("pin 1"); err == nil {
		t.Error("pin 1 is power, not a GPIO")
	}
}

func TestHealth(t *testing.T) {
	root := fakeRoot(t, map[string]string{
		"proc/device-tree/model":               "Raspberry Pi 4 Model B Rev 1.4\x00",
		"proc/uptime":                          "3600.50 7000.00",
		"proc/meminfo":                         "MemTotal:        948304 kB\nMemFree:  1 kB\nMemAvailable:    600000 kB\n",
		"proc/loadavg":                         "0.42 0.30 0.20 1/100 1",
		"sys/class/thermal/thermal_zone0/temp": "52160\n",
		"sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
		"sys/block/mmcblk0/stat":                              "1 2 3 4 5 6 2048 8 9 10 11\n",
		"sys/block/mmcblk0/device/life_time":                  "0x01 0x02\n",
	})
	b, err := Open(Options{Root: root, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	h := b.Health(root)
	if h.Temperature != 52.16 || !h.HasPower || !h.Power.UnderVoltage || !h.Power.Throttled || !h.Power.UnderVoltageSeen || h.Power.FrequencyCapped ||
		h.MemoryAvailable != 600000<<10 || h.UptimeSeconds != 3600 || h.Load != 0.42 || h.Card.Written != 1<<20 || h.DiskTotal == 0 {
		t.Errorf("health is %+v", h)
	}
}

func TestLED(t *testing.T) {
	root := fakeRoot(t, map[string]string{"proc/device-tree/model": "Raspberry Pi 4 Model B\x00", "sys/class/leds/ACT/trigger": "none", "sys/class/leds/ACT/brightness": "0"})
	b, err := Open(Options{Root: root, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := b.LED("")
	if err != nil {
		t.Fatal(err)
	}
	for state, want := range map[LEDState]string{LEDStarting: "timer", LEDHealthy: "heartbeat", LEDOff: "none"} {
		if err := l.Show(state); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(filepath.Join(root, "sys/class/leds/ACT/trigger")); string(got) != want {
			t.Errorf("%s: trigger %q, want %q", state, got, want)
		}
	}
	if _, err := b.LED("PWR"); err == nil {
		t.Error("an LED that is not there")
	}
}

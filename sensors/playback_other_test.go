package sensors

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/conntest"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/onewire"
	"periph.io/x/conn/v3/onewire/onewiretest"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
	"periph.io/x/conn/v3/spi/spitest"

	"gatewayd/board/sim"
)

// desk is a board that plays back on one kind of wires.
type desk struct {
	played
	spi     spi.Port
	onewire onewire.Bus
	serial  func() io.ReadWriteCloser
	sys     fs.FS
	pins    map[string]gpio.PinIO
	echo    time.Duration // of a pulse on any output
}

func (d desk) SPI(string) (spi.Port, error)        { return d.spi, nil }
func (d desk) OneWire(string) (onewire.Bus, error) { return d.onewire, nil }
func (d desk) Serial(string, int) (io.ReadWriteCloser, error) {
	return d.serial(), nil
}
func (d desk) Figures() map[string]float64 {
	return map[string]float64{"under_voltage": 1, "throttled": 0, "load": 3}
}
func (d desk) Sys() fs.FS                          { return d.sys }
func (d desk) Pin(name string) (gpio.PinIO, error) { return d.pins[name], nil }
func (d desk) Output(string, bool) (func(bool) error, func() error, error) {
	return func(bool) error { return nil }, func() error { return nil }, nil
}

func (d desk) WatchInput(ctx context.Context, _ string, _ gpio.Pull, _ time.Duration, edge func(bool, time.Time, uint64)) error {
	edge(false, time.Now(), 0)
	time.Sleep(time.Millisecond)
	at := time.Now()
	edge(true, at, 1)
	edge(false, at.Add(d.echo), 2)
	<-ctx.Done()
	return nil
}

// frames is a serial part: it sends greeting again and again, or answers each
// request with answer.
type frames struct{ request, answer string }

func (f frames) open() io.ReadWriteCloser { return &framePort{frames: f} }

type framePort struct {
	frames
	waiting []byte
}

func (p *framePort) Write(b []byte) (int, error) {
	if p.request != "" && string(b) == string(unhex(p.request)) {
		p.waiting = unhex(p.answer)
	}
	return len(b), nil
}

func (p *framePort) Read(b []byte) (int, error) {
	time.Sleep(100 * time.Millisecond)
	if p.request == "" && len(p.waiting) == 0 {
		p.waiting = unhex(p.answer)
		return 0, nil
	}
	n := copy(b, p.waiting)
	p.waiting = p.waiting[n:]
	return n, nil
}
func (*framePort) Close() error { return nil }

// clocked is the data line of an HX711 that has one value: each rising clock
// brings out the next bit, the highest first; low means ready.
type clocked struct {
	gpio.PinIO
	value uint32
	at    *int
}

func (c *clocked) In(gpio.Pull, gpio.Edge) error  { return nil }
func (c *clocked) WaitForEdge(time.Duration) bool { return true }
func (c *clocked) Halt() error                    { return nil }
func (c *clocked) Read() gpio.Level {
	n := *c.at
	if n == 0 || n > 24 {
		return gpio.Low
	}
	return c.value>>(24-n)&1 == 1
}

type clock struct {
	gpio.PinIO
	at   *int
	last gpio.Level
}

func (c *clock) Out(l gpio.Level) error {
	if l && !c.last {
		if *c.at++; *c.at > 25 {
			*c.at = 1
		}
	}
	if !l && *c.at >= 25 { // the 25th pulse chooses gain 128
		*c.at = 0
	}
	c.last = l
	return nil
}
func (*clock) Halt() error    { return nil }
func (*clock) Name() string   { return "clock" }
func (*clocked) Name() string { return "data" }

func files(pairs ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1] + "\n")}
	}
	return m
}

func spiPort(w, r string) spi.Port {
	return &spitest.Playback{Playback: conntest.Playback{DontPanic: true, Ops: []conntest.IO{{W: unhex(w), R: unhex(r)}}}}
}

const thermometer = onewire.Address(0x740000070e41ac28)

var otherExamples = []struct {
	name, driver string
	board        func() desk
	options      map[string]any
	want         string
}{
	{"MCP3008, datasheet figure 6-1: half of the reference", "mcp3008", func() desk { return desk{spi: spiPort("01 80 00", "00 02 00")} },
		map[string]any{"channels": []any{0}}, "voltage_0 1.6"},
	{"MCP3208, datasheet figure 6-1: half of 5 V", "mcp3208", func() desk { return desk{spi: spiPort("06 40 00", "00 08 00")} },
		map[string]any{"channels": []any{1}, "reference": 5.0}, "voltage_1 2.5"},
	{"MH-Z19B, manual, command 0x86: 608 ppm", "mhz19", func() desk {
		return desk{serial: frames{"ff 01 86 00 00 00 00 00 79", "ff 86 02 60 47 00 00 00 d1"}.open}
	}, nil, "co2 608? temperature 31.0"},
	{"PMS5003, manual appendix I", "pms5003", func() desk {
		return desk{serial: frames{"", "42 4d 00 1c 00 05 00 07 00 09 00 05 00 07 00 09 04 b0 01 68 00 3c 00 04 00 01 00 00 97 00 02 ca"}.open}
	}, nil, "pm1 5.0? pm2_5 7.0? pm10 9.0? particles_0_3 1200? particles_0_5 360? particles_1_0 60.0? particles_2_5 4.0?"},
	{"DS18B20, datasheet table 1: 0x0191 is 25.0625 °C", "ds18b20", func() desk { return desk{onewire: ds18b20Playback("91 01")} },
		map[string]any{}, "temperature 25.1"},
	{"DS18B20, datasheet table 1: 0xFF5E is -10.125 °C", "ds18b20", func() desk { return desk{onewire: ds18b20Playback("5e ff")} },
		map[string]any{}, "temperature -10.1"},
	{"HX711, datasheet, serial interface: two's complement, the highest bit first", "hx711", func() desk {
		at := new(int)
		return desk{pins: map[string]gpio.PinIO{"c": &clock{at: at}, "d": &clocked{value: 0xFE1DC0, at: at}}}
	}, map[string]any{"clock": "c", "data": "d", "scale": 2, "zero": 0}, "raw -123456, weight -61728"},
	{"HC-SR04, user guide: the echo's time at the speed of sound, there and back", "hcsr04", func() desk { return desk{echo: 10 * time.Millisecond} },
		map[string]any{"trigger": "t", "echo": "e"}, "distance 1.7"},
	{"DHT22 as the kernel's dht11 shows it", "dht22", func() desk {
		return desk{sys: files("bus/iio/devices/iio:device0/name", "dht11@4", "bus/iio/devices/iio:device0/in_temp_input", "-10100",
			"bus/iio/devices/iio:device0/in_humidityrelative_input", "65200")}
	}, nil, "temperature -10.1, humidity 65.2"},
	{"iio: (raw + offset) · scale is in milli (sysfs-bus-iio)", "iio", func() desk {
		return desk{sys: files("bus/iio/devices/iio:device0/name", "ads1015", "bus/iio/devices/iio:device0/in_voltage0_raw", "1000", "bus/iio/devices/iio:device0/in_voltage_scale", "2",
			"bus/iio/devices/iio:device0/in_temp_raw", "210", "bus/iio/devices/iio:device0/in_temp_offset", "40", "bus/iio/devices/iio:device0/in_temp_scale", "100")}
	}, nil, "temperature 25.0, voltage_0 2.0"},
	{"hwmon: millidegrees, millivolts, microwatts (sysfs-interface)", "hwmon", func() desk {
		return desk{sys: files("class/hwmon/hwmon0/name", "ina2xx", "class/hwmon/hwmon0/temp1_input", "41500", "class/hwmon/hwmon0/in1_input", "11980",
			"class/hwmon/hwmon0/power1_input", "119800000")}
	}, nil, "temperature 41.5, power 119.8, voltage_1 12.0"},
	{"thermal zone of a Raspberry Pi 4", "soc", func() desk {
		return desk{sys: files("class/thermal/thermal_zone0/type", "cpu-thermal", "class/thermal/thermal_zone0/temp", "48312")}
	}, nil, "temperature 48.3"},
	{"the board's own figures", "board", func() desk { return desk{} }, map[string]any{"quantities": []any{"under_voltage", "throttled"}}, "under_voltage 1.0, throttled 0.0"},
	{"AS7262, datasheet, virtual registers: calibrated values are IEEE 754 behind the mailbox", "as7262", func() desk { return desk{played: played{&mailbox{t: 25}}} }, nil,
		"light_450 1.0, light_500 1.0, light_550 1.0, light_570 1.0, light_600 1.0, light_650 1.0, temperature 25.0"},
}

// ds18b20Playback answers as one thermometer at 12 bits does.
func ds18b20Playback(raw string) onewire.Bus {
	pad := append(unhex(raw), unhex("4b 46 7f ff 0c 10")...)
	pad = append(pad, onewire.CalcCRC(pad))
	rom := unhex("28 ac 41 0e 07 00 00 74")
	match := append([]byte{0x55}, rom...)
	op := func(cmd ...byte) []byte { return append(append([]byte{}, match...), cmd...) }
	return &scratch{Playback: onewiretest.Playback{Devices: []onewire.Address{thermometer}}, pad: pad, match: op()}
}

// scratch answers reads of the scratchpad, in whatever order they come.
type scratch struct {
	onewiretest.Playback
	pad, match []byte
}

func (s *scratch) Search(bool) ([]onewire.Address, error) { return []onewire.Address{thermometer}, nil }

func (s *scratch) Tx(w, r []byte, _ onewire.Pullup) error {
	if strings.HasPrefix(string(w), string(s.match)) && w[len(w)-1] == 0xBE {
		copy(r, s.pad)
	}
	return nil
}

// mailbox is an AS7262 behind its registers for status, write and read: an
// address with the high bit set is written to next, one without is read next.
type mailbox struct {
	t   byte // °C
	reg [0x40]byte
	at  byte
	out bool // an answer waits
}

func (*mailbox) String() string                  { return "mailbox" }
func (*mailbox) SetSpeed(physic.Frequency) error { return nil }

func (m *mailbox) Tx(_ uint16, w, r []byte) error {
	switch {
	case w[0] == 0x00:
		if m.out {
			r[0] = 1
		}
	case w[0] == 0x02:
		r[0], m.out = m.value(), false
	case m.at&0x80 != 0:
		m.reg[m.at&0x3F], m.at = w[1], 0
	default:
		m.at = w[1]
		m.out = m.at&0x80 == 0
	}
	return nil
}

func (m *mailbox) value() byte {
	switch {
	case m.at == 0x04:
		return m.reg[m.at] | 2 // data is ready
	case m.at == 0x06:
		return m.t
	case m.at >= 0x14 && m.at < 0x2C: // six times 1.0
		return []byte{0x3F, 0x80, 0, 0}[(m.at-0x14)%4]
	}
	return m.reg[m.at&0x3F]
}

func TestOtherExamples(t *testing.T) {
	for _, tc := range otherExamples {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, dev, err := readAndKeep(tc.board(), tc.driver, tc.options)
				if dev != nil {
					defer dev.Close()
				}
				if err != nil {
					t.Fatal(err)
				}
				if !sameReadings(got, tc.want) {
					t.Errorf("read %s, want %s", got, tc.want)
				}
			})
		})
	}
}

// Every driver has a simulated part, an example from its datasheet, and a row
// in the guide.
func TestDriversAreComplete(t *testing.T) {
	guide, err := os.ReadFile("../docs/SENSORS.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("playback_test.go")
	if err != nil {
		t.Fatal(err)
	}
	played := map[string]bool{}
	for _, tc := range moreExamples {
		played[tc.driver] = true
	}
	for _, tc := range otherExamples {
		played[tc.driver] = true
	}
	for _, m := range regexp.MustCompile(`\n\t\t\{"[^"]*", "([a-z0-9]+)", 0x`).FindAllSubmatch(source, -1) {
		played[string(m[1])] = true
	}
	kinds := map[string]bool{"soc": true, "board": true} // part of every simulated board
	for _, k := range sim.Kinds() {
		kinds[k.Name] = true
	}
	for _, d := range Drivers() {
		if !kinds[d.Name] {
			t.Errorf("driver %s has no simulated part", d.Name)
		}
		if !played[d.Name] {
			t.Errorf("driver %s has no example played back", d.Name)
		}
		if !regexp.MustCompile("\n\\| `" + d.Name + "` \\|").Match(guide) {
			t.Errorf("driver %s has no row in docs/SENSORS.md", d.Name)
		}
	}
	for e := range expanderKinds {
		if !kinds[e] && e != "tca9535" && e != "pca9555" { // other makers' names of the XL9535
			t.Errorf("expander %s has no simulated part", e)
		}
	}
	if !kinds["pca9548"] {
		t.Error(fmt.Errorf("the multiplexer has no simulated part"))
	}
}

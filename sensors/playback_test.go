package sensors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/onewire"
	"periph.io/x/conn/v3/spi"
)

// played is a board whose one I2C bus plays bytes back and fails on any other.
type played struct{ bus i2c.Bus }

var errNotHere = errors.New("not on this board")

func (p played) I2C(string) (i2c.Bus, error)                  { return p.bus, nil }
func (played) OneWire(string) (onewire.Bus, error)            { return nil, errNotHere }
func (played) SPI(string) (spi.Port, error)                   { return nil, errNotHere }
func (played) Serial(string, int) (io.ReadWriteCloser, error) { return nil, errNotHere }
func (played) Pin(string) (gpio.PinIO, error)                 { return nil, errNotHere }
func (played) Sys() fs.FS                                     { return nil }
func (played) Output(string, bool) (func(bool) error, func() error, error) {
	return nil, nil, errNotHere
}
func (played) WatchInput(context.Context, string, gpio.Pull, time.Duration, func(bool, time.Time, uint64)) error {
	return errNotHere
}

// io makes one transaction out of hexadecimal text, "wrote > read".
func tx(addr uint16, text string) i2ctest.IO {
	w, r, _ := strings.Cut(text, ">")
	return i2ctest.IO{Addr: addr, W: unhex(w), R: unhex(r)}
}

func unhex(s string) []byte {
	var b []byte
	for _, f := range strings.Fields(s) {
		var v byte
		if _, err := fmt.Sscanf(f, "%02x", &v); err != nil {
			panic(err)
		}
		b = append(b, v)
	}
	return b
}

// i2cExample is what a driver writes and a part answers, and the readings of it.
type i2cExample struct {
	name, driver string
	addr         uint16
	options      map[string]any
	ops          []string
	want         string
}

// The bytes and values are examples of the parts' datasheets, where these have
// some; otherwise they follow the datasheet's formula.
func TestDatasheetExamples(t *testing.T) {
	const bmeCal = "70 6b 43 67 18 fc 7d 8e 43 d6 d0 0b 27 0b 8c 00 f9 ff 8c 3c f8 c6 70 17 00 4b"
	for _, tc := range append([]i2cExample{
		{"SCD4x, read_measurement: 500 ppm, 25 °C, 37 %", "scd4x", 0x62, nil, []string{
			"3f 86", "36 82", "> f8 96 31 9f 07 c2 3b be 89", "24 27 00 00 81", "21 b1", "e4 b8", "> 80 06 04", "ec 05", "> 01 f4 33 66 67 a2 5e b9 3c"},
			"co2 500, temperature 25.0, humidity 37.0"},
		{"SGP30 after init: 400 ppm, 0 ppb", "sgp30", 0x58, nil, []string{"36 82", "> 00 00 81 00 64 fe fe 7c 71", "20 03", "20 08", "> 01 90 4c 00 00 81"},
			"eco2 400? tvoc 0?"},
		{"SHT3x", "sht3x", 0x44, nil, []string{"f3 2d", "> 80 10 e1", "24 00", "> 66 67 a2 5e b9 3c"}, "temperature 25.0, humidity 37.0"},
		{"SHT4x: 37 % of 65535 is 40.2 % less 6 and more", "sht4x", 0x44, nil, []string{"89", "> 0f ba 7c 66 67 a2", "fd", "> 66 67 a2 5e b9 3c"},
			"temperature 25.0, humidity 40.3"},
		{"AM2320: 50.0 %, 25.0 °C", "am2320", 0x5C, nil, []string{"00", "03 00 04", "> 03 04 01 f4 00 fa 31 a5"}, "temperature 25.0, humidity 50.0"},
		{"AM2320 below zero: -10.1 °C", "am2320", 0x5C, nil, []string{"00", "03 00 04", "> 03 04 01 f4 80 65 10 0d"}, "temperature -10.1, humidity 50.0"},
		{"BH1750: 0x8390 is 28067 lx, and half of that in the finer mode", "bh1750", 0x23, nil, []string{"01", "01", "21", "> 83 90"}, "illuminance 14033.3"},
		{"LM75: -25 °C", "lm75", 0x48, nil, []string{"01 00", "00 > e7 00"}, "temperature -25.0"},
		{"LM75: 0.5 °C at 9 bits", "lm75", 0x48, map[string]any{"bits": 9}, []string{"01 00", "00 > 00 ff"}, "temperature 0.5"},
		{"LM75: -55 °C", "lm75", 0x48, nil, []string{"01 00", "00 > c9 00"}, "temperature -55.0"},
		{"TMP102: -25 °C", "tmp102", 0x48, nil, []string{"01 > 60 a0", "01 > 60 a0", "01 60 a0", "00 > e7 00"}, "temperature -25.0"},
		{"MCP9808: 25.25 °C", "mcp9808", 0x18, nil, []string{"06 > 00 54", "08 03", "01 00 00", "02 01 00", "05 > c1 94", "02 > 01 00"}, "temperature 25.2"},
		{"ADS1115: half of 2.048 V", "ads1115", 0x48, map[string]any{"range": 2.048, "channels": []any{1}}, []string{
			"01 > 85 83", "01 d5 83", "01 > 55 83", "01 > d5 83", "00 > 40 00", "01 > d5 83"}, "voltage_1 1.0"},
		{"ADXL345: 1 g up", "adxl345", 0x53, nil, []string{"00 > e5", "31 0b", "2d 08", "32 > 00 00 00 ff 00 01", "2d > 08"},
			"acceleration_x 0.0, acceleration_y -9.8, acceleration_z 9.8"},
		{"BME280: 25.08 °C, 1006.53 hPa", "bme280", 0x76, nil, []string{"d0 > 60", "d0 > 60", "88 > " + bmeCal, "e1 > 72 01 00 13 29 03 1e",
			"f4 4c f2 02 f5 a0 f4 4c", "f4 4d", "f3 > 00", "f7 > 65 5a c0 7e ed 00 68 00", "f2 > 02 00 4c"}, "temperature 25.1, humidity 37.0, pressure 1006.5"},
	}, moreExamples...) {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bus := &i2ctest.Playback{DontPanic: true}
				for _, op := range tc.ops {
					bus.Ops = append(bus.Ops, tx(tc.addr, op))
				}
				got, err := readOnce(played{bus}, tc.driver, tc.options)
				if err != nil {
					t.Fatal(err)
				}
				if !sameReadings(got, tc.want) {
					t.Errorf("read %s, want %s", got, tc.want)
				}
				if bus.Count != len(bus.Ops) {
					t.Errorf("%d of %d transactions were made", bus.Count, len(bus.Ops))
				}
			})
		})
	}
}

// sameReadings compares without regard to order.
func sameReadings(got, want string) bool {
	for _, w := range strings.Split(strings.ReplaceAll(want, "? ", "?, "), ", ") {
		if !strings.Contains(got, w) {
			return false
		}
	}
	return strings.Count(got, ", ") == strings.Count(strings.ReplaceAll(want, "? ", "?, "), ", ")
}

// readOnce opens a driver, waits as it asks, and reads.
func readOnce(b Buses, driver string, options map[string]any) (string, error) {
	text, _, err := readAndKeep(b, driver, options)
	return text, err
}

// readAndKeep leaves the probe open.
func readAndKeep(b Buses, driver string, options map[string]any) (string, Probe, error) {
	d, _ := FindDriver(driver)
	dev, err := d.OpenProbe(b, Params{Bus: "i2c-1", Options: options})
	if err != nil {
		return "", nil, err
	}
	if s, ok := dev.(Starter); ok {
		wait, err := s.Start(context.Background())
		if err != nil {
			return "", dev, err
		}
		time.Sleep(wait)
	}
	var out []string
	err = dev.Read(context.Background(), func(r Reading) {
		mark := map[Quality]string{Uncertain: "?", Bad: "!"}[r.Quality]
		prec := 1
		if math.Abs(r.Value) >= 100 && r.Value == math.Trunc(r.Value) || r.Unit == "ppm" || r.Unit == "ppb" {
			prec = 0
		}
		out = append(out, fmt.Sprintf("%s %.*f%s", r.Quantity, prec, r.Value, mark))
	})
	return strings.Join(out, ", "), dev, err
}

// Another part at the address is told from the right one.
func TestWrongPartIsRefused(t *testing.T) {
	for driver, op := range map[string]string{"bme280": "d0 > 58", "bmp280": "d0 > 60", "bme680": "d0 > 60", "adxl345": "00 > 00", "mcp9808": "06 > ff ff", "ccs811": "20 > 00", "ens160": "00 > 00 00"} {
		d, _ := FindDriver(driver)
		bus := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{tx(d.Addresses[0], op)}}
		if _, err := readOnce(played{bus}, driver, nil); err == nil || !strings.Contains(err.Error(), "not a ") {
			t.Errorf("%s: %v", driver, err)
		}
	}
}

// A stuck part never makes a driver hang: the library polls it without end,
// and the turn's limit ends that.
func TestAStuckPartEndsWithItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guardedBuses{Buses: played{&stuckBME280{}}}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		g.use(ctx)
		_, err := readOnce(g, "bme280", nil)
		if err == nil || !strings.Contains(err.Error(), "deadline") {
			t.Errorf("error %v", err)
		}
	})
}

// stuckBME280 measures for ever.
type stuckBME280 struct{ i2ctest.Playback }

func (*stuckBME280) Tx(_ uint16, w, r []byte) error {
	time.Sleep(time.Millisecond)
	for i := range r {
		r[i] = 0x08
		if w[0] == 0xD0 {
			r[i] = 0x60
		}
	}
	return nil
}

package sim

import (
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"
)

// read takes one BME280 measurement as raw bytes.
func read(t *testing.T, b *Board) []byte {
	t.Helper()
	bus, err := b.I2C("i2c-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := bus.Tx(0x76, []byte{0xF2, 1, 0xF4, 0x25}, nil); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	r := make([]byte, 8)
	if err := bus.Tx(0x76, []byte{0xF7}, r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSameSeedSameBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := func(seed uint64) []byte {
			b, err := New(Options{Seed: seed})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			var all []byte
			for range 50 {
				all = append(all, read(t, b)...)
			}
			return all
		}
		if !bytes.Equal(run(7), run(7)) {
			t.Error("the same seed gave other bytes")
		}
		if bytes.Equal(run(7), run(8)) {
			t.Error("another seed gave the same bytes")
		}
	})
}

// The datasheet's example (4.2.3): these raw values are 25.08 °C and
// 100653.27 Pa with these trimming values.
func TestBME280DatasheetExample(t *testing.T) {
	c := bmeExample
	temp, fine := c.temperature(519888)
	if temp != 2508 || fine != 128422 {
		t.Errorf("temperature %d, fine %d; the datasheet has 2508, 128422", temp, fine)
	}
	if p := float64(c.pressure(415148, fine)) / 256; math.Abs(p-100653.27) > 0.5 {
		t.Errorf("pressure %.2f; the datasheet has 100653.27", p)
	}
}

func TestBME280Protocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		bus, _ := b.I2C("i2c-1")
		get := func(reg byte) byte {
			var r [1]byte
			if err := bus.Tx(0x76, []byte{reg}, r[:]); err != nil {
				t.Fatal(err)
			}
			return r[0]
		}
		if id := get(0xD0); id != 0x60 {
			t.Errorf("id %#x", id)
		}
		if v := get(0xF7); v != 0x80 {
			t.Errorf("before any measurement the data is %#x, want 0x80", v)
		}
		_ = bus.Tx(0x76, []byte{0xF2, 1, 0xF4, 0x25}, nil)
		if get(0xF3)&8 == 0 || get(0xF4)&3 != 1 {
			t.Error("not measuring after forced mode was set")
		}
		time.Sleep(15 * time.Millisecond)
		if get(0xF3)&8 != 0 || get(0xF4)&3 != 0 {
			t.Error("not asleep after the measurement")
		}
		_ = bus.Tx(0x76, []byte{0xE0, 0xB6}, nil)
		if get(0xF7) != 0x80 || get(0xF2) != 0 {
			t.Error("the reset left something")
		}
		if bus.Tx(0x77, []byte{0xD0}, make([]byte, 1)) == nil {
			t.Error("nobody is at 0x77")
		}
	})
}

func TestFaultWindows(t *testing.T) {
	f := Fault{Kind: FaultNACK, After: 10 * time.Second, For: 2 * time.Second, Every: 5 * time.Second}
	for s, want := range map[float64]bool{9: false, 10: true, 11.9: true, 12.1: false, 14: false, 15.5: true, 20: true} {
		if got := f.activeAt(time.Duration(s * float64(time.Second))); got != want {
			t.Errorf("at %v s: %v", s, got)
		}
	}
	if (Fault{Kind: "smoke"}).check() == nil {
		t.Error("an unknown fault passes")
	}
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		with := func(f Fault) (*Board, func() ([]byte, error)) {
			b, err := New(Options{Parts: []Part{{Kind: "bme280", Faults: []Fault{f}}}})
			if err != nil {
				t.Fatal(err)
			}
			bus, _ := b.I2C("i2c-1")
			return b, func() ([]byte, error) {
				r := make([]byte, 1)
				err := bus.Tx(0x76, []byte{0xD0}, r)
				return r, err
			}
		}
		_, get := with(Fault{Kind: FaultNACK})
		if _, err := get(); err == nil {
			t.Error("nack: an answer")
		}
		_, get = with(Fault{Kind: FaultCRC})
		if r, err := get(); err != nil || r[0] == 0x60 {
			t.Errorf("crc: %#x, %v: no bit flipped", r, err)
		}
		_, get = with(Fault{Kind: FaultSlow, Amount: 40})
		start := time.Now()
		if _, err := get(); err != nil || time.Since(start) != 40*time.Millisecond {
			t.Errorf("slow: %v after %v", err, time.Since(start))
		}
		b, get := with(Fault{Kind: FaultHang, For: time.Hour})
		start = time.Now()
		if _, err := get(); err == nil || time.Since(start) != hangTime {
			t.Errorf("hang: %v after %v", err, time.Since(start))
		}
		if err := b.Recover("i2c-1"); err != nil {
			t.Fatal(err)
		}
		if _, err := get(); err != nil {
			t.Errorf("hang: still %v after a recovery", err)
		}
		b, _ = with(Fault{Kind: FaultStuck})
		first := read(t, b)
		for range 5 {
			if !bytes.Equal(read(t, b), first) {
				t.Error("stuck: it moved")
			}
		}
		b, get = with(Fault{Kind: FaultUnplug, After: time.Second, For: time.Second})
		read(t, b)
		time.Sleep(1500 * time.Millisecond)
		if _, err := get(); err == nil {
			t.Error("unplug: an answer")
		}
		time.Sleep(time.Second)
		var data [1]byte
		bus, _ := b.I2C("i2c-1")
		if _ = bus.Tx(0x76, []byte{0xF7}, data[:]); data[0] != 0x80 {
			t.Error("unplug: the part remembers its last measurement")
		}
	})
}

func TestScript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := false
		b, err := New(Options{Script: []Action{{At: time.Second, Every: 2 * time.Second, Line: "GPIO3", Toggle: true},
			{At: 3 * time.Second, Part: "bme280", Quantity: "temperature", Value: 42}, {At: 5 * time.Second, Part: "bme280", Plug: &out}}})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		var levels []bool
		for range 4 {
			time.Sleep(1600 * time.Millisecond)
			high, _, _ := b.Line("GPIO3")
			levels = append(levels, high)
		}
		if fmt.Sprint(levels) != "[true false false true]" {
			t.Errorf("levels at 1.6, 3.2, 4.8 and 6.4 s: %v", levels)
		}
		if v, _ := b.Value("bme280", "temperature"); v != 42 {
			t.Errorf("temperature %v", v)
		}
		bus, _ := b.I2C("i2c-1")
		if bus.Tx(0x76, []byte{0xD0}, make([]byte, 1)) == nil {
			t.Error("an unplugged part answers")
		}
	})
}

func TestMistakesInOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"unknown part":  {Parts: []Part{{Kind: "bme999"}}},
		"address taken": {Parts: []Part{{Kind: "bme280"}, {Kind: "bme280"}}},
		"bad address":   {Parts: []Part{{Kind: "bme280", Address: "seventy"}}},
		"unknown fault": {Parts: []Part{{Kind: "bme280", Faults: []Fault{{Kind: "smoke"}}}}},
		"unknown line":  {Script: []Action{{Line: "GPIO99"}}},
		"script's part": {Script: []Action{{Part: "toaster"}}},
	} {
		if b, err := New(o); err == nil {
			b.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSysTree(t *testing.T) {
	b, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if m, err := fs.Glob(b.Sys(), "class/thermal/thermal_zone*"); err != nil || len(m) != 1 {
		t.Errorf("thermal zones: %v, %v", m, err)
	}
	m := newMemFS()
	m.add("a/b/c", func() []byte { return []byte("x") })
	m.add("a/d", func() []byte { return []byte("yy") })
	if err := fstest.TestFS(m, "a/b/c", "a/d"); err != nil {
		t.Error(err)
	}
}

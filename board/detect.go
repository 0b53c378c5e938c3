package board

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Detected is what Detect found.
type Detected struct {
	Info
	Usable  bool   // there is hardware worth using
	Why     string // why not
	Pi      int    // generation of a Raspberry Pi, 0 when it is none
	chips   []chipInfo
	hasTree bool
}

type chipInfo struct {
	path, name, label string
	lines             int
	names             []string
}

// Detect looks at /proc, /sys and /dev under root and opens no bus.
func Detect(root string) Detected {
	d := Detected{Info: Info{Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(bytes.Trim(b, "\x00")))
	}
	d.Model = read("proc/device-tree/model")
	d.hasTree = d.Model != ""
	d.Serial = read("proc/device-tree/serial-number")
	d.Kernel = read("proc/sys/kernel/osrelease")
	d.Memory = memField(read("proc/meminfo"), "MemTotal:")
	if d.Model == "" {
		d.Maker, d.Model = read("sys/class/dmi/id/sys_vendor"), read("sys/class/dmi/id/product_name")
	}
	if d.Serial == "" {
		d.Serial = cpuSerial(read("proc/cpuinfo"))
	}
	if d.Model == "" {
		d.Model = "unknown " + runtime.GOARCH + " machine"
	}
	d.Pi = piGeneration(d.Model)

	i2c := d.findI2C(root, read)
	d.Buses = append(d.Buses, i2c...)
	spi := globBase(root, "dev/spidev*", "spidev", "spi")
	w1 := globBase(root, "sys/bus/w1/devices/w1_bus_master*", "w1_bus_master", "w1-")
	d.Buses = append(append(d.Buses, w1...), spi...)
	slices.Sort(d.Buses)
	d.chips = findChips(root)
	for _, c := range d.chips {
		d.Lines = append(d.Lines, fmt.Sprintf("%s (%s, %d lines)", c.name, c.label, c.lines))
	}
	d.judge(root, len(i2c)+len(spi)+len(w1))
	return d
}

// judge decides whether there is hardware worth using: any Raspberry Pi, any
// other board with a device tree and a bus, and any other machine that has both
// an I2C bus not meant for its own screens and memory and a GPIO chip.
func (d *Detected) judge(root string, buses int) {
	switch {
	case d.Pi > 0:
		d.Usable = true
		d.piNotes()
	case runtime.GOOS != "linux":
		d.Why = "hardware access needs Linux"
	case d.hasTree && buses > 0:
		d.Usable = true
	case d.hasTree:
		d.Why = fmt.Sprintf("%s has no I2C, SPI or 1-wire bus that a program can use", d.Model)
	case buses > 0 && len(d.chips) > 0 && writable(root, d.Buses):
		d.Usable = true
	case len(globBase(root, "dev/i2c-*", "", "")) > 0 || len(globBase(root, "dev/gpiochip*", "", "")) > 0:
		d.Why = fmt.Sprintf("%s has no I2C bus together with GPIO lines that this user may use", d.Model)
	default:
		d.Why = fmt.Sprintf("%s has no I2C bus and no GPIO lines", d.Model)
	}
}

// piNotes says in one sentence each what this Pi cannot do as it is set up.
func (d *Detected) piNotes() {
	if !slices.Contains(d.Buses, "i2c-1") {
		if d.Pi == 5 {
			what := "no I2C bus"
			if !slices.ContainsFunc(d.Buses, func(b string) bool { return strings.HasPrefix(b, "spi0.") }) {
				what = "no I2C and no SPI bus"
			}
			d.Notes = append(d.Notes, "the header has "+what+": on a Pi 5 they hang on the RP1 chip, whose drivers (i2c-designware, spi-dw) "+
				"this kernel may lack, as gokrazy's does; with Raspberry Pi OS set dtparam=i2c_arm=on and dtparam=spi=on in config.txt")
		} else {
			d.Notes = append(d.Notes, "the header has no I2C bus: set dtparam=i2c_arm=on in config.txt and load i2c-dev")
		}
	}
	if len(d.chips) == 0 {
		d.Notes = append(d.Notes, "no GPIO character device can be opened: is this user in the group gpio, and the kernel 5.10 or newer?")
	}
}

// piGeneration is the number of a Raspberry Pi; the first ones and the Zero
// are 1, the Zero 2 is 3 as its processor is.
func piGeneration(model string) int {
	rest, ok := strings.CutPrefix(model, "Raspberry Pi ")
	if !ok {
		return 0
	}
	for prefix, gen := range map[string]int{"Zero 2": 3, "Zero": 1, "Model": 1, "Compute Module 5": 5, "Compute Module 4": 4,
		"Compute Module 3": 3, "Compute Module 0": 3, "Compute Module Rev": 1, "2": 2, "3": 3, "4": 4, "5": 5} {
		if strings.HasPrefix(rest, prefix) && (prefix != "Zero" || !strings.HasPrefix(rest, "Zero 2")) {
			return gen
		}
	}
	return 1
}

// findI2C lists the buses a sensor may hang on. A PC's buses for memory,
// screens and touch pads are not among them.
func (d *Detected) findI2C(root string, read func(string) string) []string {
	var out []string
	for _, n := range globBase(root, "dev/i2c-*", "", "") {
		name := read("sys/class/i2c-dev/" + n + "/name")
		foreign := false
		for _, word := range []string{"SMBus", "i915", "AMDGPU", "NVIDIA", "nouveau", "Radeon", "DPDDC", "AUX", "hdmi", "HDMI", "DDC"} {
			foreign = foreign || strings.Contains(name, word)
		}
		if !d.hasTree && strings.Contains(name, "DesignWare") {
			foreign = true // a PC's touch pad
		}
		if !foreign {
			out = append(out, n)
		}
	}
	return out
}

// globBase lists base names under root, with one prefix replaced.
func globBase(root, pattern, cut, put string) []string {
	found, _ := filepath.Glob(filepath.Join(root, pattern)) // the pattern is well-formed
	var out []string
	for _, f := range found {
		out = append(out, put+strings.TrimPrefix(filepath.Base(f), cut))
	}
	return out
}

// writable tells whether this user may use one of the buses.
func writable(root string, buses []string) bool {
	for _, n := range buses {
		if f, err := os.OpenFile(filepath.Join(root, "dev", n), os.O_RDWR, 0); err == nil {
			_ = f.Close()
			return true
		}
	}
	return false
}

func cpuSerial(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "Serial" {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

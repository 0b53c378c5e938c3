package board

import (
	"encoding/binary"
	"strings"
	"testing"
	"unsafe"
)

// The structures must have the sizes of linux/gpio.h on every architecture.
func TestGPIOLayout(t *testing.T) {
	for name, got := range map[string][2]uintptr{
		"gpiochip_info": {unsafe.Sizeof(gpioChipInfo{}), 68}, "gpio_v2_line_info": {unsafe.Sizeof(gpioLineInfo{}), 256},
		"gpio_v2_line_config": {unsafe.Sizeof(gpioLineConfig{}), 272}, "gpio_v2_line_request": {unsafe.Sizeof(gpioLineRequest{}), 592},
		"gpio_v2_line_values": {unsafe.Sizeof(gpioLineValues{}), 16},
	} {
		if got[0] != got[1] {
			t.Errorf("%s has %d bytes, the kernel's %d", name, got[0], got[1])
		}
	}
	if ioctlGetLine != 0xC250B407 || ioctlChipInfo != 0x8044B401 {
		t.Errorf("ioctl numbers %#x, %#x", ioctlGetLine, ioctlChipInfo)
	}
}

func TestDecodeEvent(t *testing.T) {
	b := make([]byte, gpioEventSize)
	binary.NativeEndian.PutUint64(b, 123456789)
	binary.NativeEndian.PutUint32(b[8:], eventRising)
	binary.NativeEndian.PutUint32(b[12:], 17)
	binary.NativeEndian.PutUint32(b[20:], 5)
	if e := decodeEvent(b); e.TimestampNS != 123456789 || e.ID != eventRising || e.Offset != 17 || e.LineSeqno != 5 {
		t.Errorf("event is %+v", e)
	}
}

func TestSequenceNumbersWiden(t *testing.T) {
	var c counter
	for i, n := range []uint32{1, 2, 1<<32 - 1, 0, 1} {
		want := []uint64{1, 2, 1<<32 - 1, 1 << 32, 1<<32 + 1}[i]
		if got := c.next(n); got != want {
			t.Errorf("step %d: %d, want %d", i, got, want)
		}
	}
}

func TestFindLine(t *testing.T) {
	pi := &hardware{d: Detected{chips: []chipInfo{
		{path: "/dev/gpiochip0", name: "gpiochip0", label: "pinctrl-rp1", lines: 54, names: []string{"ID_SDA", "ID_SCL", "GPIO2"}},
		{path: "/dev/gpiochip10", name: "gpiochip10", label: "gpio-brcmstb@107d508500", lines: 32, names: []string{"2712_WAKE"}},
	}}}
	for _, tc := range []struct {
		name, chip string
		offset     uint32
	}{
		{"GPIO2", "/dev/gpiochip0", 2}, {"GPIO17", "/dev/gpiochip0", 17}, {"2712_WAKE", "/dev/gpiochip10", 0},
		{"gpiochip10:5", "/dev/gpiochip10", 5}, {"pinctrl-rp1:17", "/dev/gpiochip0", 17},
	} {
		chip, offset, err := pi.findLine(tc.name)
		if err != nil || chip != tc.chip || offset != tc.offset {
			t.Errorf("%s is %s line %d, %v", tc.name, chip, offset, err)
		}
	}
	other := &hardware{d: Detected{chips: []chipInfo{{path: "/dev/gpiochip0", name: "gpiochip0", label: "209c000.gpio", lines: 32, names: []string{""}}}}}
	if _, _, err := other.findLine("GPIO17"); err == nil || !strings.Contains(err.Error(), "gpiochip0:0") {
		t.Errorf("an unnamed line: %v, want a hint how to name it", err)
	}
}

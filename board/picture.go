package board

import (
	"bytes"
	"fmt"
	"strings"
)

// Picture is a board that has a picture in docs/boards.
type Picture struct {
	Name   string // as in make image BOARD=…
	Title  string
	width  int // of the board, in mm
	height int
	ports  []port
	Notes  []string // what to set, and what this board cannot do
}

// port is a socket at the board's edge, to see which way round it lies.
type port struct {
	x, y, w, h int // mm, from the upper left corner
	text       string
}

// Pictures are the boards that the card image is made for, seen from above
// with the header at the upper edge.
func Pictures() []Picture {
	const enable = "config.txt: dtparam=i2c_arm=on, dtparam=spi=on, dtoverlay=w1-gpio"
	return []Picture{
		{"rpi3", "Raspberry Pi 3", 85, 56, []port{{-1, 21, 6, 14, "SD"}, {7, 50, 9, 7, "power"}, {24, 48, 16, 9, "HDMI"}, {68, 3, 18, 14, "USB"}, {68, 20, 18, 14, "USB"}, {65, 38, 21, 16, "Ethernet"}},
			[]string{enable, "32-bit and 64-bit. serial0 is ttyS0 unless dtoverlay=disable-bt is set."}},
		{"rpi4", "Raspberry Pi 4", 85, 56, []port{{-1, 21, 6, 14, "SD"}, {7, 50, 9, 7, "power"}, {22, 51, 8, 6, "HDMI"}, {35, 51, 8, 6, "HDMI"}, {65, 2, 21, 16, "Ethernet"}, {68, 21, 18, 14, "USB"}, {68, 39, 18, 14, "USB"}},
			[]string{enable, "dtoverlay=uart3 and others bring more serial ports, dtoverlay=i2c3 more I2C."}},
		{"rpi5", "Raspberry Pi 5", 85, 56, []port{{-1, 21, 6, 14, "SD"}, {7, 50, 9, 7, "power"}, {22, 51, 8, 6, "HDMI"}, {35, 51, 8, 6, "HDMI"}, {68, 3, 18, 14, "USB"}, {68, 20, 18, 14, "USB"}, {65, 38, 21, 16, "Ethernet"}},
			[]string{"config.txt: dtparam=i2c_arm=on, dtparam=spi=on, dtoverlay=w1-gpio-pi5",
				"The header's I2C and SPI hang on the RP1 chip: the card image's kernel has no driver for them,",
				"Raspberry Pi OS has. GPIO and 1-wire work with both."}},
		{"zero2w", "Raspberry Pi Zero 2 W", 65, 30, []port{{-1, 9, 6, 14, "SD"}, {9, 25, 11, 6, "HDMI"}, {38, 26, 8, 5, "USB"}, {51, 26, 8, 5, "power"}},
			[]string{enable, "The header may have to be soldered on. No Ethernet."}},
	}
}

// headerUse is what a pin is besides its GPIO number; empty: nothing.
var headerUse = [41]string{1: "3.3 V", 2: "5 V", 3: "SDA · i2c-1", 4: "5 V", 5: "SCL · i2c-1", 6: "ground", 7: "1-wire · w1-1", 8: "TXD · serial0", 9: "ground",
	10: "RXD · serial0", 14: "ground", 17: "3.3 V", 19: "MOSI · spi0", 20: "ground", 21: "MISO · spi0", 23: "SCLK · spi0", 24: "CE0 · spi0.0", 25: "ground",
	26: "CE1 · spi0.1", 27: "EEPROM", 28: "EEPROM", 30: "ground", 34: "ground", 39: "ground"}

// label is all that a pin is.
func label(pin int) string {
	var parts []string
	if n := headerLines[pin]; n > 0 {
		parts = append(parts, fmt.Sprint("GPIO", n))
	}
	if u := headerUse[pin]; u != "" {
		parts = append(parts, u)
	}
	return strings.Join(parts, " · ")
}

// pinColour tells power, ground, buses and free lines apart.
func pinColour(pin int) string {
	u := headerUse[pin]
	switch {
	case u == "5 V":
		return "#c62828"
	case u == "3.3 V":
		return "#ef6c00"
	case u == "ground":
		return "#212121"
	case strings.Contains(u, "i2c"):
		return "#1565c0"
	case strings.Contains(u, "spi"):
		return "#6a1b9a"
	case strings.Contains(u, "serial"):
		return "#00838f"
	case strings.Contains(u, "1-wire"):
		return "#ad1457"
	case u == "EEPROM":
		return "#9e9e9e"
	}
	return "#2e7d32"
}

// SVG draws the board with its ports and the header with what each pin is.
func (p Picture) SVG() []byte {
	const scale, left, top = 6, 30, 70
	const pins, row = 21, 26 // y of the first row below the board, height of one
	var b bytes.Buffer
	w, h := 620, top+p.height*scale+60+20*row+40+22*len(p.Notes)
	say := func(format string, args ...any) { fmt.Fprintf(&b, format, args...); b.WriteByte('\n') }
	say(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`, w, h, w, h)
	say(`<title>%s: its ports and the pins of its header</title>`, p.Title)
	say(`<rect width="%d" height="%d" fill="#ffffff"/>`, w, h)
	say(`<text x="%d" y="32" font-size="20" font-weight="bold">%s</text>`, left, p.Title)
	say(`<text x="%d" y="54" fill="#555555">from above; pin 1 is at the left end of the lower row</text>`, left)
	say(`<rect x="%d" y="%d" width="%d" height="%d" rx="14" fill="#2e7d32"/>`, left, top, p.width*scale, p.height*scale)
	for _, o := range p.ports {
		say(`<rect x="%d" y="%d" width="%d" height="%d" fill="#cfd8dc" stroke="#455a64"/>`, left+o.x*scale, top+o.y*scale, o.w*scale, o.h*scale)
		say(`<text x="%d" y="%d" text-anchor="middle" font-size="11">%s</text>`, left+o.x*scale+o.w*scale/2, top+o.y*scale+o.h*scale/2+4, o.text)
	}
	// The header begins 7 mm from the left; its pins are 2.54 mm apart.
	x0, y0 := left+7*scale, top+2*scale
	say(`<rect x="%d" y="%d" width="%d" height="%d" fill="#37474f"/>`, x0, y0, 20*254*scale/100, 2*254*scale/100)
	for pin := 1; pin <= 40; pin++ {
		x, y := x0+((pin-1)/2*254+127)*scale/100, y0+127*scale/100
		if pin%2 == 1 {
			y += 254 * scale / 100
		}
		say(`<circle cx="%d" cy="%d" r="5" fill="%s" stroke="#ffffff"/>`, x, y, pinColour(pin))
	}
	y := top + p.height*scale + 50
	middle := w / 2
	for i := range 20 {
		cy := y + i*row + pins - row/2
		for side, pin := range []int{2*i + 1, 2*i + 2} {
			x, tx, anchor := middle-16, middle-36, "end"
			if side == 1 {
				x, tx, anchor = middle+16, middle+36, "start"
			}
			say(`<circle cx="%d" cy="%d" r="11" fill="%s"/>`, x, cy, pinColour(pin))
			say(`<text x="%d" y="%d" text-anchor="middle" fill="#ffffff" font-size="11">%d</text>`, x, cy+4, pin)
			say(`<text x="%d" y="%d" text-anchor="%s">%s</text>`, tx, cy+5, anchor, label(pin))
		}
	}
	y += 20*row + 30
	for i, n := range p.Notes {
		say(`<text x="%d" y="%d" font-size="11" fill="#333333">%s</text>`, left, y+22*i, strings.NewReplacer("&", "&amp;", "<", "&lt;").Replace(n))
	}
	say(`</svg>`)
	return b.Bytes()
}

// PicturePage is docs/boards/README.md.
func PicturePage() []byte {
	var b bytes.Buffer
	b.WriteString("# The boards and their pins\n\nMade by `go generate ./board` of the tables that the gateway itself uses: a line is named by its GPIO number or as `pin 11`.\n" +
		"Which part goes where is in the table of drivers in [SENSORS.md](../SENSORS.md#drivers).\n")
	for _, p := range Pictures() {
		fmt.Fprintf(&b, "\n## %s\n\n![%s with its ports, and the pins of its header](%s.svg)\n\n", p.Title, p.Title, p.Name)
		fmt.Fprintf(&b, "Card image: `make image BOARD=%s`.\n\n", p.Name)
		for _, n := range p.Notes {
			fmt.Fprintf(&b, "* %s\n", n)
		}
	}
	b.WriteString("\n## The header as text\n\n| pin | is | pin | is |\n|---|---|---|---|\n")
	for i := 1; i < 40; i += 2 {
		fmt.Fprintf(&b, "| %d | %s | %d | %s |\n", i, label(i), i+1, label(i+1))
	}
	return b.Bytes()
}

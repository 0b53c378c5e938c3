package sensors

import (
	"flag"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

//go:generate go test -run TestDriverTableIsCurrent -update .

var update = flag.Bool("update", false, "write generated documents anew")

const (
	tableBegins = "<!-- The table is made of the drivers' own descriptions: go generate ./sensors -->\n"
	tableEnds   = "<!-- end of the table -->\n"
)

// The guide's table of drivers is what the drivers say of themselves.
func TestDriverTableIsCurrent(t *testing.T) {
	const name = "../docs/SENSORS.md"
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(b), tableBegins)
	have, after, ok2 := strings.Cut(rest, tableEnds)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no marks around the table of drivers", name)
	}
	want := "\n" + DriverTable() + "\n"
	if *update {
		if err := os.WriteFile(name, []byte(before+tableBegins+want+tableEnds+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have != want {
		t.Errorf("%s is not what the drivers say: go generate ./sensors", name)
	}
	for _, d := range Drivers() {
		if _, ok := descriptions[d.Name]; !ok {
			t.Errorf("driver %s has no description", d.Name)
		}
	}
	for n := range descriptions {
		if _, ok := FindDriver(n); !ok {
			t.Errorf("a description of %s, which is no driver", n)
		}
	}
}

// The library's packages that sense are covered; the others sense nothing.
func TestEverySensorOfTheLibraryIsCovered(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "-m", "periph.io/x/devices/v3").Output()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	covered := map[string][]string{ // package: drivers, multiplexers, expanders
		"ads1x15": {"ads1115", "ads1015"}, "adxl345": {"adxl345"}, "aht20": {"aht20"}, "am2320": {"am2320"}, "as7262": {"as7262"}, "bh1750": {"bh1750"},
		"bmxx80": {"bme280", "bmp280", "bmp180"}, "cap1xxx": {"cap1188"}, "ccs811": {"ccs811"}, "ds18b20": {"ds18b20"}, "hdc302x": {"hdc302x"},
		"hx711": {"hx711"}, "ina219": {"ina219"}, "mcp9808": {"mcp9808"}, "mpu9250": {"mpu6050"}, "scd4x": {"scd4x"}, "sgp30": {"sgp30"},
		"tlv493d": {"tlv493d"}, "tmp102": {"tmp102"},
		"mcp23xxx": {"mcp23017", "mcp23008"}, "pcf857x": {"pcf8574", "pcf8575"}, "tca95xx": {"tca9535", "xl9535"}, "pca9548": {"pca9548"},
	}
	const shows, moves, card, wires = "a display or lamps", "it moves or dims something", "a reader or receiver: no quantity", "wires, not a sensor"
	apart := map[string]string{
		"aip31068": shows, "apa102": shows, "ep0099": moves, "epd": shows, "hd44780": shows, "ht16k33": shows, "inky": shows, "matrixorbital": shows,
		"max7219": shows, "nrzled": shows, "pca9633": shows, "rainbowhat": shows, "screen1d": shows, "serlcd": shows, "sn3218": shows, "ssd1306": shows,
		"st7567": shows, "tm1637": shows, "unicornhd": shows, "videosink": shows, "waveshare1602": shows, "waveshare2in13v2": shows,
		"waveshare2in13v3": shows, "waveshare2in13v4": shows,
		"pca9685": moves, "piblaster": moves, "tic": moves, "nxp74hc595": moves,
		"lirc": card, "mfrc522": card, "lepton": "a thermal camera: pictures, no quantity",
		"bitbang": wires, "ds248x": "a 1-wire master that the kernel drives: its bus is w1-2",
	}
	seen := 0
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		seen++
		names, sensing := covered[e.Name()]
		if _, other := apart[e.Name()]; sensing == other {
			t.Errorf("the library's %s: is it a sensor with a driver here, or why not?", e.Name())
		}
		for _, n := range names {
			_, driver := FindDriver(n)
			_, expander := expanderKinds[n]
			if !driver && !expander && n != "pca9548" {
				t.Errorf("the library's %s is said to be covered by %s, which does not exist", e.Name(), n)
			}
		}
	}
	if seen < 40 {
		t.Errorf("only %d packages were found", seen)
	}
	if !slices.Contains(DriverNames(), "bme280") {
		t.Error("no drivers")
	}
}

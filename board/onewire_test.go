package board

import (
	"os"
	"path/filepath"
	"testing"

	"periph.io/x/conn/v3/onewire"
	"periph.io/x/devices/v3/ds18b20"
)

// A thermometer that the kernel drives is read by the same library driver
// through the kernel's files.
func TestKernelThermometer(t *testing.T) {
	root := fakeRoot(t, map[string]string{
		"proc/device-tree/model":                                     "Raspberry Pi 3 Model B\x00",
		"sys/bus/w1/devices/w1_bus_master1/therm_bulk_read":          "0\n",
		"sys/bus/w1/devices/w1_bus_master1/w1_master_slaves":         "28-000005e2fdc3\n",
		"sys/bus/w1/devices/w1_bus_master1/28-000005e2fdc3/w1_slave": "63 01 4b 46 7f ff 0d 10 15 : crc=15 YES\n63 01 4b 46 7f ff 0d 10 15 t=22187\n",
	})
	b, err := Open(Options{Root: root, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	bus, err := b.OneWire("w1-1")
	if err != nil {
		t.Fatal(err)
	}
	found, err := bus.Search(false)
	if err != nil || len(found) != 1 || uint64(found[0])&0xffffffffffffff != 0x000005e2fdc3_28 {
		t.Fatalf("found %x, %v", found, err)
	}
	dev, err := ds18b20.New(bus, found[0], 12)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&onewire.Dev{Bus: bus, Addr: found[0]}).Tx([]byte{0x44}, nil); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(root, "sys/bus/w1/devices/w1_bus_master1/therm_bulk_read")); string(got) != "trigger\n" {
		t.Errorf("all were told %q", got)
	}
	temp, err := dev.LastTemp()
	if err != nil || temp.Celsius() != 22.1875 {
		t.Errorf("temperature %v, %v; want 22.1875 °C", temp.Celsius(), err)
	}
}

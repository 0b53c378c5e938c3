package hil

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatewayd/test/rig"
	"gatewayd/test/rig/plan"
)

// gateway is the configuration in the guest; the lines' numbers differ from
// board to board.
const gateway = `
gateway: {id: gw-hil, data_dir: /data}
listeners: [{address: ":1883"}]
auth: {anonymous: true}
http: {address: "off"}
board: hardware
lines:
  - {name: door, line: "gpiochip0:%d", direction: in, topic: hall/door}
  - {name: lamp, line: "gpiochip0:%d", direction: out, topic: hall/lamp, command_topic: hall/lamp/set, initial: "off"}
`

const thermometer = `
sensors:
  - {name: room1, driver: tmp102, bus: i2c-0, address: 0x48, every: 200ms, topic: "room1/{quantity}"}
`

// bench is a board under power with the gateway on it.
type bench struct {
	machine *rig.Machine
	address string // of the gateway, seen from the host
	qmp     *rig.QMP
	wires   *rig.Qtest
	watch   *watch
}

// slow is how long anything may take: the board is emulated, and others may
// use this machine too.
const slow = 3 * time.Minute

func start(t *testing.T, goarch, kernel, config string, qemu ...string) bench {
	t.Helper()
	dir, err := os.MkdirTemp("", "hil") // not t.TempDir: a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "gatewayd.yaml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	initrd := rig.Initramfs(t, goarch, kernel, plan.Plan{
		Address: "10.0.2.15",
		Devices: []string{"/dev/gpiochip0"},
		Steps:   []plan.Step{{Name: "run", Args: []string{"/bin/gatewayd", "run"}}},
	}, rig.Files{"/bin/gatewayd": rig.Gatewayd(t, goarch), "/etc/gatewayd/gatewayd.yaml": file})
	port := rig.FreePort(t)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	qmp, wires := filepath.Join(dir, "qmp"), filepath.Join(dir, "qtest")
	program, qemu := qemu[0], qemu[1:]
	m := rig.Start(t, program, append(qemu, "-display", "none", "-no-reboot", "-kernel", filepath.Join(kernel, "vmlinuz"), "-initrd", initrd,
		"-netdev", fmt.Sprintf("user,id=n0,hostfwd=tcp:%s-:1883", address),
		"-qmp", "unix:"+qmp+",server,nowait", "-qtest", "unix:"+wires+",server,nowait", "-qtest-log", os.DevNull)...)
	b := bench{machine: m, address: address, qmp: rig.DialQMP(t, qmp), wires: rig.DialQtest(t, wires)}
	b.watch = startWatch(t, m, address)
	return b
}

// lines raises an input and sees its edges, commands an output and sees the
// pin.
func (b bench) lines(t *testing.T, chip string, input, output int) {
	if err := b.wires.Watch(chip); err != nil {
		t.Fatal(err)
	}
	for _, high := range []bool{true, false, true} {
		mark, want := b.watch.mark(), map[bool]string{true: "on", false: "off"}[high]
		if err := b.wires.Set(chip, input, high); err != nil {
			t.Fatal(err)
		}
		if err := b.watch.wait(mark, "hall/door", slow, is(want)); err != nil {
			t.Errorf("door %s: %v", want, err)
		}
		mark = b.watch.mark()
		b.watch.client.Publish("hall/lamp/set", []byte(want), 1, false, false, 7)
		if err := b.watch.client.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := b.wires.WaitLevel(output, high, slow); err != nil {
			t.Errorf("lamp %s: %v", want, err)
		}
		if err := b.watch.wait(mark, "hall/lamp", slow, is(want)); err != nil {
			t.Errorf("state of the lamp: %v", err)
		}
	}
}

func TestThermometerAndLinesOn32Bit(t *testing.T) {
	rig.Enabled(t, "hil")
	rig.Need(t, "qemu-system-arm")
	kernel := rig.Kernel(t, "armmp")
	b := start(t, "arm", kernel, fmt.Sprintf(gateway, 7, 8)+thermometer,
		"qemu-system-arm", "-M", "sabrelite", "-smp", "1", "-m", "512", "-dtb", filepath.Join(kernel, "imx6q-sabrelite.dtb"),
		"-append", "console=ttymxc1,115200 quiet panic=-1", "-serial", "null", "-serial", "stdio", "-net", "nic,netdev=n0",
		"-device", "pca9546,bus=i2c-bus.0,address=0x70,id=plug", "-device", "tmp105,id=t0,bus=i2c.0,address=0x48")
	const availability = "gateway/gw-hil/room1/availability"
	plug := func(in bool) error {
		ctx, cancel := context.WithTimeout(t.Context(), slow)
		defer cancel()
		return b.machine.Type(ctx, fmt.Sprintf("i2c 0 112 %d", map[bool]int{true: 1}[in])) // 0x70: the plug's address
	}
	warm := func(celsius float64) error {
		return b.qmp.Do("qom-set", map[string]any{"path": "t0", "property": "temperature", "value": int(celsius * 1000)}, nil)
	}

	if err := warm(21.5); err != nil {
		t.Fatal(err)
	}
	if err := plug(true); err != nil {
		t.Fatal(err)
	}
	if err := b.watch.wait(0, availability, slow, is("online")); err != nil {
		t.Fatalf("plugged in: %v", err)
	}
	seen := startMosquitto(t, b.address, "room1/temperature")
	for _, celsius := range []float64{21.5, 23.5, -12.5} {
		mark := b.watch.mark()
		if err := warm(celsius); err != nil {
			t.Fatal(err)
		}
		if err := b.watch.wait(mark, "room1/temperature", slow, near(celsius, 0.3)); err != nil {
			t.Errorf("%v °C: %v", celsius, err)
		}
		seen.wait(t, fmt.Sprintf("%v °C", celsius), slow, near(celsius, 0.3))
	}

	mark := b.watch.mark()
	if err := plug(false); err != nil {
		t.Fatal(err)
	}
	if err := b.watch.wait(mark, availability, slow, is("offline")); err != nil {
		t.Errorf("unplugged: %v", err)
	}
	if err := warm(30); err != nil {
		t.Fatal(err)
	}
	mark = b.watch.mark()
	if err := plug(true); err != nil {
		t.Fatal(err)
	}
	if err := b.watch.wait(mark, availability, slow, is("online")); err != nil {
		t.Errorf("plugged in again: %v", err)
	}
	if err := b.watch.wait(mark, "room1/temperature", slow, near(30, 0.3)); err != nil {
		t.Errorf("plugged in again: %v", err)
	}

	b.lines(t, "/machine/soc/gpio1", 7, 8)
}

func TestLinesOn64Bit(t *testing.T) {
	rig.Enabled(t, "hil")
	rig.Need(t, "qemu-system-aarch64")
	kernel := rig.Kernel(t, "arm64")
	b := start(t, "arm64", kernel, fmt.Sprintf(gateway, 4, 5),
		"qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53", "-smp", "2", "-m", "512",
		"-append", "console=ttyAMA0 quiet panic=-1", "-serial", "stdio", "-device", "virtio-net-device,netdev=n0")
	chip, err := b.qmp.Find("pl061")
	if err != nil {
		t.Fatal(err)
	}
	b.lines(t, chip, 4, 5)
}

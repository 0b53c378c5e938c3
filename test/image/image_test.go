package image

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/test/rig"
)

const (
	user     = "gateway"
	password = "only-for-this-test"
)

// makeImage builds the image, or takes the one that IMAGE names (made with
// this test's user and password).
func makeImage(t *testing.T) string {
	t.Helper()
	if file := os.Getenv("IMAGE"); file != "" {
		return file
	}
	file := filepath.Join(t.TempDir(), "gatewayd.img")
	cmd := exec.Command(filepath.Join(rig.Root(), "scripts", "image.sh"), "rpi4", file)
	cmd.Env = append(os.Environ(), "IMAGE_USER="+user, "IMAGE_PASSWORD="+password, "OPEN=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("image.sh: %v\n%s", err, out)
	}
	return file
}

// firmware is the UEFI that gok ships for its own virtual machines.
func firmware(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", "github.com/gokrazy/tools")
	cmd.Dir = filepath.Join(rig.Root(), "image")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	found, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "third_party", "edk2-*", "QEMU_EFI.fd"))
	if len(found) == 0 {
		t.Fatalf("no QEMU_EFI.fd in %s", out)
	}
	return found[len(found)-1]
}

// boot switches the card's board on and returns when the gateway answers.
func boot(t *testing.T, uefi, card string) (*rig.Machine, string) {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))
	m := rig.Start(t, "qemu-system-aarch64", "-M", "virt,highmem=off", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024", "-bios", uefi,
		"-display", "none", "-drive", "file="+card+",format=raw", "-device", "i6300esb", "-device", "e1000,netdev=n0,romfile=",
		"-netdev", "user,id=n0,hostfwd=tcp:"+address+"-:1883", "-serial", "stdio")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	begin := time.Now()
	err := m.Dial(ctx, func() error {
		c, _, err := rig.Login(address, "hello", 4, true, user, password)
		if err == nil {
			c.Goodbye()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the gateway answers %.1f s after power-on", time.Since(begin).Seconds())
	return m, address
}

func login(t *testing.T, address, id string, clean bool) (c *rig.Client, present bool) {
	t.Helper()
	c, present, err := rig.Login(address, id, 4, clean, user, password)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, present
}

// receive waits for a message on each topic and returns the payloads.
func receive(t *testing.T, c *rig.Client, topics ...string) map[string]string {
	t.Helper()
	got := map[string]string{}
	c.Deadline(time.Now().Add(time.Minute))
	for len(got) < len(topics) {
		p, err := c.Read()
		if err != nil {
			t.Fatalf("of %v there came only %v: %v", topics, got, err)
		}
		for _, topic := range topics {
			if p.Type == rig.PUBLISH && p.Topic == topic {
				got[topic] = string(p.Payload)
			}
		}
	}
	return got
}

func TestImage(t *testing.T) {
	rig.Enabled(t, "image-test")
	rig.Need(t, "qemu-system-aarch64", "mkfs.ext4", "sfdisk", "mksquashfs")
	uefi := firmware(t)
	card := filepath.Join(t.TempDir(), "card.img")
	if out, err := exec.Command("cp", "--sparse=always", makeImage(t), card).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}

	m, address := boot(t, uefi, card)
	if c, _, err := rig.Connect(address, "stranger", 4, true); err == nil {
		c.Close()
		t.Error("the gateway lets a client in without a password")
	}
	watch, _ := login(t, address, "watch", true)
	if err := watch.Subscribe("room1/#", 1); err != nil {
		t.Fatal(err)
	}
	for topic, value := range receive(t, watch, "room1/temperature", "room1/humidity", "room1/pressure") {
		var v float64
		if _, err := fmt.Sscan(value, &v); err != nil {
			t.Errorf("%s is %q", topic, value)
		}
	}

	keeper, _ := login(t, address, "keeper", false)
	if err := keeper.Subscribe("kept/#", 1); err != nil {
		t.Fatal(err)
	}
	keeper.Goodbye()
	publisher, _ := login(t, address, "publisher", true)
	publisher.Publish("kept/retained", []byte("still here"), 1, true, false, 1)
	publisher.Publish("kept/queued", []byte("waited"), 1, false, false, 2)
	if err := publisher.Flush(); err != nil {
		t.Fatal(err)
	}
	publisher.Deadline(time.Now().Add(time.Minute))
	for acks := 0; acks < 2; {
		p, err := publisher.Read()
		if err != nil {
			t.Fatal(err)
		}
		if p.Type == rig.PUBACK {
			acks++
		}
	}
	m.Cut() // at once: what was acknowledged must be on the card

	_, address = boot(t, uefi, card)
	keeper, present := login(t, address, "keeper", false)
	if !present {
		t.Error("the session is gone after the reset")
	}
	got := receive(t, keeper, "kept/retained", "kept/queued")
	if got["kept/queued"] != "waited" || got["kept/retained"] != "still here" {
		t.Errorf("after the reset: %v", got)
	}
	watch, _ = login(t, address, "watch", true)
	if err := watch.SendSubscribe("kept/retained", 1, 1); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, watch, "kept/retained"); got["kept/retained"] != "still here" {
		t.Errorf("retained after the reset: %v", got)
	}
}

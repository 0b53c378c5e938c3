package image

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatewayd/test/rig"
)

// card is a loop device of the given size, standing for a memory card.
func card(t *testing.T, size int64) string {
	t.Helper()
	rig.Need(t, "losetup", "lsblk", "blockdev", "cmp")
	if os.Getuid() != 0 {
		t.Skip("a loop device needs root")
	}
	file := filepath.Join(t.TempDir(), "card")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", file).Output()
	if err != nil {
		t.Skipf("no loop device can be had here: %v", err)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() { exec.Command("losetup", "--detach", device).Run() })
	return device
}

// flash runs the script with an answer typed.
func flash(t *testing.T, device, image, answer string) (string, error) {
	t.Helper()
	cmd := exec.Command(filepath.Join(rig.Root(), "scripts", "flash.sh"), device, image)
	cmd.Stdin = strings.NewReader(answer + "\n")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func someImage(t *testing.T) (string, []byte) {
	t.Helper()
	content := bytes.Repeat([]byte("gatewayd "), 200_000)
	name := filepath.Join(t.TempDir(), "some.img")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name, content
}

func TestFlashWritesAndVerifies(t *testing.T) {
	device := card(t, 4<<20)
	image, content := someImage(t)
	if out, err := flash(t, device, image, "no"); err == nil || !strings.Contains(out, "not confirmed") {
		t.Fatalf("without the confirmation: %v\n%s", err, out)
	}
	if b, err := os.ReadFile(device); err != nil || bytes.Contains(b, []byte("gatewayd")) {
		t.Fatalf("it wrote before it was confirmed (%v)", err)
	}
	out, err := flash(t, device, image, device)
	if err != nil || !strings.Contains(out, "erases everything on "+device) {
		t.Fatalf("%v\n%s", err, out)
	}
	if b, err := os.ReadFile(device); err != nil || !bytes.HasPrefix(b, content) {
		t.Errorf("the card does not hold the image (%v)", err)
	}
}

func TestFlashRefuses(t *testing.T) {
	device := card(t, 4<<20)
	image, _ := someImage(t)
	refused := func(device, image, why string) {
		t.Helper()
		if out, err := flash(t, device, image, device); err == nil || !strings.Contains(out, why) {
			t.Errorf("%s: want a refusal with %q, got %v\n%s", device, why, err, out)
		}
	}
	refused("/dev/null", image, "no block device")
	refused(device, image+".missing", "no image")
	refused(card(t, 1<<20), image, "bytes, the image needs")

	// The disk this system runs from.
	out, err := exec.Command("findmnt", "-no", "SOURCE", "/").Output()
	if root := strings.TrimSpace(string(out)); err == nil && strings.HasPrefix(root, "/dev/") {
		// Never with the right answer: a refusal that fails must not cost this machine its disk.
		if out, err := flash(t, root, image, "no"); err == nil || strings.Contains(out, "not confirmed") || !strings.Contains(out, "nothing was written") {
			t.Errorf("%s: want a refusal before the question, got %v\n%s", root, err, out)
		}
	}

	mkfs, err := rig.LookPath("mkfs.ext4")
	if err != nil {
		t.Skip("no mkfs.ext4, so no mounted card")
	}
	if out, err := exec.Command(mkfs, "-q", "-F", device).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	dir := t.TempDir()
	if err := exec.Command("mount", device, dir).Run(); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	defer exec.Command("umount", dir).Run()
	refused(device, image, "is in use at "+dir)
}

package powercut

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"gatewayd/test/rig"
)

// board is the emulated board's description for QEMU.
func (b *bench) board(more ...string) []string {
	return append([]string{"-M", "virt", "-cpu", "cortex-a53", "-smp", "2", "-m", "512", "-display", "none", "-no-reboot",
		"-kernel", filepath.Join(b.kernel, "vmlinuz"), "-initrd", b.initrd, "-append", "console=ttyAMA0 loglevel=5 panic=-1",
		"-drive", "file=nbd+unix:///?socket=" + b.socket + ",if=none,id=d0,format=raw,cache=none", "-device", "virtio-blk-device,drive=d0",
		"-netdev", fmt.Sprintf("user,id=n0,hostfwd=tcp:127.0.0.1:%d-:1883", b.port), "-device", "virtio-net-device,netdev=n0", "-serial", "stdio"},
		more...)
}

// park boots the board once, up to the moment before it touches its disk, and
// saves its state. The start of a kernel on an emulated processor is most of a
// boot, and none of it is put to the test; the disk and everything that reads
// it starts anew each time.
func (b *bench) park() error {
	control := filepath.Join(b.dir, "qmp")
	m := rig.Start(b.t, "qemu-system-aarch64", b.board("-qmp", "unix:"+control+",server,nowait")...)
	defer m.Cut()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if _, err := m.Wait(ctx, "@guest parked"); err != nil {
		return err
	}
	b.parked = filepath.Join(b.dir, "parked")
	qmp := rig.DialQMP(b.t, control)
	if err := qmp.Do("migrate", map[string]any{"uri": "exec:cat >" + b.parked}, nil); err != nil {
		return err
	}
	for {
		var state struct{ Status string }
		if err := qmp.Do("query-migrate", nil, &state); err != nil {
			return err
		}
		switch state.Status {
		case "completed":
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("saving the board's state %s", state.Status)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("saving the board's state: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// wake lets a board go on from the saved state. What is typed before the state
// is loaded gets lost, so it is typed until the board says that it heard.
func (b *bench) wake(ctx context.Context, m *rig.Machine) error {
	heard := make(chan error, 1)
	go func() {
		_, err := m.Wait(ctx, "@guest awake")
		heard <- err
	}()
	for seed := b.rng.Uint64(); ; {
		if err := m.Send(fmt.Sprintf("go %x %d", seed, time.Now().Unix())); err != nil {
			return err
		}
		select {
		case err := <-heard:
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

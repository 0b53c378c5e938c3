//go:build linux && (arm || arm64)

// Command guest is the init of an emulated board: it makes a bare Linux kernel
// run one program as it would run on a real board, and tells the host through
// the serial console what happens ("@guest …" lines).
//
// It mounts the kernel's file systems, inserts the modules that lie in
// /modules in the order of their names, gives the first network interface a
// fixed address, mounts the data disk, and runs the steps of /guest.json one
// after the other. It never ends: a kernel without init panics.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"gatewayd/test/rig/plan"
)

func main() {
	say("init")
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	mountAll()
	insertModules("/modules")
	var todo plan.Plan
	b, err := os.ReadFile("/guest.json")
	if err == nil {
		err = json.Unmarshal(b, &todo)
	}
	if err != nil {
		stop("plan", err)
	}
	if todo.Address != "" {
		for _, up := range []struct{ name, address string }{{"lo", "127.0.0.1"}, {"eth0", todo.Address}} {
			if err := setAddress(up.name, up.address); err != nil {
				stop("network", err)
			}
		}
	}
	keyboard := bufio.NewScanner(os.Stdin)
	if todo.Park {
		say("parked")
		if err := wake(keyboard, todo.Disk); err != nil {
			stop("wake", err)
		}
		say("awake")
	}
	if err := mountData(todo); err != nil {
		stop("disk", err)
	}
	for _, d := range todo.Devices {
		if err := waitFor(d); err != nil {
			stop("device", err)
		}
	}
	go listen(keyboard)
	say("ready")
	for _, s := range todo.Steps {
		run(s)
	}
	say("done")
	for {
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(-1, &status, 0, nil); err != nil {
			time.Sleep(time.Second) // no child is left; the host will cut the power
		}
	}
}

// say writes one line for the host. The leading newline keeps it apart from a
// kernel message that was being written.
func say(format string, args ...any) {
	fmt.Printf("\n@guest "+format+"\n", args...)
}

func stop(what string, err error) {
	say("failed %s: %v", what, err)
	for {
		time.Sleep(time.Hour)
	}
}

func mountAll() {
	for _, m := range []struct{ device, dir, kind string }{
		{"proc", "/proc", "proc"}, {"sysfs", "/sys", "sysfs"}, {"devtmpfs", "/dev", "devtmpfs"},
		{"tmpfs", "/tmp", "tmpfs"}, {"tmpfs", "/run", "tmpfs"}, {"debugfs", "/sys/kernel/debug", "debugfs"},
	} {
		os.MkdirAll(m.dir, 0o755)
		if err := syscall.Mount(m.device, m.dir, m.kind, 0, ""); err != nil {
			say("mount %s: %v", m.dir, err) // debugfs may be missing
		}
	}
}

func insertModules(dir string) {
	files, _ := filepath.Glob(dir + "/*.ko")
	sort.Strings(files)
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			say("module %s: %v", name, err)
			continue
		}
		empty := []byte{0}
		if err := finitModule(f.Fd(), &empty[0]); err != nil {
			say("module %s: %v", filepath.Base(name), err)
		}
		f.Close()
	}
}

func mountData(todo plan.Plan) error {
	os.MkdirAll("/data", 0o755)
	if todo.Disk == "" {
		return syscall.Mount("tmpfs", "/data", "tmpfs", 0, "")
	}
	if err := waitFor(todo.Disk); err != nil {
		return err
	}
	if err := syscall.Mount(todo.Disk, "/data", todo.Format, syscall.MS_NOATIME, ""); err != nil {
		return fmt.Errorf("mount %s: %w", todo.Disk, err)
	}
	return nil
}

func waitFor(path string) error {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return nil
		} else if time.Now().After(deadline) {
			return err
		}
	}
}

func run(s plan.Step) {
	cmd := exec.Command(s.Args[0], s.Args[1:]...)
	cmd.Env = append([]string{"HOME=/data", "PATH=/bin", "TMPDIR=/tmp"}, s.Env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	say("start %s: %s", s.Name, strings.Join(s.Args, " "))
	if err := cmd.Start(); err != nil {
		say("exit %s -1: %v", s.Name, err)
		return
	}
	if s.Background {
		return
	}
	err := cmd.Wait()
	say("exit %s %d: %v", s.Name, cmd.ProcessState.ExitCode(), err)
}

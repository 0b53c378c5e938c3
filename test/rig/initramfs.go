package rig

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"testing"

	"gatewayd/test/rig/plan"
)

// Files maps paths inside the guest ("/bin/gatewayd") to files of the host.
type Files map[string]string

// Initramfs packs the guest's init for goarch, the kernel's modules, the plan
// and the files into a file for the kernel, and returns its name.
func Initramfs(t testing.TB, goarch, kernel string, p plan.Plan, files Files) string {
	t.Helper()
	all := Files{"/init": Build(t, filepath.Join(Root(), "test"), "./rig/guest", goarch)}
	modules, _ := filepath.Glob(filepath.Join(kernel, "modules", "*.ko"))
	for _, m := range modules {
		all["/modules/"+filepath.Base(m)] = m
	}
	for inside, host := range files {
		all[inside] = host
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	todo := filepath.Join(t.TempDir(), "guest.json")
	if err := os.WriteFile(todo, b, 0o644); err != nil {
		t.Fatal(err)
	}
	all["/guest.json"] = todo
	out := filepath.Join(t.TempDir(), "initramfs.cpio")
	if err := writeInitramfs(out, all); err != nil {
		t.Fatal(err)
	}
	return out
}

func writeInitramfs(out string, files Files) error {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()
	a := archive{w: bufio.NewWriter(f), dirs: map[string]bool{"/": true}}
	a.entry("dev", 0o040755, 0, 0, nil)
	a.dirs["/dev"] = true
	// The kernel opens this as the init's standard input, output and error
	// before anything is mounted.
	a.entry("dev/console", 0o020600, 5, 1, nil)
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		b, err := os.ReadFile(files[n])
		if err != nil {
			return err
		}
		a.parents(n)
		a.entry(n[1:], 0o100755, 0, 0, b)
	}
	a.entry("TRAILER!!!", 0, 0, 0, nil)
	if a.err != nil {
		return a.err
	}
	if err := a.w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// archive writes the "newc" form of cpio, the one the kernel unpacks.
type archive struct {
	w     *bufio.Writer
	dirs  map[string]bool
	inode int
	err   error
}

func (a *archive) parents(path string) {
	dir := filepath.Dir(path)
	if a.dirs[dir] {
		return
	}
	a.parents(dir)
	a.dirs[dir] = true
	a.entry(dir[1:], 0o040755, 0, 0, nil)
}

func (a *archive) entry(name string, mode, major, minor int, body []byte) {
	a.inode++
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.inode, mode, 0, 0, 1, 0, len(body), 0, 0, major, minor, len(name)+1, 0)
	a.padded([]byte(header + name + "\x00"))
	a.padded(body)
}

// padded writes b and fills up to a multiple of four: header (110 bytes) and
// name together, and the body, each end there.
func (a *archive) padded(b []byte) {
	if a.err == nil {
		_, a.err = a.w.Write(append(b[:len(b):len(b)], make([]byte, -len(b)&3)...))
	}
}

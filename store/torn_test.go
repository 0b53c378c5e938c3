package store

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// crashImage is what a power cut leaves of a small store: its files, and how far
// the log reached when each message was acknowledged.
type crashImage struct {
	files   map[string][]byte // but for the log
	log     string
	content []byte // of the log, up to its last byte
	size    int64  // of the file, which is longer
	session SessionID
	acked   []int // the log's length after message i
}

// takeCrashImage makes one with n messages, each acknowledged before the next.
func takeCrashImage(t *testing.T, n int) *crashImage {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "running")
	s, _ := running(t, dir, Options{})
	im := &crashImage{files: map[string][]byte{}, session: newSession(t, s, "a")}
	logs, _ := filepath.Glob(filepath.Join(dir, "*.mem"))
	if len(logs) != 1 {
		t.Fatal(logs)
	}
	im.log = filepath.Base(logs[0])
	var b Batch
	for i := range n {
		b.Reset()
		b.AddMessage(message("t", fmt.Sprint(i)), []Recipient{{Session: im.session, QoS: 1}})
		if i%3 == 1 { // a transaction of several records
			b.PutSubscription(im.session, Subscription{Filter: fmt.Sprint("f/", i)})
			b.Hold(im.session, uint16(i), 7)
		}
		submit(t, s, &b)
		all, err := os.ReadFile(logs[0])
		if err != nil {
			t.Fatal(err)
		}
		im.content, im.size = bytes.TrimRight(all, "\x00"), int64(len(all))
		im.acked = append(im.acked, len(im.content))
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if name := e.Name(); name != im.log && name != ballastFile && name != "LOCK" {
			if im.files[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return im
}

// lay writes the image into dir with this log.
func (im *crashImage) lay(t *testing.T, dir string, log []byte, size int64) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range im.files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(dir, im.log)
	if err := os.WriteFile(name, log, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
}

// opened opens what was laid and returns the messages it has. It must be in
// order, open again, and take a message.
func (im *crashImage) opened(t *testing.T, dir string) []string {
	t.Helper()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil && len(s.chores) == 0 { // chores: what the cut left to be cleaned up
		t.Error(err)
	}
	var got []string
	if s.sessions[im.session] != nil {
		_, got = queue(t, s, im.session)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return got
}

// TestLogCutAtEveryByte cuts the log of a store after every byte, with the rest
// of the file empty, as after a power cut, and with the file itself shorter.
// Whatever was acknowledged when the log was that long is there, in order and
// once, and the store opens.
func TestLogCutAtEveryByte(t *testing.T) {
	im := takeCrashImage(t, 6)
	step := 1
	if os.Getenv("GATEWAYD_STORE_LONG") == "" {
		step = 41
	}
	base := t.TempDir()
	cuts := 0
	for at := 0; at <= len(im.content); at++ {
		edge := slices.ContainsFunc(im.acked, func(n int) bool { return at-n <= 1 && n-at <= 1 })
		if at%step != 0 && !edge {
			continue
		}
		for _, size := range []int64{im.size, int64(at)} {
			cuts++
			dir := filepath.Join(base, "cut")
			im.lay(t, dir, im.content[:at], size)
			got := im.opened(t, dir)
			for i, n := range im.acked {
				if n <= at && (i >= len(got) || got[i] != fmt.Sprint(i)) {
					t.Fatalf("cut after %d of %d bytes, a file of %d: message %d was acknowledged at %d, there is %v", at, len(im.content), size, i, n, got)
				}
			}
			if len(got) > len(im.acked) {
				t.Fatalf("cut after %d bytes: %v", at, got)
			}
			if aside, _ := filepath.Glob(dir + ".damaged-*"); len(aside) != 0 && at >= im.acked[0] {
				t.Fatalf("cut after %d bytes: taken for damage", at)
			}
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d cuts of a log of %d bytes", cuts, len(im.content))
}

// TestDamageAnywhere changes bytes at many places of every kind of file that a
// store has, a log with content and tables. It opens each time, if need be with
// what could be salvaged, agrees with itself, and takes messages; what it set
// aside it says.
func TestDamageAnywhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sound")
	s, stop := running(t, dir, Options{})
	a := newSession(t, s, "a")
	var b Batch
	put := func(from, to int) {
		for i := from; i < to; i++ {
			b.AddMessage(message("t", fmt.Sprint(i)), []Recipient{{Session: a, QoS: 1}})
			b.PutRetained(message(fmt.Sprint("r/", i), "kept"))
		}
		submit(t, s, &b)
		b.Reset()
	}
	put(0, 300)
	stop() // the memtable becomes a table
	s, stop = running(t, dir, Options{})
	put(300, 310)
	files := map[string][]byte{}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.Name() != ballastFile && e.Name() != "LOCK" {
			if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop()
	places := 6
	if os.Getenv("GATEWAYD_STORE_LONG") != "" {
		places = 200
	}
	base := t.TempDir()
	for name, content := range files {
		used := len(bytes.TrimRight(content, "\x00"))
		told := 0
		for i := range min(places, used) {
			at := used * i / min(places, used)
			dir := filepath.Join(base, fmt.Sprintf("%s-%d", name, at))
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for other, c := range files {
				c = bytes.Clone(c)
				if other == name {
					c[at] ^= 0x55
				}
				if err := os.WriteFile(filepath.Join(dir, other), c, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			t.Run(fmt.Sprintf("%s at %d", name, at), func(t *testing.T) {
				s, stop := running(t, dir, Options{})
				s.mu.Lock()
				busy, known := len(s.chores) > 0, s.sessions[a] != nil
				s.mu.Unlock()
				if err := s.Check(); err != nil && !busy {
					t.Error(err)
				}
				aside, _ := filepath.Glob(dir + ".damaged-*")
				if h := s.Health(); len(aside) > 0 == h.OK && s.Stats().Lost == 0 {
					t.Errorf("set aside: %v, health: %v", aside, h)
				}
				told += len(aside)
				if len(aside) > 1 {
					t.Errorf("set aside twice: %v", aside)
				}
				id := newSession(t, s, "new")
				var b Batch
				b.AddMessage(message("t", "after"), []Recipient{{Session: id, QoS: 1}})
				submit(t, s, &b)
				if _, got := queue(t, s, id); len(got) != 1 {
					t.Errorf("%d messages", len(got))
				}
				if known {
					queue(t, s, a) // may be shorter, and is readable
				}
				stop()
				if err := Verify(dir); err != nil {
					t.Errorf("verify afterwards: %v", err)
				}
				if more, _ := filepath.Glob(dir + ".damaged-*"); len(more) != len(aside) {
					t.Errorf("set aside again: %v", more)
				}
			})
			for _, d := range append([]string{dir}, mustGlob(dir+".damaged-*")...) {
				os.RemoveAll(d)
			}
		}
		t.Logf("%s: %d bytes used, set aside %d times", name, used, told)
	}
}

func mustGlob(pattern string) []string {
	list, err := filepath.Glob(pattern)
	if err != nil {
		panic(err)
	}
	return list
}

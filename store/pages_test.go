package store

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// mappedTables is how much of the tables below dir is resident here, in bytes.
func mappedTables(t *testing.T, dir string) (n int64) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ours := false
	for s := bufio.NewScanner(f); s.Scan(); {
		line := s.Text()
		if head, _, _ := strings.Cut(line, " "); strings.Contains(head, "-") {
			ours = strings.Contains(line, dir) && strings.HasSuffix(line, ".sst")
		}
		var kb int64
		if ours && strings.HasPrefix(line, "Rss:") {
			fmt.Sscanf(line, "Rss: %d kB", &kb)
			n += kb << 10
		}
	}
	return n
}

// TestPagesAreGivenBack: reading a queue from one end to the other does not leave
// its files in the process's memory.
func TestPagesAreGivenBack(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells what is resident")
	}
	dir := t.TempDir()
	s, _ := running(t, dir, Options{})
	if s.be.(*badgerBackend).pages.db == nil { // a test does not know by Corrected
		t.Skip("badger is as it comes: built without scripts/badger-overlay.sh")
	}
	id := newSession(t, s, "a")
	payload := make([]byte, 60<<10)
	r := rand.NewChaCha8([32]byte{1})
	const n = 700 // 42 MB
	for range n {
		_, _ = r.Read(payload)
		var b Batch
		b.AddMessage(message("t", string(payload)), []Recipient{{Session: id, QoS: 1}})
		if err := s.Submit(t.Context(), &b, nil); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, s)
	tables, _ := filepath.Glob(filepath.Join(dir, "*.sst"))
	if len(tables) < 10 {
		t.Fatalf("%d tables", len(tables))
	}
	// A compaction's new tables are mapped as a whole until readers have read some:
	// what is looked at begins behind it, and behind a first pass.
	eventually(t, "compactions do not end", func() bool { return s.be.(*badgerBackend).db.Levels()[0].NumTables < 2 })
	read := func() (seen int, most int64) {
		for after := MessageID(0); ; {
			page, err := s.Queue(nil, id, after, 20, 8<<20)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				return seen, most
			}
			seen, after = seen+len(page), page[len(page)-1].ID
			most = max(most, mappedTables(t, dir))
		}
	}
	read()
	seen, most := read()
	if seen != n || most == 0 || most > 16<<20 {
		t.Errorf("%d of %d read, %d KB of tables resident meanwhile", seen, n, most>>10)
	}
}

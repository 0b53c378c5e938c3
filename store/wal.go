package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// wal makes badger's write-ahead log durable. With SyncWrites badger syncs its
// value log as well at every commit, which holds nothing of ours: a second wait
// for the disk. So the store syncs the log of the memtable alone, after each
// transaction and before anybody hears of it. What a full memtable is swapped
// out with has been synced then, whoever swaps it.
//
// A log's pages are written through a memory map; fdatasync writes those too.
type wal struct {
	dir string

	mu   sync.Mutex // guards the fields below
	f    *os.File   // the log of the memtable that takes the writes
	fid  int
	next string // the path of the log after it, which is looked for at every sync
}

// openWAL is called when badger has opened the folder: its newest log is the one
// it writes.
func openWAL(dir string) (*wal, error) {
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		return nil, err
	}
	w := &wal{dir: dir, fid: -1}
	for _, f := range logs {
		if n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(f), ".mem")); err == nil {
			w.fid = max(w.fid, n)
		}
	}
	if w.fid < 0 {
		return nil, fmt.Errorf("store: badger has no log in %s", dir)
	}
	if w.f, err = os.OpenFile(w.path(w.fid), os.O_RDWR, 0); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	w.next = w.path(w.fid + 1)
	return w, nil
}

func (w *wal) path(fid int) string { return filepath.Join(w.dir, fmt.Sprintf("%05d.mem", fid)) }

// sync returns when every transaction that was committed before is on the disk.
// badger numbers its logs upwards, and has begun a new one before it writes to
// it: what was committed lies in the log that was the newest at the last sync,
// or in those after it. An open log can be synced also when badger has deleted
// it, because its table is written.
func (w *wal) sync() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	next, err := os.OpenFile(w.next, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return datasync(w.f)
	}
	if err != nil {
		return err
	}
	return w.advance(next)
}

// advance syncs the log that was the newest, those that came after it, and the
// folder, as a log that a crash leaves without a name is lost. They are synced at
// once: the file system puts them into one commit of its journal, where one after
// the other each waits for its own.
func (w *wal) advance(next *os.File) (err error) {
	logs := []*os.File{w.f}
	for err == nil {
		logs = append(logs, next)
		next, err = os.OpenFile(w.path(w.fid+len(logs)), os.O_RDWR, 0)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		for _, f := range logs[1:] {
			f.Close()
		}
		return err
	}
	errs := make([]error, len(logs)+1)
	var wg sync.WaitGroup
	for i, f := range logs {
		wg.Go(func() { errs[i] = datasync(f) })
	}
	errs[len(logs)] = syncFolder(w.dir)
	wg.Wait()
	last := len(logs) - 1
	if err := errors.Join(errs...); err != nil {
		for _, f := range logs[1:] {
			f.Close()
		}
		return err
	}
	for _, f := range logs[:last] {
		f.Close()
	}
	w.f, w.fid = logs[last], w.fid+last
	w.next = w.path(w.fid + 1)
	return nil
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (w *wal) close() { w.f.Close() }

package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
)

// badgerBackend keeps the records in badger. Each write is one synced
// transaction; every record is below the value threshold, because only the
// memtable's log is synced.
type badgerBackend struct {
	db   *badger.DB
	tune tuning
	wal  *wal

	pages pages

	mu     sync.RWMutex // held to read while it is used, so that close waits
	closed atomic.Bool  // set before close waits, which may take long on a full disk
}

// use reports whether the backend may be used, until done is called.
func (b *badgerBackend) use() (done func(), err error) {
	if b.closed.Load() {
		return nil, ErrFailed
	}
	b.mu.RLock()
	if b.closed.Load() {
		b.mu.RUnlock()
		return nil, ErrFailed
	}
	return b.mu.RUnlock, nil
}

// guard makes an error of a fault in a mapped file, which a disk that cannot be
// read causes, or a file that became shorter: defer guard(&err)().
func guard(err *error) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		p := recover()
		if p == nil {
			return
		}
		if f, ok := p.(interface{ Addr() uintptr }); ok {
			*err = fmt.Errorf("store: the disk cannot be read under a mapped file: %v", f)
			return
		}
		panic(p)
	}
}

func openBadger(dir string, t tuning, log *slog.Logger) (*badgerBackend, error) {
	if err := checkArena(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	memtable, err := prepareFolder(dir, t)
	if err != nil {
		return nil, err
	}
	var db *badger.DB
	err = patiently(func() (err error) {
		db, err = openQuietly(t.badger(dir).WithMemTableSize(memtable).WithLogger(badgerLog{log}))
		if err != nil && strings.Contains(err.Error(), "Cannot acquire directory lock") {
			return errors.Join(ErrInUse, err)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store: open %s: %w", dir, err)
	}
	w, err := openWAL(dir)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &badgerBackend{db: db, tune: t, wal: w, pages: pagesOf(db)}, nil
}

// prepareFolder looks at the files before badger does, and says how large the
// memtable has to be.
func prepareFolder(dir string, t tuning) (memtable int64, err error) {
	unlock, err := lockFolder(dir)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if err := removeEmptyLogs(dir); err != nil {
		return 0, err
	}
	if err := checkTables(dir, t); err != nil {
		return 0, err
	}
	return replaySize(dir, t.memtable)
}

// replaySize is the memtable's size for this opening: at least that of the
// process which wrote the logs left behind. badger reads a log back into one
// memtable and ends the process when it does not fit: a card moved to a board
// with less memory, or a tool with other options than the gateway.
func replaySize(dir string, size int64) (int64, error) {
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		return 0, err
	}
	for _, f := range logs {
		st, err := os.Stat(f)
		if err != nil {
			return 0, fmt.Errorf("store: %w", err)
		}
		size = max(size, min(st.Size()/2, 64<<20)) // badger makes a log twice its memtable's size
	}
	return size, nil
}

// openQuietly turns badger's panics on damaged files into errors.
func openQuietly(o badger.Options) (db *badger.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("badger: %v", p)
		}
	}()
	return badger.Open(o)
}

// checkTables opens each table that the manifest names: badger does so in
// goroutines of its own, where nobody can catch its panic over a damaged one.
// Opening reads a table's last block and its index, through a memory map, where
// the kernel reads ahead whatever the device is set to, the whole table mostly.
// So that much is read beforehand, of several tables at once.
func checkTables(dir string, t tuning) error {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer f.Close()
	m, _, err := badger.ReplayManifestFile(f, 0, t.badger(dir))
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	ids := make(chan uint64, len(m.Tables))
	for id := range m.Tables {
		ids <- id
	}
	close(ids)
	var errs [tableReaders]error
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for id := range ids {
				file := table.NewFilename(id, dir)
				readTail(file, int64(t.block)+tableIndex)
				if err := readTable(file, t, nil); err != nil {
					errs[i] = fmt.Errorf("store: table %d: %w", id, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

const (
	tableReaders = 4
	tableIndex   = 64 << 10 // more than the index of a table has
)

// readTail has the last bytes of a file in the page cache. What cannot be read
// is found by whoever needs it.
func readTail(file string, n int64) {
	f, err := os.Open(file)
	if err != nil {
		return
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil {
		_, _ = f.ReadAt(make([]byte, min(n, st.Size())), max(st.Size()-n, 0))
	}
}

// removeEmptyLogs removes log files without content: badger makes them in two
// steps and does not open a store that was cut off between the two.
func removeEmptyLogs(dir string) error {
	for _, pattern := range []string{"*.mem", "*.vlog"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, f := range files {
			if st, err := os.Stat(f); err == nil && st.Size() == 0 {
				if err := os.Remove(f); err != nil {
					return fmt.Errorf("store: %w", err)
				}
			}
		}
	}
	return nil
}

func (b *badgerBackend) write(w *writes) error {
	done, err := b.use()
	if err != nil {
		return err
	}
	defer done()
	txn := b.db.NewTransaction(true)
	defer func() { txn.Discard() }()
	size, n := 0, 0
	for i := range w.list {
		e := &w.list[i]
		cost := entryCost(len(e.key), len(e.value))
		if n > 0 && (size+cost > int(b.tune.memtable*14/100) || n >= b.tune.entries*5/4) {
			if err := txn.Commit(); err != nil {
				return err
			}
			if err := b.wal.sync(); err != nil { // the order matters, see writeCut
				return err
			}
			txn = b.db.NewTransaction(true)
			size, n = 0, 0
		}
		var err error
		if e.value == nil {
			err = txn.Delete(e.key)
		} else {
			err = txn.Set(e.key, e.value)
		}
		if err != nil {
			return err
		}
		size, n = size+cost, n+1
	}
	if err := txn.Commit(); err != nil {
		return err
	}
	return b.wal.sync()
}

func (b *badgerBackend) get(key []byte, f func([]byte) error) (err error) {
	defer guard(&err)()
	done, err := b.use()
	if err != nil {
		return err
	}
	defer done()
	return b.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return errNotFound
		}
		if err != nil {
			return err
		}
		b.pages.trim()
		return item.Value(f)
	})
}

func (b *badgerBackend) scan(prefix, start []byte, keysOnly bool, f func(key, value []byte, size int) error) (err error) {
	defer guard(&err)()
	done, err := b.use()
	if err != nil {
		return err
	}
	defer done()
	err = b.db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix, o.PrefetchValues = prefix, false
		it := txn.NewIterator(o)
		defer it.Close()
		if bytes.Compare(start, prefix) < 0 {
			start = prefix
		}
		for it.Seek(start); it.ValidForPrefix(prefix); it.Next() {
			item := it.Item()
			size := int(item.ValueSize())
			b.pages.trim()
			if keysOnly {
				if err := f(item.Key(), nil, size); err != nil {
					return err
				}
				continue
			}
			if err := item.Value(func(v []byte) error { return f(item.Key(), v, size) }); err != nil {
				return err
			}
		}
		return nil
	})
	if err == errStop {
		return nil
	}
	return err
}

func (b *badgerBackend) close() (err error) {
	if b.closed.Swap(true) {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("badger: %v", p)
		}
	}()
	err = b.db.Close()
	b.wal.close()
	return err
}

// verify reads every table and compares checksums.
func (b *badgerBackend) verify() (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("badger: %v", p)
		}
	}()
	return b.db.VerifyChecksum()
}

// badgerLog hands badger's warnings to our log; its chatter is dropped.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) Errorf(f string, a ...any) {
	l.log.Error("badger", "err", strings.TrimSpace(fmt.Sprintf(f, a...)))
}

func (l badgerLog) Warningf(f string, a ...any) {
	l.log.Warn("badger", "err", strings.TrimSpace(fmt.Sprintf(f, a...)))
}

func (l badgerLog) Infof(string, ...any)  {}
func (l badgerLog) Debugf(string, ...any) {}

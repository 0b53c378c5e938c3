package store

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"github.com/dgraph-io/ristretto/v2/z"
)

// salvaged counts what a damaged store gave.
type salvaged struct{ good, bad int }

// salvage copies what can be read of a damaged store into this one, which is
// empty: first record by record from each table file, badger's manifest left
// aside, then from the logs, which are newer. The files there stay as they are.
func (s *Store) salvage(dir string) (r salvaged, err error) {
	latest := make(map[string]salvagedKey)
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		return r, err
	}
	slices.Sort(tables)
	for _, f := range tables {
		err := readTable(f, s.tune, func(key []byte, version uint64, deleted bool, _ []byte) error {
			if old, ok := latest[string(key)]; !ok || version >= old.version {
				latest[string(key)] = salvagedKey{version, deleted}
			}
			return nil
		})
		if err != nil {
			r.bad++
			s.opts.Log.Warn("a table of the damaged store cannot be read whole", "file", f, "err", err)
		}
	}
	logs, err := s.salvageLogs(dir)
	if err != nil {
		r.bad++
		s.opts.Log.Warn("the logs of the damaged store cannot be read", "err", err)
	}
	if logs != nil {
		defer logs.remove()
		logs.each(func(key []byte, version uint64, deleted bool, _ []byte) error {
			if old, ok := latest[string(key)]; !ok || version >= old.version {
				latest[string(key)] = salvagedKey{version, deleted}
			}
			return nil
		})
	}
	var w writes
	copyOne := func(key []byte, version uint64, deleted bool, value []byte) error {
		if l := latest[string(key)]; deleted || l.version != version || l.deleted {
			return nil
		}
		if !wellFormed(key, value) {
			r.bad++
			return nil
		}
		w.put(slices.Clone(key), append([]byte{}, value...))
		r.good++
		if w.size > s.tune.txn/2 {
			err := s.be.write(&w)
			w.reset()
			return err
		}
		return nil
	}
	for _, f := range tables {
		if err := readTable(f, s.tune, copyOne); err != nil && w.size == 0 {
			continue // counted above
		}
	}
	if logs != nil {
		if err := logs.each(copyOne); err != nil {
			return r, err
		}
	}
	if len(w.list) > 0 {
		if err := s.be.write(&w); err != nil {
			return r, err
		}
	}
	s.clearLocked()
	if err := s.restore(); err != nil {
		return r, err
	}
	return r, s.loseMissing()
}

type salvagedKey struct {
	version uint64
	deleted bool
}

// badgerDelete is badger's mark of a deleted key in an entry's meta.
const badgerDelete = 1 << 0

// readTable calls f for each entry of one table file until a block is damaged.
// Without f it only opens it.
func readTable(file string, t tuning, f func(key []byte, version uint64, deleted bool, value []byte) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // parts of it may be unreadable
	defer func() {
		if p := recover(); p != nil { // badger panics on damaged indexes
			err = fmt.Errorf("%v", p)
		}
	}()
	mf, err := z.OpenMmapFile(file, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer mf.Close(-1)
	tb, err := table.OpenTable(mf, table.Options{
		ReadOnly: true, BlockSize: t.block, Compression: options.None, ChkMode: options.OnBlockRead,
	})
	if err != nil {
		return err
	}
	if f == nil {
		return nil
	}
	it := tb.NewIterator(table.NOCACHE)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		v := it.Value()
		if err := f(y.ParseKey(it.Key()), y.ParseTs(it.Key()), v.Meta&badgerDelete != 0, v.Value); err != nil {
			return err
		}
	}
	return nil
}

// salvagedLogs is a badger made of a damaged store's logs alone.
type salvagedLogs struct {
	dir string
	db  *badger.DB
}

// salvageLogs copies the logs, since badger shortens what it opens.
func (s *Store) salvageLogs(from string) (*salvagedLogs, error) {
	files, err := filepath.Glob(filepath.Join(from, "*.mem"))
	if err != nil || len(files) == 0 {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(s.dir), ".salvage-")
	if err != nil {
		return nil, err
	}
	l := &salvagedLogs{dir: dir}
	for _, f := range files {
		if err := copyFile(filepath.Join(dir, filepath.Base(f)), f); err != nil {
			l.remove()
			return nil, err
		}
	}
	if err := removeEmptyLogs(dir); err != nil {
		l.remove()
		return nil, err
	}
	if l.db, err = openQuietly(s.tune.badger(dir).WithLogger(nil)); err != nil {
		l.remove()
		return nil, err
	}
	return l, nil
}

func (l *salvagedLogs) each(f func(key []byte, version uint64, deleted bool, value []byte) error) error {
	return l.db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.AllVersions, o.PrefetchValues = true, false
		it := txn.NewIterator(o)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			item := it.Item()
			err := item.Value(func(v []byte) error {
				return f(item.Key(), item.Version(), item.IsDeletedOrExpired(), v)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *salvagedLogs) remove() {
	if l.db != nil {
		l.db.Close()
	}
	os.RemoveAll(l.dir)
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// wellFormed says whether a record can be decoded.
func wellFormed(key, value []byte) bool {
	if len(key) < 2 {
		return false
	}
	var err error
	id, _ := keyID(key, 0)
	switch string(key[:2]) {
	case prefixGroup:
		if isPart(key) {
			return true
		}
		var r bodyReader
		if r, err = readBodies(id, value); err != nil {
			return false
		}
		var m messageRecord
		for {
			_, body, ok, err := r.next()
			if !ok || err != nil {
				return err == nil
			}
			if _, err := m.UnmarshalMsg(body); err != nil {
				return false
			}
		}
	case prefixQueue:
		gid, ok := keyID(key, 1)
		_, err = readQgroup(gid, value)
		return ok && err == nil
	case prefixFlight:
		var r flightRecord
		_, err = r.UnmarshalMsg(value)
	case prefixHold:
		var r holdRecord
		_, err = r.UnmarshalMsg(value)
	case prefixSession:
		var r sessionRecord
		_, err = r.UnmarshalMsg(value)
	case prefixSubscription:
		var r subscriptionRecord
		_, err = r.UnmarshalMsg(value)
	case prefixWill:
		var r willRecord
		_, err = r.UnmarshalMsg(value)
	case prefixTopics:
		var rec retainedGroupReader
		if rec, err = readRetainedGroup(value); err != nil || rec.Count == 0 {
			return false
		}
		var m messageRecord
		for rest := rec.Entries; len(rest) > 0; {
			if rest, err = m.UnmarshalMsg(rest); err != nil {
				return false
			}
		}
		return rec.each(func([]byte, []byte, bool) bool { return true }) == nil
	case prefixRetained:
		var r retainedRecord
		_, err = r.UnmarshalMsg(value)
	case prefixParts:
		return len(value) == 8
	case prefixValue:
	case prefixMeta:
		if string(key) == keyIDs {
			var r idsRecord
			_, err = r.UnmarshalMsg(value)
			return err == nil && r.Messages < math.MaxUint64/2
		}
		return string(key) == keyFormat
	default:
		return false
	}
	return err == nil
}

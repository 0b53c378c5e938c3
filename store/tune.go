package store

import "github.com/dgraph-io/badger/v4"

// tuning is what follows from the memory the store may take. The numbers were measured;
// docs/STORE.md says how. Two rules lie behind them: a table builder takes the
// next power of two above twice the table's size, so tables are a little smaller
// than one; and a record larger than a block makes the block buffer be copied
// and doubled, so blocks are larger than records.
type tuning struct {
	memtable     int64
	memtables    int
	table        int64
	block        int
	stall        int // tables in level 0 that stop writes
	record       int // bytes of one body record
	txn          int // bytes of one transaction
	entries      int // keys of one transaction
	threshold    int64
	largeMessage int // a larger message is chunked
}

func tuneFor(o Options) tuning {
	t := tuning{
		memtable: 2 << 20, memtables: 1, table: 2047 << 10, block: 128 << 10, stall: 4, record: 112 << 10,
	}
	if o.Large {
		t.memtable, t.memtables, t.table, t.stall = 16<<20, 2, 12000<<10, 8
	}
	t.txn = int(t.memtable * 13 / 100)
	if o.MaxGroup > 0 {
		t.txn = min(t.txn, max(o.MaxGroup, 16<<10))
		t.record = min(t.record, t.txn)
	}
	t.entries = int(t.memtable * 12 / 100 / 128) // badger: 15 % over the size of a skip list node
	t.threshold = min(t.memtable*15/100-1, 1<<20)
	t.largeMessage = t.record * 3 / 4
	return t
}

func (t tuning) badger(dir string) badger.Options {
	o := badger.DefaultOptions(dir).
		WithSyncWrites(false). // wal.sync does it
		WithDetectConflicts(false).
		WithCompression(0).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithNumCompactors(2).
		WithMetricsEnabled(false).
		WithValueLogFileSize(1 << 20). // nothing goes there, and it has its blocks from the start
		WithBaseLevelSize(maxInt31).
		WithMemTableSize(t.memtable).
		WithNumMemtables(t.memtables).
		WithBaseTableSize(t.table).
		WithBlockSize(t.block).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(t.stall).
		WithValueThreshold(t.threshold)
	o.TableSizeMultiplier = 1
	return o
}

// maxInt31 stands for 2 GB, more than the queues will hold, so that there are no
// levels in between and one compaction at a time.
const maxInt31 = 1<<31 - 1

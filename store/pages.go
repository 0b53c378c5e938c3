package store

import "github.com/dgraph-io/badger/v4"

// pages keeps the tables' mapped pages from counting as the process's memory: a
// queue that is read from one end to the other would map all of it. They stay
// in the page cache, and whoever reads them again maps them again. Nothing
// happens without our corrections to badger (docs/decisions/0002).
type pages struct {
	db interface{ TrimPages() }
}

func pagesOf(db *badger.DB) (p pages) {
	p.db, _ = any(db).(interface{ TrimPages() })
	p.trim() // opening has looked into every table
	return p
}

// trim gives pages back when a few megabytes were read since the last time.
func (p pages) trim() {
	if p.db != nil {
		p.db.TrimPages()
	}
}

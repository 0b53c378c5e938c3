package broker

import (
	"runtime/debug"
	"sync/atomic"
	"time"
)

const (
	tidyAfter = 500         // connections made since the last time
	tidyQuiet = time.Second // without a new one
)

// tidying gives memory back to the system after a storm of connections. Shaking
// hands leaves some 20 KiB of garbage a connection behind; on a small board that
// would stay resident until the collector has a reason of its own to run, which
// a gateway at rest may not give it for minutes.
type tidying struct {
	made  atomic.Int64
	armed atomic.Bool
}

// note counts a connection. It costs two atomic operations at most.
func (t *tidying) note() {
	if t.made.Add(1) >= tidyAfter && t.armed.CompareAndSwap(false, true) {
		t.wait(t.made.Load())
	}
}

// wait looks again when it has been quiet for long enough. While connections
// keep coming the collector has its hands full anyway.
func (t *tidying) wait(seen int64) {
	time.AfterFunc(tidyQuiet, func() {
		if made := t.made.Load(); made != seen {
			t.wait(made)
			return
		}
		t.made.Store(0)
		t.armed.Store(false)
		debug.FreeOSMemory()
	})
}

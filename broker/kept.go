package broker

import (
	"sync/atomic"

	"gatewayd/mqtt"
)

// keptBytes is what clients make the broker keep that is in no queue: the
// beginnings of packets whose rest has not come, and the names that stand for
// topic aliases. Each client alone may have a packet's and ten names' worth of
// it; all together may have a quarter of the memory limit, because a thousand
// half packets would be there before the next measurement of the memory.
type keptBytes struct{ n atomic.Int64 }

// keptFrom is the size from which the beginning of a packet counts: every
// publisher of some speed leaves a little.
const keptFrom = 4 << 10

// account counts what the conn keeps now. Who makes it grow above the bound is
// disconnected. The reader calls it.
func (c *conn) account(t *turn) {
	n := c.aliasBytes
	if size := cap(c.partial); size >= keptFrom {
		n += size
	}
	if n == c.counted {
		return
	}
	grown := n > c.counted
	all := c.b.kept.n.Add(int64(n - c.counted))
	c.counted = n
	if limit := c.b.opt().MemoryLimit; grown && limit > 0 && all > limit/4 {
		c.fail(t, reasonError(mqtt.QuotaExceeded, "unfinished packets and topic aliases take all the memory there is for them"))
	}
}

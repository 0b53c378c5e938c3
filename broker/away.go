package broker

import (
	"encoding/binary"
	"sync"

	"gatewayd/store"
)

// awaySet gathers since when clients are away, until it is handed to the store
// as lazy values.
type awaySet struct {
	mu   sync.Mutex
	list map[store.SessionID]int64
}

func (a *awaySet) put(id store.SessionID, since int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.list == nil {
		a.list = make(map[store.SessionID]int64)
	}
	a.list[id] = since
}

// save hands over what was gathered; the store writes it behind.
func (a *awaySet) save(b *Broker) {
	a.mu.Lock()
	list := a.list
	a.list = nil
	a.mu.Unlock()
	if len(list) == 0 {
		return
	}
	op := b.newOp()
	for id, since := range list {
		op.batch.PutLazy(awayKey(id), binary.BigEndian.AppendUint64(nil, uint64(since)))
	}
	b.submitOrRetry(op)
}

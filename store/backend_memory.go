package store

import (
	"bytes"
	"slices"
	"strings"
	"sync"
)

// memoryBackend keeps the records in memory: for tests, and for a gateway that
// was told not to keep anything.
type memoryBackend struct {
	mu      sync.RWMutex
	records map[string][]byte
}

func newMemoryBackend() *memoryBackend { return &memoryBackend{records: make(map[string][]byte)} }

func (b *memoryBackend) write(w *writes) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range w.list {
		if e.value == nil {
			delete(b.records, string(e.key))
		} else {
			b.records[string(e.key)] = bytes.Clone(e.value)
		}
	}
	return nil
}

func (b *memoryBackend) get(key []byte, f func([]byte) error) error {
	b.mu.RLock()
	v, ok := b.records[string(key)]
	b.mu.RUnlock()
	if !ok {
		return errNotFound
	}
	return f(v)
}

func (b *memoryBackend) scan(prefix, start []byte, keysOnly bool, f func(key, value []byte, size int) error) error {
	b.mu.RLock()
	var keys []string
	for k := range b.records {
		if strings.HasPrefix(k, string(prefix)) && k >= string(start) {
			keys = append(keys, k)
		}
	}
	b.mu.RUnlock()
	slices.Sort(keys)
	for _, k := range keys {
		b.mu.RLock()
		v, ok := b.records[k]
		b.mu.RUnlock()
		if !ok {
			continue
		}
		size := len(v)
		if keysOnly {
			v = nil
		}
		if err := f([]byte(k), v, size); err != nil {
			if err == errStop {
				return nil
			}
			return err
		}
	}
	return nil
}

func (b *memoryBackend) close() error { return nil }

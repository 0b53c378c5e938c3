package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"os"
	"path/filepath"
	"time"
)

// record is one thing that happened.
type record struct {
	Op, Client, Topic string
	Payload           []byte
	ID                uint16
	QoS               byte
	Retain            bool
}

// journal is the append-only log: each entry has a length and a checksum, so
// that a torn end is seen and cut off.
type journal struct {
	file    *os.File
	mode    string
	pending []byte
	exact   bool // something in pending must be durable in every mode but "none"

	// In mode "messages" everything else is written a second later.
	later      []byte
	laterSince time.Time
}

func openLog(name, mode string, each func(record)) (*journal, error) {
	b, err := os.ReadFile(name)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	good := 0
	for rest := b; len(rest) >= 8; {
		n := int(binary.BigEndian.Uint32(rest))
		if n == 0 || n > len(rest)-8 || crc32.ChecksumIEEE(rest[8:8+n]) != binary.BigEndian.Uint32(rest[4:]) {
			break
		}
		var r record
		if err := json.NewDecoder(bytes.NewReader(rest[8 : 8+n])).Decode(&r); err != nil {
			return nil, err
		}
		each(r)
		good += 8 + n
		rest = rest[8+n:]
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(int64(good)); err != nil {
		return nil, err
	}
	if _, err := f.Seek(int64(good), 0); err != nil {
		return nil, err
	}
	if mode != "none" {
		if err := f.Sync(); err != nil {
			return nil, err
		}
		dir, err := os.Open(filepath.Dir(name)) // the file's name must be durable too
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		if err := dir.Sync(); err != nil {
			return nil, err
		}
	}
	return &journal{file: f, mode: mode}, nil
}

func (j *journal) add(r record) {
	b, err := json.Marshal(r)
	if err != nil {
		fail(err)
	}
	exact := r.Op == "message" || r.Op == "session" || r.Op == "subscribe"
	if j.mode == "messages" && !exact {
		if len(j.later) == 0 {
			j.laterSince = time.Now()
		}
		j.later = entry(j.later, b)
		return
	}
	j.pending = entry(j.pending, b)
	j.exact = j.exact || exact
}

func entry(dst, b []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(b)))
	dst = binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(b))
	return append(dst, b...)
}

func (j *journal) save() error {
	if len(j.later) > 0 && time.Since(j.laterSince) > time.Second {
		j.pending, j.later = append(j.pending, j.later...), j.later[:0]
	}
	if len(j.pending) == 0 {
		return nil
	}
	_, err := j.file.Write(j.pending)
	if err == nil && (j.mode == "all" || j.mode == "messages" && j.exact) {
		err = j.file.Sync()
	}
	j.pending, j.exact = j.pending[:0], false
	return err
}

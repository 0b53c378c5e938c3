#!/usr/bin/env bash
# Prints the path of a go.mod for `go build -modfile` in which badger and its allocator have a few expressions corrected
# (docs/decisions/0002): tables are corrupted on 32-bit machines, and a disk that is full, read-only or broken ends the
# process by SIGBUS where it should be an error. The modules are copied from the module cache at build time; go does not
# let an -overlay replace files there. Digests guard the edits: with another version they have to be looked at again.
#   badger-overlay.sh [MODULE]   for another module of the repository, by its folder: test/bridge
set -euo pipefail
cd "$(dirname "$0")/.."
module=${1:-.}
ristretto=github.com/dgraph-io/ristretto/v2 badger=github.com/dgraph-io/badger/v4

fail() {
	echo "$0: $*" >&2
	exit 1
}

go mod download "$ristretto" "$badger"
out=bin/overlay
mkdir -p "$out"
# Several builds may ask at once, and one may be compiling from what another would replace.
exec 9>"$out/lock"
flock 9
done=$out/made-from
state=$(cat go.mod go.sum scripts/badger-overlay.sh | sha256sum)

# answer writes the go.mod that was asked for and prints its path
answer() {
	local name=$out/go up=.
	if [ "$module" != . ]; then
		name=$out/${module//\//-}
		up=$(realpath --relative-to="$module" .) # replacements are relative to the module's root
	fi
	cp "$module/go.mod" "$name.new.mod"
	cp "$module/go.sum" "$name.new.sum"
	go mod edit -replace "$ristretto=$up/$out/ristretto" -replace "$badger=$up/$out/badger" "$name.new.mod"
	for end in sum mod; do # only what differs, and in one step: others may be reading it
		cmp -s "$name.new.$end" "$name.$end" && rm "$name.new.$end" || mv "$name.new.$end" "$name.$end"
	done
	echo "$PWD/$name.mod"
}
if [ -f "$done" ] && [ "$(<"$done")" = "$state" ]; then
	answer
	exit 0
fi

# copy MODULE NAME: a copy that may be edited
copy() {
	local dir new=$out/new.$$
	dir=$(go list -m -f '{{.Dir}}' "$1")
	rm -rf "$new" "${out:?}/$2"
	mkdir -p "$new"
	cp -r "$dir/." "$new/"
	chmod -R u+w "$new"
	mv "$new" "$out/$2"
}

# original FILE DIGEST
original() {
	printf '%s  %s\n' "$2" "$out/$1" | sha256sum --check --status ||
		fail "$1 is not the file this correction was made for; look at it and renew the digest, or drop the correction"
}

# correct FILE WRONG RIGHT
correct() {
	local text
	text=$(<"$out/$1")
	[ "${text/"$2"/}" != "$text" ] || fail "$1 does not have what is to be corrected: $2"
	printf '%s\n' "${text/"$2"/"$3"}" >"$out/$1"
}

copy "$ristretto" ristretto
copy "$badger" badger

# On 32-bit machines the shift of an int leaves 0, and the second buffer of a table builder overwrites the first.
original ristretto/z/allocator.go b9e7b23942c19c22f753ad4d09c1dcacc23bba627034d724d04ec078109a0f0c
correct ristretto/z/allocator.go 'uint64((bufIdx+1)<<32)' 'uint64(bufIdx+1)<<32'

# A mapped file gets its blocks when it is made: a full disk is an error then, and not a fault when a page is written.
original ristretto/z/file.go 41c1400f1d3e4c9437359e3843889333778322ae4465ab6681f5838849bf9a5f
correct ristretto/z/file.go 'if err := fd.Truncate(int64(sz)); err != nil {' 'if err := Preallocate(fd, int64(sz)); err != nil {
			fd.Close()
			os.Remove(filename)'
cat >"$out/ristretto/z/preallocate_linux.go" <<'GO'
package z

import (
	"errors"
	"os"
	"syscall"
)

// Preallocate gives a file its size and, where the file system can, its blocks.
func Preallocate(fd *os.File, size int64) error {
	for {
		err := syscall.Fallocate(int(fd.Fd()), 0, 0, size)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOSYS):
			return fd.Truncate(size)
		default:
			return os.NewSyscallError("fallocate", err)
		}
	}
}
GO
cat >"$out/ristretto/z/preallocate_other.go" <<'GO'
//go:build !linux

package z

import "os"

// Preallocate gives a file its size.
func Preallocate(fd *os.File, size int64) error { return fd.Truncate(size) }
GO
cat >"$out/ristretto/z/fault.go" <<'GO'
package z

import (
	"fmt"
	"runtime/debug"
)

// Guard makes a fault in a mapping an error: defer Guard(&err)().
func Guard(err *error) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		p := recover()
		if p == nil {
			return
		}
		if f, ok := p.(interface{ Addr() uintptr }); ok {
			*err = fmt.Errorf("the disk failed under a mapped file: %v", f)
			return
		}
		panic(p)
	}
}
GO

# Writing into a mapped file that has become read-only, or whose disk fails, is an error and not the end.
original badger/db.go 823fe02d0797e1e95bab29523a26fb4fda0bee8f7635397d41acad6e05359f7a
correct badger/db.go 'func (db *DB) writeToLSM(b *request) error {' 'func (db *DB) writeToLSM(b *request) (err error) {
	defer z.Guard(&err)()'
original badger/table/table.go eadaeb76de9e82f21d9fe77e52ae2ee164256c656e3c9a2f8ad2ba76c6808677
correct badger/table/table.go 'func CreateTable(fname string, builder *Builder) (*Table, error) {' 'func CreateTable(fname string, builder *Builder) (made *Table, err error) {
	defer z.Guard(&err)()'

# A log that cannot be made leaves the memtable in place, instead of none.
correct badger/db.go '	for {
		select {
		case db.flushChan <- db.mt:' '	var next *memTable
	for {
		if next == nil && len(db.flushChan) < cap(db.flushChan) { // nobody else sends
			if next, err = db.newMemTable(); err != nil {
				return y.Wrapf(err, "cannot create new mem table")
			}
		}
		select {
		case db.flushChan <- db.mt:'
correct badger/db.go '			db.mt, err = db.newMemTable()
			if err != nil {
				return y.Wrapf(err, "cannot create new mem table")
			}' '			db.mt = next'

# A table that cannot be written ends the compaction; badger drops that error, and with it what the table held.
original badger/levels.go 14b18b6371bdf778e03f25bb88d6100f096cce6f5828f3c71a40f8572e43e557
correct badger/levels.go 'defer inflightBuilders.Done(err)
			defer builder.Close()' 'defer func() { inflightBuilders.Done(err) }()
			defer builder.Close()'
original badger/y/y.go 207464f3e304485ac923767945fb051ad9838a4df3388cae4c6ca3776d08999a
correct badger/y/y.go '	if err != nil {
		t.errCh <- err
	}' '	if err != nil {
		select {
		case t.errCh <- err:
		default: // there are others
		}
	}'
correct badger/y/y.go '			if err != nil {
				return err
			}
		}
	}
}' '			if err != nil {
				select {
				case t.errCh <- err: // for Finish
				default:
				}
				return err
			}
		}
	}
}'

# Tables and logs are written with write(2), not page by page through their mapping, whose faults were a third of what
# storing a message cost; a full, failed or read-only disk is an error then. The pages are the same ones.
original badger/memtable.go 6bb2c6aced2934ca6363f31da71c306695fa3b996a04c9e953d9bc086e21886c
correct badger/memtable.go '	y.AssertTrue(plen == copy(lf.Data[lf.writeAt:], buf.Bytes()))
	lf.writeAt += uint32(plen)

	lf.zeroNextEntry()
	return nil' '	y.AssertTrue(plen <= len(lf.Data)-int(lf.writeAt))
	buf.Write(make([]byte, min(maxHeaderSize, len(lf.Data)-int(lf.writeAt)-plen))) // zeros end the log
	if _, err := lf.Fd.WriteAt(buf.Bytes(), int64(lf.writeAt)); err != nil {
		return err
	}
	lf.writeAt += uint32(plen)
	return nil'
correct badger/table/table.go '	written := bd.Copy(mf.Data)
	y.AssertTrue(written == len(mf.Data))
	if err' '	if err := bd.write(mf.Fd); err != nil {
		mf.Close(-1)
		return nil, y.Wrapf(err, "while writing %s", fname)
	}
	if err'
original badger/table/builder.go 5cd664d1f7f53169ef353c7480688d9ed946ec64b77f0699095f7d7805fc6453
correct badger/table/builder.go 'func (b *Builder) Done() buildData {' '// write is Copy into a file.
func (bd *buildData) write(f io.WriterAt) error {
	at := int64(0)
	put := func(b []byte) error {
		n, err := f.WriteAt(b, at)
		at += int64(n)
		return err
	}
	for _, bl := range bd.blockList {
		if err := put(bl.data[:bl.end]); err != nil {
			return err
		}
	}
	for _, b := range [][]byte{bd.index, y.U32ToBytes(uint32(len(bd.index))), bd.checksum, y.U32ToBytes(uint32(len(bd.checksum)))} {
		if err := put(b); err != nil {
			return err
		}
	}
	y.AssertTrue(at == int64(bd.Size))
	return nil
}

func (b *Builder) Done() buildData {'
correct badger/table/builder.go '	"errors"
' '	"errors"
	"io"
'

# What a table builder took beyond its first buffer, because blocks were not full, was twice as much and kept for good.
correct ristretto/z/allocator.go '	pageSize := 2 * len(a.buffers[bufIdx-1])
' '	pageSize := 2 * len(a.buffers[bufIdx-1])
	if bufIdx == 1 && pageSize > 2<<20 {
		pageSize /= 2
	}
'
correct ristretto/z/allocator.go 'a.TrimTo(400 << 20)' 'a.TrimTo(len(a.buffers[0]) + 1)'

# A table's index is some kilobytes; three megabytes for each table kept the collector busy.
correct badger/table/builder.go 'fbs.NewBuilder(3 << 20)' 'fbs.NewBuilder(16 << 10)'

# Pages of tables that were read count as the process's until the kernel wants them back; they are given back every few
# megabytes, in compactions and where the store reads.
cat >"$out/badger/pages.go" <<'GO'
package badger

import "github.com/dgraph-io/badger/v4/table"

// keptPages is how much may be read from tables before their pages are given back.
const keptPages = 4 << 20

// TrimPages takes the pages of the tables that were read out of the process when they have become many. They stay in the
// page cache.
func (db *DB) TrimPages() {
	if table.BytesRead.Load() < keptPages {
		return
	}
	table.BytesRead.Store(0)
	for _, l := range db.lc.levels {
		l.RLock() // the level's tables stay mapped meanwhile
		for _, t := range l.tables {
			t.DropPages()
		}
		l.RUnlock()
	}
}
GO
cat >"$out/badger/table/pages.go" <<'GO'
package table

import "sync/atomic"

// BytesRead is how much was read from mapped tables since somebody set it to zero.
var BytesRead atomic.Int64
GO
correct badger/table/table.go '	return t.Bytes(off, sz)
' '	BytesRead.Add(int64(sz))
	return t.Bytes(off, sz)
'
correct badger/levels.go '			// See if we need to skip the prefix.
' '			s.kv.TrimPages()
			// See if we need to skip the prefix.
'
cat >"$out/badger/table/pages_linux.go" <<'GO'
package table

import "golang.org/x/sys/unix"

// DropPages takes the table's pages out of the process; whoever reads it next maps them again.
func (t *Table) DropPages() {
	if !t.IsInmemory && len(t.Data) > 0 {
		_ = unix.Madvise(t.Data, unix.MADV_DONTNEED)
	}
}
GO
cat >"$out/badger/table/pages_other.go" <<'GO'
//go:build !linux

package table

// DropPages is for Linux, where it keeps the pages' content.
func (t *Table) DropPages() {}
GO

# A manifest record that was written in part would hide all after it.
original badger/manifest.go debd72bfbea94e63cc23170de940e1ba5dceb4e8f72dedc92da4b8e4f2c273a5
correct badger/manifest.go '		if _, err := mf.fp.Write(buf); err != nil {' '		at, err := mf.fp.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		if _, err := mf.fp.Write(buf); err != nil {
			_ = mf.fp.Truncate(at)
			_, _ = mf.fp.Seek(at, io.SeekStart)'

printf '%s\n' "$state" >"$done"
answer

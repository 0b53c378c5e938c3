package store

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// A backup is the line backupMagic, then each record as two lengths (varints),
// key and value, in order of keys; an empty key ends it, followed by the number
// of records and the CRC-32C of all before, so that a cut off one is noticed.
const backupMagic = "gatewayd store backup 1\n"

var errBackup = errors.New("store: this is not a whole backup")

// Backup writes a consistent image of the store, as it is at this moment, while
// it goes on working. What was submitted and not yet committed is not in it.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	s.mu.Lock()
	be := s.be
	s.mu.Unlock()
	if be == nil {
		return s.unusable()
	}
	sum := crc32.New(castagnoli)
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10)
	out.WriteString(backupMagic)
	var n uint64
	var head []byte
	err := be.scan(nil, nil, false, func(key, value []byte, _ int) error {
		if string(key) == keyPad {
			return nil
		}
		if n++; n%64 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		head = binary.AppendUvarint(head[:0], uint64(len(key)))
		head = binary.AppendUvarint(head, uint64(len(value)))
		out.Write(head)
		out.Write(key)
		_, err := out.Write(value)
		return err
	})
	if err != nil {
		return err
	}
	out.WriteByte(0)
	out.Write(binary.AppendUvarint(nil, n))
	if err := out.Flush(); err != nil {
		return err
	}
	_, err = w.Write(binary.BigEndian.AppendUint32(nil, sum.Sum32()))
	return err
}

// Restore makes a store in dir, which must be empty or not exist, of a backup.
// Unless the backup is whole and the store agrees with itself, nothing is left.
func Restore(dir string, r io.Reader) (err error) {
	if files, err := os.ReadDir(dir); err == nil && len(files) > 0 {
		return fmt.Errorf("store: %s is not empty", dir)
	}
	tmp := dir + ".restoring"
	if err := os.RemoveAll(tmp); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(tmp)
		}
	}()
	o := Options{}.withDefaults()
	be, err := openBadger(tmp, tuneFor(o), o.Log)
	if err != nil {
		return err
	}
	if err := readBackup(r, be, tuneFor(o).txn); err != nil {
		return errors.Join(err, be.close())
	}
	if err := be.close(); err != nil {
		return err
	}
	if err := Verify(tmp); err != nil {
		return err
	}
	os.Remove(dir) // an empty one is in the way
	if err := os.Rename(tmp, dir); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// summed counts the CRC of what is read through it.
type summed struct {
	r   *bufio.Reader
	sum uint32
}

func (s *summed) ReadByte() (byte, error) {
	b, err := s.r.ReadByte()
	if err == nil {
		s.sum = crc32.Update(s.sum, castagnoli, []byte{b})
	}
	return b, err
}

func (s *summed) take(n uint64) ([]byte, error) {
	if n > 16<<20 {
		return nil, errBackup
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(s.r, b); err != nil {
		return nil, errBackup
	}
	s.sum = crc32.Update(s.sum, castagnoli, b)
	return b, nil
}

func readBackup(r io.Reader, be backend, txn int) error {
	in := &summed{r: bufio.NewReaderSize(r, 64<<10)}
	if magic, err := in.take(uint64(len(backupMagic))); err != nil || string(magic) != backupMagic {
		return errBackup
	}
	var w writes
	var n uint64
	for {
		klen, err := binary.ReadUvarint(in)
		if err != nil {
			return errBackup
		}
		if klen == 0 {
			break
		}
		vlen, err := binary.ReadUvarint(in)
		if err != nil {
			return errBackup
		}
		key, err := in.take(klen)
		if err != nil {
			return err
		}
		value, err := in.take(vlen)
		if err != nil {
			return err
		}
		n++
		w.put(key, nonNil(value))
		if w.size > txn/2 {
			if err := be.write(&w); err != nil {
				return err
			}
			w.reset()
		}
	}
	if count, err := binary.ReadUvarint(in); err != nil || count != n {
		return errBackup
	}
	var sum [4]byte
	if _, err := io.ReadFull(in.r, sum[:]); err != nil || binary.BigEndian.Uint32(sum[:]) != in.sum {
		return errBackup
	}
	if len(w.list) == 0 {
		return nil
	}
	return be.write(&w)
}

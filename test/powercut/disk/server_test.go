package disk

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// nbd is a client that speaks just enough of the protocol.
type nbd struct {
	t *testing.T
	c net.Conn
}

func dialNBD(t *testing.T, s *Server) nbd {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go s.Serve(l)
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	n := nbd{t, c}
	n.read(18)
	n.put(uint32(3), uint64(magicOption), uint32(optExportName), uint32(0))
	if size := binary.BigEndian.Uint64(n.read(10)); int64(size) != s.cache.Size() {
		t.Fatalf("the disk says it has %d bytes", size)
	}
	return n
}

func (n nbd) put(values ...any) {
	for _, v := range values {
		if err := binary.Write(n.c, binary.BigEndian, v); err != nil {
			n.t.Fatal(err)
		}
	}
}

func (n nbd) read(size int) []byte {
	n.t.Helper()
	b := make([]byte, size)
	n.c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(n.c, b); err != nil {
		n.t.Fatal(err)
	}
	return b
}

func (n nbd) request(command uint32, at, length int, data []byte) {
	n.put(uint32(magicRequest), command, uint64(7), uint64(at), uint32(length), data)
}

func (n nbd) good() {
	n.t.Helper()
	if b := n.read(16); binary.BigEndian.Uint32(b) != magicReply || binary.BigEndian.Uint32(b[4:]) != 0 || b[15] != 7 {
		n.t.Fatalf("reply % x", b)
	}
}

// dead says that no reply comes.
func (n nbd) dead() {
	n.t.Helper()
	n.c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := n.c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		n.t.Fatalf("a disk without power answered or closed: %v", err)
	}
}

func TestServerKeepsWhatItFlushed(t *testing.T) {
	medium := memory(fill(4*BlockSize, '.'))
	s := NewServer(NewCache(medium, int64(len(medium))))
	n := dialNBD(t, s)
	n.request(cmdWrite, 0, BlockSize, fill(BlockSize, 'a'))
	n.good()
	if medium[0] != '.' {
		t.Error("a write was durable without a flush")
	}
	n.request(cmdFlush, 0, 0, nil)
	n.good()
	if medium[0] != 'a' {
		t.Error("a flushed write is not durable")
	}
	n.request(cmdWrite|cmdFUA, BlockSize, BlockSize, fill(BlockSize, 'b'))
	n.good()
	if medium[BlockSize] != 'b' {
		t.Error("a write with FUA is not durable")
	}
	n.request(cmdRead, BlockSize-1, 2, nil)
	n.good()
	if got := string(n.read(2)); got != "ab" {
		t.Errorf("read %q", got)
	}
}

func TestServerDiesAtTheCut(t *testing.T) {
	medium := memory(fill(4*BlockSize, '.'))
	s := NewServer(NewCache(medium, int64(len(medium))))
	n := dialNBD(t, s)
	told := make(chan struct{})
	s.OnCut(func() { close(told) })
	s.CutAfter(2, false)
	n.request(cmdWrite, 0, BlockSize, fill(BlockSize, 'a'))
	n.good()
	n.request(cmdFlush, 0, 0, nil) // the second request: not carried out
	n.dead()
	<-told
	if medium[0] != '.' {
		t.Error("the flush at which the power went was carried out")
	}
	if s.cache.Dirty() != 1 {
		t.Errorf("%d blocks were in flight", s.cache.Dirty())
	}
	if err := s.cache.Cut(rand.New(rand.NewPCG(1, 1))); err != nil {
		t.Fatal(err)
	}
	s.PowerOn()
	again := dialNBD(t, s)
	again.request(cmdRead, 0, 1, nil)
	again.good()
}

func TestCutWhileFlushing(t *testing.T) {
	medium := memory(fill(BlockSize, '.'))
	s := NewServer(NewCache(medium, int64(len(medium))))
	n := dialNBD(t, s)
	s.SetFlushDelay(20 * time.Millisecond)
	n.request(cmdWrite, 0, BlockSize, fill(BlockSize, 'a'))
	n.good()
	n.request(cmdFlush, 0, 0, nil)
	s.Cut()
	n.dead()
	if medium[0] != '.' {
		t.Error("a flush ended after the power had gone")
	}
}

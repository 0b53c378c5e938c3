package disk

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// The numbers of the NBD protocol (fixed newstyle negotiation) that are used.
const (
	magicGreeting = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption   = 0x49484156454f5054 // "IHAVEOPT"
	magicAnswer   = 0x3e889045565a9
	magicRequest  = 0x25609513
	magicReply    = 0x67446698

	optExportName = 1
	optAbort      = 2
	optInfo       = 6
	optGo         = 7

	repAck         = 1
	repInfo        = 3
	repUnsupported = 1<<31 | 1

	flagsExport = 1 | 1<<2 | 1<<3 // has flags, knows flush, knows FUA

	cmdRead  = 0
	cmdWrite = 1
	cmdDisc  = 2
	cmdFlush = 3
	cmdFUA   = 1 << 16
)

// ErrCut is why a server with no power does not answer.
var ErrCut = errors.New("the power is cut")

// Server serves one Cache to one client at a time.
type Server struct {
	cache *Cache

	mu       sync.Mutex // guards the fields below
	off      bool
	delay    time.Duration
	cutAfter int
	flushes  bool // cutAfter counts flushes only
	onCut    func()
}

// NewServer serves the cache.
func NewServer(c *Cache) *Server { return &Server{cache: c} }

// SetFlushDelay makes every flush take that long, as a card's does: the time
// in which much is in flight.
func (s *Server) SetFlushDelay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = d
}

// CutAfter cuts the power when that many more flushes with something to make
// safe, or writes and such flushes, have come; the last of them is not carried
// out. 0 is never.
func (s *Server) CutAfter(requests int, flushes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutAfter, s.flushes = requests, flushes
}

// OnCut lets tell be called once, when the power goes.
func (s *Server) OnCut(tell func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onCut = tell
}

// Cut takes the power away now: from this moment nothing is answered. It does
// nothing when the power is off already.
func (s *Server) Cut() {
	s.mu.Lock()
	tell := s.cutLocked()
	s.mu.Unlock()
	tell()
}

func (s *Server) cutLocked() (tell func()) {
	tell = s.onCut
	s.off, s.cutAfter, s.onCut = true, 0, nil
	if tell == nil {
		return func() {}
	}
	return tell
}

// PowerOn lets the server answer again, to a new connection.
func (s *Server) PowerOn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off, s.cutAfter, s.onCut = false, 0, nil
}

// admit counts a request against CutAfter and says whether there is power.
func (s *Server) admit(kind uint32) error {
	s.mu.Lock()
	tell := func() {}
	counts := kind == cmdFlush && s.cache.Dirty() > 0 || kind == cmdWrite && !s.flushes
	if counts && !s.off && s.cutAfter > 0 {
		if s.cutAfter--; s.cutAfter == 0 {
			tell = s.cutLocked()
		}
	}
	off := s.off
	s.mu.Unlock()
	tell()
	if off {
		return ErrCut
	}
	return nil
}

// Serve accepts connections until the listener is closed.
func (s *Server) Serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			if err := s.serve(c); errors.Is(err, ErrCut) {
				io.Copy(io.Discard, c) // a dead disk says nothing, not even "closed"
			}
		}()
	}
}

func (s *Server) serve(c net.Conn) error {
	in, out := bufio.NewReaderSize(c, 1<<20), bufio.NewWriterSize(c, 1<<20)
	if err := s.negotiate(in, out); err != nil {
		return err
	}
	var head [28]byte
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		if binary.BigEndian.Uint32(head[:]) != magicRequest {
			return errors.New("not an NBD request")
		}
		command := binary.BigEndian.Uint32(head[4:])
		at, n := int64(binary.BigEndian.Uint64(head[16:])), int(binary.BigEndian.Uint32(head[24:]))
		if command&0xffff == cmdDisc {
			return nil
		}
		if n > 64<<20 {
			return fmt.Errorf("a request of %d bytes", n)
		}
		data := make([]byte, n)
		if command&0xffff == cmdWrite {
			if _, err := io.ReadFull(in, data); err != nil {
				return err
			}
		}
		failed := s.carryOut(command, at, data)
		if errors.Is(failed, ErrCut) {
			return failed
		}
		var reply [16]byte
		binary.BigEndian.PutUint32(reply[:], magicReply)
		if failed != nil {
			binary.BigEndian.PutUint32(reply[4:], 5) // EIO
		}
		copy(reply[8:], head[8:16])
		out.Write(reply[:])
		if command&0xffff == cmdRead && failed == nil {
			out.Write(data)
		}
		if in.Buffered() < len(head) {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}

func (s *Server) carryOut(command uint32, at int64, data []byte) error {
	kind := command & 0xffff
	if err := s.admit(kind); err != nil {
		return err
	}
	switch kind {
	case cmdRead:
		_, err := s.cache.ReadAt(data, at)
		return err
	case cmdWrite:
		if _, err := s.cache.WriteAt(data, at); err != nil || command&cmdFUA == 0 {
			return err
		}
		return s.cache.Secure(len(data), at)
	case cmdFlush:
		s.mu.Lock()
		delay := s.delay
		s.mu.Unlock()
		time.Sleep(delay)
		if err := s.admit(cmdRead); err != nil {
			return err // the power went while the card was busy
		}
		return s.cache.Flush()
	}
	return fmt.Errorf("unknown command %d", kind)
}

// negotiate is the server's side of the fixed newstyle handshake.
func (s *Server) negotiate(in io.Reader, out *bufio.Writer) error {
	put := func(values ...any) error {
		for _, v := range values {
			binary.Write(out, binary.BigEndian, v)
		}
		return out.Flush()
	}
	if err := put(uint64(magicGreeting), uint64(magicOption), uint16(3)); err != nil {
		return err
	}
	var client uint32
	if err := binary.Read(in, binary.BigEndian, &client); err != nil {
		return err
	}
	for {
		var option struct {
			Magic        uint64
			Kind, Length uint32
		}
		if err := binary.Read(in, binary.BigEndian, &option); err != nil {
			return err
		}
		if option.Magic != magicOption || option.Length > 1<<16 {
			return errors.New("not an NBD option")
		}
		if _, err := io.CopyN(io.Discard, in, int64(option.Length)); err != nil {
			return err
		}
		size := uint64(s.cache.Size())
		switch option.Kind {
		case optExportName:
			if err := put(size, uint16(flagsExport)); err != nil || client&2 != 0 {
				return err // the client wants no zeroes behind it
			}
			return put([124]byte{})
		case optInfo, optGo:
			err := put(uint64(magicAnswer), option.Kind, uint32(repInfo), uint32(12), uint16(0), size, uint16(flagsExport),
				uint64(magicAnswer), option.Kind, uint32(repAck), uint32(0))
			if err != nil || option.Kind == optGo {
				return err
			}
		case optAbort:
			put(uint64(magicAnswer), option.Kind, uint32(repAck), uint32(0))
			return io.EOF
		default:
			if err := put(uint64(magicAnswer), option.Kind, uint32(repUnsupported), uint32(0)); err != nil {
				return err
			}
		}
	}
}

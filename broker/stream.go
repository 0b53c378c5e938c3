package broker

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	smallRead = 512      // what a stream keeps for reading while it is idle
	bigRead   = 32 << 10 // pooled, while there is more
)

var bigReads = sync.Pool{New: func() any { return new([bigRead]byte) }}

// stream is the transport of everything that is not plain TCP on Linux: one
// goroutine reads, another writes while there is something to write. The
// reader's part of the conn is stepped under mu, by the reading goroutine or by
// one that runs what was posted.
type stream struct {
	conn
	nc net.Conn

	mu       sync.Mutex // whoever holds it is the conn's reader
	resumed  sync.Cond  // the conn is not parked any more, or lost
	lost     bool
	draining bool

	postMu sync.Mutex // guards the fields below
	posted []streamPost
	runner bool

	// Guarded by the session's mutex.
	writing bool
	ending  bool
	closed  bool
}

// serveStream runs an established stream of bytes as an MQTT connection until
// it ends. TLS, WebSocket and PROXY come before: nc is what is left of them and
// p what they learnt.
func (b *Broker) serveStream(ctx context.Context, ln *listener, nc net.Conn, p *Peer) {
	s := &stream{nc: nc}
	s.resumed.L = &s.mu
	s.conn.init(b, s, ln, p)
	b.streams.add(s)
	defer b.streams.remove(s)
	s.conn.opened()
	unhook := context.AfterFunc(ctx, func() {
		s.post(func(t *turn) {
			s.conn.shutdown(t)
			s.drop(t, errShutdown)
		})
	})
	defer unhook()
	s.read()
}

// read feeds the conn until the connection is lost.
func (s *stream) read() {
	small := make([]byte, smallRead)
	var big *[bigRead]byte
	for {
		buf := small
		if big != nil {
			buf = big[:]
		}
		n, err := s.nc.Read(buf)
		s.mu.Lock()
		t := s.b.takeTurn()
		if n > 0 && !s.draining && !s.lost {
			s.conn.feed(buf[:n], t)
		}
		if err != nil && !s.lost {
			if errors.Is(err, io.EOF) {
				err = errPeerClosed
			}
			s.drop(t, err)
		}
		// The turn may hold this very stream: flush only starts its writer.
		s.b.giveTurn(t)
		for s.conn.stalled() && !s.lost && !s.draining {
			s.resumed.Wait()
		}
		lost := s.lost
		s.mu.Unlock()
		switch {
		case n == len(buf) && big == nil:
			big = bigReads.Get().(*[bigRead]byte)
		case n < len(small) && big != nil:
			bigReads.Put(big)
			big = nil
		}
		if lost {
			return
		}
	}
}

// streamPost is something to do as the conn's reader.
type streamPost struct {
	fn     func(t *turn)
	always bool // also when the connection is lost
}

// post runs fn as the conn's reader.
func (s *stream) post(fn func(t *turn)) { s.queue(streamPost{fn, false}) }

// always runs fn as the conn's reader, lost or not.
func (s *stream) always(fn func(t *turn)) { s.queue(streamPost{fn, true}) }

func (s *stream) queue(p streamPost) {
	s.postMu.Lock()
	s.posted = append(s.posted, p)
	start := !s.runner
	s.runner = true
	s.postMu.Unlock()
	if start {
		go s.runPosted()
	}
}

func (s *stream) runPosted() {
	for {
		s.postMu.Lock()
		todo := s.posted
		s.posted = nil
		if len(todo) == 0 {
			s.runner = false
			s.postMu.Unlock()
			return
		}
		s.postMu.Unlock()
		s.mu.Lock()
		t := s.b.takeTurn()
		for _, p := range todo {
			if !s.lost || p.always {
				p.fn(t)
			}
		}
		s.b.giveTurn(t)
		if !s.conn.stalled() || s.lost {
			s.resumed.Signal()
		}
		s.mu.Unlock()
	}
}

// flush starts a writer if there is none. Before there is a session, when only
// the reader touches the outbox, it writes itself.
func (s *stream) flush() {
	if s.sess == nil {
		s.flushAlone()
		return
	}
	s.lock()
	s.touched = false
	start := !s.writing && !s.closed && (s.out != nil || s.ending)
	if start {
		s.writing = true
	}
	s.unlock()
	if start {
		go s.write()
	}
}

// flushAlone writes the little that there is to say before CONNACK.
func (s *stream) flushAlone() {
	s.touched = false
	o, ending := s.out, s.ending
	s.out, s.ending, s.waiting = nil, false, 0
	if o != nil {
		if !s.closed {
			s.nc.SetWriteDeadline(time.Now().Add(2 * time.Second))
			if s.writeOutbox(o) == nil {
				s.nc.SetWriteDeadline(time.Time{})
			}
		}
		o.free()
	}
	if ending && !s.closed {
		s.closeWrite()
	}
}

// write writes until the outbox is empty.
func (s *stream) write() {
	for {
		s.lock()
		o := s.out
		s.out = nil
		if o == nil || s.closed {
			ending := s.ending && !s.closed
			s.ending = false
			s.writing = false
			want := (s.wantDrain || s.full.Load()) && !s.closed
			s.unlock()
			if o != nil {
				o.free()
			}
			if ending {
				s.closeWrite()
			}
			if want {
				s.post(s.conn.drained)
			}
			return
		}
		s.unlock()
		err := s.writeOutbox(o)
		s.lock()
		s.waiting -= o.size
		s.unlock()
		o.free()
		if err != nil {
			s.post(func(t *turn) { s.drop(t, err) })
		}
	}
}

func (s *stream) writeOutbox(o *outbox) error {
	if len(o.refs) == 0 {
		_, err := s.nc.Write(o.buf)
		return err
	}
	for skip := 0; skip < o.size; {
		if r := o.lacks(skip); r != nil {
			if err := r.read(); err != nil {
				s.post(func(t *turn) { s.conn.unreadable(t, r, err) })
				return err
			}
			s.conn.partTaken()
		}
		pieces := net.Buffers(o.pieces(nil, skip, 2*len(o.refs)+1))
		n, err := pieces.WriteTo(s.nc)
		if err != nil {
			return err
		}
		skip += int(n)
	}
	return nil
}

// closeWrite tells the peer that nothing more comes.
func (s *stream) closeWrite() {
	if w, ok := s.nc.(interface{ CloseWrite() error }); ok && w.CloseWrite() == nil {
		return
	}
	s.nc.Close()
}

// finish closes once the outbox is written; input is thrown away until the peer
// closes too.
func (s *stream) finish(t *turn) {
	if s.draining || s.lost {
		return
	}
	s.draining = true
	s.lock()
	s.ending = true
	t.touch(&s.conn)
	s.unlock()
	s.b.wheel.schedule(&s.conn, time.Second)
	s.nc.SetWriteDeadline(time.Now().Add(2 * time.Second))
	s.resumed.Signal()
}

func (s *stream) abort(t *turn) { s.drop(t, errAborted) }

// drop ends the connection.
func (s *stream) drop(t *turn, err error) {
	if s.lost {
		return
	}
	s.lost = true
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errPeerClosed
	}
	s.conn.gone(t, err)
	s.lock()
	s.closed = true
	s.unlock()
	s.nc.Close()
	s.resumed.Signal()
}

// streamSet are the streams that are open.
type streamSet struct {
	mu  sync.Mutex
	all map[*stream]struct{}
}

func (ss *streamSet) add(s *stream) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.all == nil {
		ss.all = make(map[*stream]struct{})
	}
	ss.all[s] = struct{}{}
}

func (ss *streamSet) remove(s *stream) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	delete(ss.all, s)
}

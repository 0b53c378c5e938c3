package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// listener is an open Listener.
type listener struct {
	Listener // its Settings are those of the start; now has those that hold
	b        *Broker
	net      net.Listener
	settings atomic.Pointer[Settings]
	count    atomic.Int32 // connections open
}

// open opens the listener's socket.
func (b *Broker) open(l Listener) (*listener, error) {
	ln := &listener{Listener: l, b: b, net: l.Opened}
	ln.settings.Store(&l.Settings)
	if ln.net == nil {
		var err error
		if ln.net, err = listen(l); err != nil {
			return nil, fmt.Errorf("listener %s: %w", l.Name, err)
		}
	}
	return ln, nil
}

func listen(l Listener) (net.Listener, error) {
	if path, ok := strings.CutPrefix(l.Address, "unix:"); ok {
		return listenUnix(path, l.SocketMode)
	}
	var lc net.ListenConfig
	if l.Interface != "" {
		lc.Control = bindTo(l.Interface)
	}
	return lc.Listen(context.Background(), "tcp"+l.Family, l.Address)
}

// listenUnix listens on a path. What a broker that was killed left there is
// cleared away; the socket of one that lives is not.
func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
			return nil, fmt.Errorf("%s: somebody listens there", path)
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			os.Remove(path)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if mode != 0 {
		if err := os.Chmod(path, mode); err != nil {
			l.Close()
			return nil, err
		}
	}
	return l, nil
}

// now returns the settings that hold for connections that come.
func (ln *listener) now() *Settings { return ln.settings.Load() }

// wrapped says whether more than bytes of MQTT come out of the socket.
func (ln *listener) wrapped() bool { return ln.TLS != nil || ln.WebSocket || ln.Proxy }

// admit counts a new connection in, unless a bound is reached.
func (ln *listener) admit() bool {
	o, max := ln.b.opt(), ln.now().MaxConnections
	n, all := ln.count.Add(1), ln.b.stats.admitted.Add(1)
	if max > 0 && int(n) > max ||
		o.MaxConnections > 0 && all > int64(o.MaxConnections) ||
		ln.b.memory.refuseConnections() {
		ln.leave()
		ln.b.stats.refused.Add(1)
		return false
	}
	ln.b.tidy.note()
	return true
}

// leave counts a connection out.
func (ln *listener) leave() {
	ln.count.Add(-1)
	ln.b.stats.admitted.Add(-1)
}

// serve accepts until ctx is done.
func (ln *listener) serve(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { ln.net.Close() })()
	defer ln.net.Close()
	taken, err := ln.b.loops.accept(ctx, ln)
	if taken {
		return err
	}
	for {
		nc, err := ln.net.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			ln.b.log.Warn("cannot accept", "listener", ln.Name, "err", err)
			ln.b.pause(ctx, 200*time.Millisecond)
			continue
		}
		if !ln.admit() {
			nc.Close()
			continue
		}
		if tcp, ok := nc.(*net.TCPConn); ok && ln.now().Delay {
			tcp.SetNoDelay(false)
		}
		go ln.greet(ctx, nc)
	}
}

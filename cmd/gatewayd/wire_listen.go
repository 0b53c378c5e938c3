package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"gatewayd/config"
)

// openListeners opens every listener of the configuration, those of HTTP last,
// or none. Sockets that systemd has opened already are taken over by their
// address, or by their name when it is that of a listener.
func openListeners(c *config.Config) (mqtt []net.Listener, http net.Listener, err error) {
	passed, err := passedSockets()
	if err != nil {
		return nil, nil, err
	}
	var open []net.Listener
	defer func() {
		if err != nil {
			for _, l := range open {
				l.Close()
			}
		}
	}()
	for i, l := range c.Listeners {
		nl := passed.take(l.Address)
		if nl == nil {
			if nl, err = listen(l.Address, l.Interface, l.SocketMode); err != nil {
				return nil, nil, listenFault(c, fmt.Sprintf("listeners[%d]", i), l.Address, l.Interface, err)
			}
		}
		open = append(open, nl)
	}
	mqtt = open
	if c.HTTP.Enabled() {
		if http = passed.take(c.HTTP.Address); http == nil {
			if http, err = listen(c.HTTP.Address, "", "0660"); err != nil {
				return nil, nil, listenFault(c, "http", c.HTTP.Address, "", err)
			}
		}
		open = append(open, http)
	}
	if left := passed.left(); left != "" {
		return nil, nil, c.Errorf("listeners", "add a listener with that address, or change the socket unit", "systemd passes the socket %s, which no listener names", left)
	}
	return mqtt, http, nil
}

// listenFault says why a socket could not be opened, and where it is asked for.
func listenFault(c *config.Config, path, address, device string, err error) error {
	at := path + ".address"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return c.Errorf(at, "stop the program that uses it or choose another", "%s is in use already", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return c.Errorf(at, "use an address of this machine", "%s is no address of this machine", address)
	case errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM):
		return c.Errorf(at, "use a port above 1023 or grant CAP_NET_BIND_SERVICE", "%s may not be opened", address)
	case device != "" && errors.Is(err, syscall.ENODEV):
		return c.Errorf(path+".interface", "use an interface that \"ip link\" shows", "there is no network interface %q", device)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	return c.Errorf(at, "use an address of this machine", "%s cannot be opened: %s", address, err)
}

func listen(address, device, mode string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return listenUnix(path, mode)
	}
	lc := net.ListenConfig{}
	if device != "" {
		lc.Control = func(_, _ string, raw syscall.RawConn) error {
			var bound error
			if err := raw.Control(func(fd uintptr) { bound = unix.BindToDevice(int(fd), device) }); err != nil {
				return err
			}
			return bound
		}
	}
	return lc.Listen(context.Background(), "tcp", address)
}

// listenUnix removes a socket that a killed process left behind, but not one
// that somebody listens on, nor anything else of that name.
func listenUnix(path, mode string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return nil, syscall.EADDRINUSE
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	m, err := strconv.ParseUint(mode, 8, 32)
	if err == nil {
		err = os.Chmod(path, fs.FileMode(m))
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// sockets are those that systemd passed, by name.
type sockets map[string][]net.Listener

func passedSockets() (sockets, error) {
	s, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("take over the sockets of systemd: %w", err)
	}
	return s, nil
}

// take returns the passed socket for an address, once.
func (s sockets) take(address string) net.Listener {
	for name, all := range s {
		for i, l := range all {
			if l != nil && (name == address || sameAddress(l.Addr(), address)) {
				all[i] = nil
				return l
			}
		}
	}
	return nil
}

func (s sockets) left() string {
	for _, all := range s {
		for _, l := range all {
			if l != nil {
				return l.Addr().String()
			}
		}
	}
	return ""
}

func sameAddress(have net.Addr, want string) bool {
	if path, ok := strings.CutPrefix(want, "unix:"); ok {
		return have.Network() == "unix" && have.String() == path
	}
	w, err := net.ResolveTCPAddr("tcp", want)
	if err != nil {
		return false
	}
	h, ok := have.(*net.TCPAddr)
	return ok && h.Port == w.Port && (h.IP.Equal(w.IP) || len(w.IP) == 0 && h.IP.IsUnspecified())
}

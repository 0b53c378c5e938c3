package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// greet makes an MQTT connection of an accepted one: it reads the PROXY header,
// does the TLS and the WebSocket handshake, whichever the listener has, and
// hands what is left to a transport. All that together may take ConnectTimeout.
func (ln *listener) greet(ctx context.Context, nc net.Conn) {
	p := &Peer{Remote: ln.remote(nc)}
	nc.SetDeadline(time.Now().Add(ln.now().Rules.ConnectTimeout))
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	base := &baseConn{Conn: nc}
	stack, err := ln.stack(ctx, base, p)
	stop()
	if err != nil {
		nc.Close()
		ln.leave()
		ln.b.stats.refused.Add(1)
		ln.b.log.Debug("connection not taken", "listener", ln.Name, "remote", p.Remote, "err", err)
		return
	}
	nc.SetDeadline(time.Time{})
	if ln.b.loops.adopt(nc, base, stack, ln, p) {
		return
	}
	ln.b.serveStream(ctx, ln, stack, p)
}

// stack puts on nc what the listener asks for and fills in p.
func (ln *listener) stack(ctx context.Context, nc net.Conn, p *Peer) (net.Conn, error) {
	if ln.Proxy {
		h, err := readProxy(nc)
		if err != nil {
			return nil, err
		}
		if h.remote != "" {
			p.Remote = h.remote
		}
		if ln.ProxyRequireTLS && !h.tls {
			return nil, errors.New("the client did not speak TLS with the proxy")
		}
		switch {
		case h.cert != nil:
			if err := ln.name(p, h.cert); err != nil {
				return nil, err
			}
		case ln.Identity == IdentityCN:
			p.CertName = h.cn
		}
	}
	if ln.TLS != nil {
		server := tls.Server(nc, ln.TLS)
		if err := server.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS handshake: %w", err)
		}
		state := server.ConnectionState()
		p.TLS = &state
		if err := ln.identify(p); err != nil {
			return nil, err
		}
		nc = server
	}
	if ln.WebSocket {
		w, err := upgrade(nc, &ln.Listener)
		if err != nil {
			return nil, err
		}
		if w.forwarded != "" {
			p.Remote = w.forwarded
		}
		return w, nil
	}
	return nc, nil
}

// identify takes the user name out of the client's certificate.
func (ln *listener) identify(p *Peer) error {
	if len(p.TLS.PeerCertificates) == 0 {
		return nil
	}
	return ln.name(p, p.TLS.PeerCertificates[0])
}

func (ln *listener) name(p *Peer, cert *x509.Certificate) (err error) {
	if ln.Identity == IdentityNone {
		return nil
	}
	if ln.CertName != nil {
		p.CertName, err = ln.CertName(cert)
		return err
	}
	if p.CertName = cert.Subject.CommonName; p.CertName == "" || strings.Contains(p.CertName, "\x00") {
		return errors.New("the client certificate has no common name")
	}
	return nil
}

// remote names the other end of a connection that was just accepted.
func (ln *listener) remote(nc net.Conn) string {
	if nc.LocalAddr().Network() == "unix" {
		return ln.Address
	}
	return nc.RemoteAddr().String()
}

package bridge

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/net/proxy"
)

// dial opens the transport to an address: TCP or a Unix socket, through a
// proxy when there is one, TLS on top, WebSocket on top of that.
func dial(ctx context.Context, a address, o *Options) (net.Conn, error) {
	if a.ws {
		return dialWebSocket(ctx, a, o)
	}
	conn, err := dialRaw(ctx, a.network, a.host, o)
	if err != nil || !a.tls {
		return conn, err
	}
	return secure(ctx, conn, a, o, nil)
}

// dialRaw connects to host, through the proxy when there is one.
func dialRaw(ctx context.Context, network, host string, o *Options) (net.Conn, error) {
	d := &net.Dialer{KeepAlive: o.TCPKeepAlive, Control: socketControl(o.TCPUserTimeout)}
	if o.BindAddress != "" && network != "unix" {
		local, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(o.BindAddress, "0"))
		if err != nil {
			return nil, fmt.Errorf("bind address %q: %w", o.BindAddress, err)
		}
		d.LocalAddr = local
	}
	if o.Proxy == "" || network == "unix" {
		return d.DialContext(ctx, network, host)
	}
	u, err := url.Parse(o.Proxy)
	if err != nil {
		return nil, errors.New("the proxy is no URL") // the URL may hold a password
	}
	switch u.Scheme {
	case "http":
		return dialHTTPProxy(ctx, d, u, host)
	case "socks5", "socks5h":
		var auth *proxy.Auth
		if u.User != nil {
			pass, _ := u.User.Password()
			auth = &proxy.Auth{User: u.User.Username(), Password: pass}
		}
		p, err := proxy.SOCKS5("tcp", withPort(u, "1080"), auth, d)
		if err != nil {
			return nil, fmt.Errorf("proxy %s: %w", u.Host, err)
		}
		return p.(proxy.ContextDialer).DialContext(ctx, "tcp", host)
	}
	return nil, fmt.Errorf("proxy scheme %q is neither http nor socks5", u.Scheme)
}

func withPort(u *url.URL, port string) string {
	if u.Port() != "" {
		port = u.Port()
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// dialHTTPProxy asks an HTTP proxy for a tunnel to host.
func dialHTTPProxy(ctx context.Context, d *net.Dialer, u *url.URL, host string) (net.Conn, error) {
	conn, err := d.DialContext(ctx, "tcp", withPort(u, "3128"))
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: host}, Host: host, Header: http.Header{}}
	if u.User != nil {
		pass, _ := u.User.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+pass)))
	}
	r := bufio.NewReader(conn)
	var resp *http.Response
	if err = req.Write(conn); err == nil {
		resp, err = http.ReadResponse(r, req)
	}
	switch {
	case err != nil:
	case resp.StatusCode != http.StatusOK:
		err = errors.New(resp.Status)
	case r.Buffered() > 0: // the centre never speaks first
		err = errors.New("bytes behind the answer")
	case !stop():
		err = context.Cause(ctx)
	}
	if err != nil {
		stop()
		conn.Close()
		return nil, fmt.Errorf("proxy %s: %w", u.Host, err)
	}
	return conn, nil
}

// secure puts TLS on conn and waits for the handshake.
func secure(ctx context.Context, conn net.Conn, a address, o *Options, alpn []string) (net.Conn, error) {
	cfg := &tls.Config{}
	if o.TLS != nil {
		c, err := o.TLS()
		if err != nil {
			conn.Close()
			return nil, err
		}
		cfg = c.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName = a.name
	}
	if cfg.MinVersion == 0 {
		cfg.MinVersion = tls.VersionTLS12
	}
	if alpn != nil {
		cfg.NextProtos = alpn
	} else if d := o.Profile.demands(); d.alpn != "" && len(cfg.NextProtos) == 0 && strings.HasSuffix(a.host, ":443") {
		cfg.NextProtos = []string{d.alpn}
		if o.Username != "" { // an authoriser of one's own
			cfg.NextProtos = []string{"mqtt"}
		}
	}
	certs := certificates{own: ownCertificate(cfg)}
	o.see(certs)
	t := tls.Client(conn, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	o.see(certs.of(t.ConnectionState()))
	return t, nil
}

// dialWebSocket opens a WebSocket of subprotocol mqtt [MQTT-6.0.0-3].
func dialWebSocket(ctx context.Context, a address, o *Options) (net.Conn, error) {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialRaw(ctx, a.network, a.host, o) },
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := dialRaw(ctx, a.network, a.host, o)
			if err != nil {
				return nil, err
			}
			return secure(ctx, conn, a, o, []string{"http/1.1"})
		},
	}
	defer transport.CloseIdleConnections()
	scheme := map[bool]string{false: "ws", true: "wss"}[a.tls]
	c, _, err := websocket.Dial(ctx, scheme+"://"+a.host+a.path, &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: transport},
		Subprotocols: []string{"mqtt"},
	})
	if err != nil {
		return nil, err
	}
	c.SetReadLimit(-1) // the codec has the bound
	return websocket.NetConn(context.WithoutCancel(ctx), c, websocket.MessageBinary), nil
}

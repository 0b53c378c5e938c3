package bridge

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(240 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert, key, pool}
}

func (a *authority) issue(t testing.TB, name string, life time.Duration) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// terminate puts TLS in front of an address and notes what clients ask for.
func terminate(t testing.TB, cfg *tls.Config, to string, seen func(tls.ConnectionState)) string {
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if c.(*tls.Conn).Handshake() != nil {
					return
				}
				if seen != nil {
					seen(c.(*tls.Conn).ConnectionState())
				}
				d, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer d.Close()
				go func() { _, _ = io.Copy(d, c); d.Close() }()
				_, _ = io.Copy(c, d)
			}()
		}
	}()
	return l.Addr().String()
}

// crosses checks that a message reaches the centre.
func crosses(t *testing.T, g *gateway, b *Bridge, there *node, payload string) {
	t.Helper()
	waitConnected(t, b)
	g.publish("a/x", payload, 1, false)
	there.expect("a/x", payload)
}

func TestTLS(t *testing.T) {
	ca := newAuthority(t)
	c := newCentre(t, "")
	there := newNode(t, c.addr, "there").mustConnect()
	there.subscribe("#", 1)
	var sni, alpn, client atomic.Value
	addr := terminate(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "centre.example", 100*24*time.Hour)}, ClientCAs: ca.pool,
		ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"x-amzn-mqtt-ca"}}, c.addr, func(s tls.ConnectionState) {
		sni.Store(s.ServerName)
		alpn.Store(s.NegotiatedProtocol)
		client.Store(s.PeerCertificates[0].Subject.CommonName)
	})
	g, _ := newGateway(t, "", listenOptions())

	// A certificate that is renewed on disk is used by the next connection;
	// until then a wrong one keeps the bridge trying (chirpstack#210).
	var cert atomic.Pointer[tls.Certificate]
	own := newAuthority(t).issue(t, "stranger", time.Hour)
	cert.Store(&own)
	b, _ := g.bridge(Options{Addresses: []string{"mqtts://" + addr}, Rules: outRule(1), TLS: func() (*tls.Config, error) {
		return &tls.Config{RootCAs: ca.pool, ServerName: "centre.example", NextProtos: []string{"x-amzn-mqtt-ca"}, Certificates: []tls.Certificate{*cert.Load()}}, nil
	}})
	eventually(t, 60*time.Second, "a refusal", func() bool { return b.Status().LastError != "" })
	good := ca.issue(t, "gw-hall", time.Hour)
	cert.Store(&good)
	crosses(t, g, b, there, "tls")
	if sni.Load() != "centre.example" || alpn.Load() != "x-amzn-mqtt-ca" || client.Load() != "gw-hall" {
		t.Errorf("the centre saw %v, %v, %v", sni.Load(), alpn.Load(), client.Load())
	}
	if d := b.Status().CertDays; d == nil || *d < 99 || *d > 101 {
		t.Errorf("certificate days %v", d)
	}

	wrong, _ := g.bridge(Options{Name: "wrong", Addresses: []string{"mqtts://" + addr}, Rules: outRule(1), TLS: func() (*tls.Config, error) {
		return &tls.Config{RootCAs: ca.pool, Certificates: []tls.Certificate{good}}, nil // the address is no name of the certificate
	}})
	eventually(t, 60*time.Second, "a refusal", func() bool { return strings.Contains(wrong.Status().LastError, "certificate") })
	broken, _ := g.bridge(Options{Name: "broken", Addresses: []string{addr}, Rules: outRule(1), TLS: func() (*tls.Config, error) {
		return nil, errors.New("read ca.crt: no such file")
	}})
	eventually(t, 60*time.Second, "the file is named", func() bool { return strings.Contains(broken.Status().LastError, "ca.crt") })
}

func TestWebSocket(t *testing.T) {
	wsAddr := freePort(t)
	_, port, _ := net.SplitHostPort(wsAddr)
	c := newCentre(t, "listener "+port+" 127.0.0.1\nprotocol websockets")
	there := newNode(t, c.addr, "there").mustConnect()
	there.subscribe("#", 1)
	g, _ := newGateway(t, "", listenOptions())
	b, _ := g.bridge(Options{Addresses: []string{"ws://" + wsAddr + "/mqtt"}, Rules: []Rule{{Filter: "a/#", Direction: Both, QoS: 2}}})
	crosses(t, g, b, there, "ws")
	here := g.node("here").mustConnect()
	here.subscribe("#", 1)
	there.publish("a/back", strings.Repeat("z", 100_000), 2, false)
	here.expect("a/back", strings.Repeat("z", 100_000))

	ca := newAuthority(t)
	addr := terminate(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "centre.example", time.Hour)}}, wsAddr, nil)
	secure, _ := g.bridge(Options{Name: "secure", Addresses: []string{"wss://" + addr}, Rules: outRule(1), TLS: func() (*tls.Config, error) {
		return &tls.Config{RootCAs: ca.pool, ServerName: "centre.example"}, nil
	}})
	crosses(t, g, secure, there, "wss")
}

// Through an HTTP proxy and through a SOCKS5 proxy, each with a password.
func TestMosquitto1358HTTPProxy(t *testing.T) { throughProxy(t, "http") }
func TestMosquitto108SOCKSProxy(t *testing.T) { throughProxy(t, "socks5") }

func throughProxy(t *testing.T, scheme string) {
	t.Helper()
	c := newCentre(t, "")
	there := newNode(t, c.addr, "there").mustConnect()
	there.subscribe("#", 1)
	g, _ := newGateway(t, "", listenOptions())
	for _, tc := range []struct {
		scheme string
		serve  func(net.Conn) (net.Conn, error)
	}{{"http", serveConnect}, {"socks5", serveSOCKS}} {
		if tc.scheme != scheme {
			continue
		}
		t.Run(tc.scheme, func(t *testing.T) {
			var asked atomic.Int64
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					in, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer in.Close()
						out, err := tc.serve(in)
						if err != nil {
							return
						}
						asked.Add(1)
						defer out.Close()
						go func() { _, _ = io.Copy(out, in); out.Close() }()
						_, _ = io.Copy(in, out)
					}()
				}
			}()
			b, stop := g.bridge(Options{Name: tc.scheme, Proxy: tc.scheme + "://me:secret@" + l.Addr().String(), Addresses: []string{c.addr}, Rules: outRule(1)})
			crosses(t, g, b, there, tc.scheme)
			if asked.Load() != 1 {
				t.Errorf("the proxy made %d connections", asked.Load())
			}
			stop()
			refused, stop := g.bridge(Options{Name: tc.scheme + "2", Proxy: tc.scheme + "://me:wrong@" + l.Addr().String(), Addresses: []string{c.addr}, Rules: outRule(1)})
			eventually(t, 60*time.Second, "a refusal", func() bool { return refused.Status().LastError != "" })
			if e := refused.Status().LastError; strings.Contains(e, "wrong") {
				t.Errorf("the password is in the error: %s", e)
			}
			stop()
		})
	}
}

func serveConnect(in net.Conn) (net.Conn, error) {
	req, err := http.ReadRequest(bufio.NewReader(in))
	if err != nil {
		return nil, err
	}
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:secret"))
	if req.Method != http.MethodConnect || req.Header.Get("Proxy-Authorization") != want {
		_, _ = io.WriteString(in, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
		return nil, errors.New("refused")
	}
	out, err := net.Dial("tcp", req.Host)
	if err == nil {
		_, err = io.WriteString(in, "HTTP/1.1 200 Connection established\r\n\r\n")
	}
	return out, err
}

func serveSOCKS(in net.Conn) (net.Conn, error) {
	r := bufio.NewReader(in)
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	_, _ = io.ReadFull(r, make([]byte, head[1]))
	_, _ = in.Write([]byte{5, 2}) // user name and password
	var login []string
	_, _ = r.ReadByte()
	for range 2 {
		n, err := r.ReadByte()
		if err != nil {
			return nil, err
		}
		b := make([]byte, n)
		_, _ = io.ReadFull(r, b)
		login = append(login, string(b))
	}
	if login[0] != "me" || login[1] != "secret" {
		_, _ = in.Write([]byte{1, 1})
		return nil, errors.New("refused")
	}
	_, _ = in.Write([]byte{1, 0})
	req := make([]byte, 10) // version, CONNECT, 0, IPv4, address, port
	if _, err := io.ReadFull(r, req); err != nil {
		return nil, err
	}
	addr := &net.TCPAddr{IP: req[4:8], Port: int(req[8])<<8 | int(req[9])}
	out, err := net.Dial("tcp", addr.String())
	if err == nil {
		_, err = in.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	}
	return out, err
}

// TestReport: a test of the configuration says what the centre grants.
func TestReport(t *testing.T) {
	c := newCentre(t, "max_packet_size 5000\nmax_keepalive 30")
	reports, err := Test(context.Background(), Options{Name: "x", ClientID: "x", Addresses: []string{c.addr, freePort(t)}, Rules: outRule(1)})
	if err != nil || len(reports) != 2 {
		t.Fatalf("%+v, %v", reports, err)
	}
	if r := reports[0]; r.Err != "" || r.Protocol != "5.0" || r.MaximumPacket != 5000 || r.Keepalive != 30*time.Second || r.MaximumQoS != 2 || !r.Retain {
		t.Errorf("%+v", r)
	}
	if r := reports[1]; !strings.Contains(r.Err, "refused") {
		t.Errorf("%+v", r)
	}
}

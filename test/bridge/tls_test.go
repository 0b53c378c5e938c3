package bridge_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatewayd/test/peer"
)

// authority is a certificate authority of a test's own, in files.
type authority struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), pool: x509.NewCertPool()}
	a.cert, a.key = a.sign("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}, time.Now().Add(-time.Hour))
	a.pool.AddCert(a.cert)
	return a
}

// sign writes name.crt and name.key.
func (a *authority) sign(name string, c *x509.Certificate, from time.Time) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = serial, from, from.Add(48*time.Hour)
	if c.Subject.CommonName == "" {
		c.Subject.CommonName = name
	}
	parent, signer := c, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for ext, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(a.file(name+ext), pem.EncodeToMemory(block), 0o644); err != nil {
			a.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue writes a certificate for 127.0.0.1 and centre, one and two.example with a common name.
func (a *authority) issue(name, cn string, from time.Time) {
	a.t.Helper()
	a.sign(name, &x509.Certificate{Subject: pkix.Name{CommonName: cn}, DNSNames: []string{"centre.example", "one.example", "two.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, from)
}

// secured is a mosquitto with a TLS and a secure WebSocket listener that demand client certificates and take the name
// from them.
func secured(t *testing.T, a *authority) (c *centre, tlsAddr, wssAddr string) {
	t.Helper()
	a.issue("centre", "centre", time.Now().Add(-time.Hour))
	one, two := freePort(t), freePort(t)
	files := fmt.Sprintf("cafile %s\ncertfile %s\nkeyfile %s\nrequire_certificate true\nuse_identity_as_username true\n", a.file("ca.crt"), a.file("centre.crt"), a.file("centre.key"))
	c = newMosquitto(t, fmt.Sprintf("listener %d 127.0.0.1\n%slistener %d 127.0.0.1\nprotocol websockets\n%s", one, files, two, files))
	return c, fmt.Sprintf("127.0.0.1:%d", one), fmt.Sprintf("127.0.0.1:%d", two)
}

// TestTLSWithMosquitto walks the transports against a real mosquitto: client certificate, an authority in a file, a folder
// and beside the system's, secure WebSocket, and a certificate that is not trusted unless that is spelled out.
func TestTLSWithMosquitto(t *testing.T) {
	t.Parallel()
	a, stranger := newAuthority(t), newAuthority(t)
	c, tlsAddr, wssAddr := secured(t, a)
	a.issue("gw", "gw-by-certificate", time.Now().Add(-time.Hour))
	folder := t.TempDir()
	ca, err := os.ReadFile(a.file("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "own.pem"), string(ca))
	write(t, filepath.Join(folder, "README"), "no certificate")
	pair := fmt.Sprintf("cert: %q, key: %q", a.file("gw.crt"), a.file("gw.key"))
	more := "bridges:\n"
	bridge := func(name, addr, tls string) {
		more += fmt.Sprintf("  - {name: %s, addresses: [%q], topics: [{filter: \"%s/#\", direction: both, qos: 1}], restart_timeout: 200ms, tls: {%s}}\n", name, addr, name, tls)
	}
	bridge("file", tlsAddr, fmt.Sprintf("ca: %q, %s", a.file("ca.crt"), pair))
	bridge("folder", tlsAddr, fmt.Sprintf("ca: %q, %s", folder, pair))
	bridge("roots", tlsAddr, fmt.Sprintf("ca: %q, system_roots: true, %s", a.file("ca.crt"), pair))
	bridge("named", tlsAddr, fmt.Sprintf("ca: %q, server_name: centre.example, alpn: [mqtt], min_version: \"1.3\", %s", a.file("ca.crt"), pair))
	bridge("wss", "wss://"+wssAddr, fmt.Sprintf("ca: %q, %s", a.file("ca.crt"), pair))
	bridge("insecure", tlsAddr, "insecure: true, "+pair)
	good := []string{"file", "folder", "roots", "named", "wss", "insecure"}
	bridge("stranger", tlsAddr, fmt.Sprintf("ca: %q, %s", stranger.file("ca.crt"), pair))
	bridge("system", tlsAddr, pair)
	bridge("wrongname", tlsAddr, fmt.Sprintf("ca: %q, server_name: other.example, %s", a.file("ca.crt"), pair))
	bridge("nocert", tlsAddr, fmt.Sprintf("ca: %q", a.file("ca.crt")))
	g := newGatewayd(t, more)
	g.start()
	there, here := listen(t, c.addr, "there", 1, "#"), listen(t, g.addr, "here", 1, "#")
	for _, name := range good {
		here.publish(name+"/out", "o", 1, false)
		there.expect(name+"/out", "o")
		there.publish(name+"/in", "i", 1, false)
		here.expect(name+"/in", "i")
	}
	if log := c.p.Output(); !strings.Contains(log, "gw-by-certificate") {
		t.Error("mosquitto did not take the name from the certificate")
	}
	for name, why := range map[string]string{"stranger": "unknown authority", "system": "unknown authority", "wrongname": "other.example", "nocert": "certificate"} {
		eventually(t, 30*time.Second, name+" is refused, and the log says why", func() bool {
			for _, line := range strings.Split(g.p.Output(), "\n") {
				if strings.Contains(line, "bridge="+name+" ") && strings.Contains(line, why) {
					return true
				}
			}
			return false
		})
		if strings.Contains(g.p.Output(), "msg=\"bridge connected\" bridge="+name+" ") {
			t.Errorf("%s is connected", name)
		}
	}
}

// TestThinEdge3157RenewedClientCertificate: a client certificate that is renewed on disk is used by the next connection,
// without a restart, and the other bridges' connections stay.
func TestThinEdge3157RenewedClientCertificate(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	c, tlsAddr, _ := secured(t, a)
	a.issue("gw", "first-name", time.Now().Add(-time.Hour))
	p, err := peer.NewProxy(tlsAddr, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	g := newGatewayd(t, fmt.Sprintf("bridges:\n"+
		"  - {name: other, addresses: [%q], topics: [{filter: \"b/#\", qos: 1}]}\n"+
		"  - {name: renewed, addresses: [%q], topics: [{filter: \"a/#\", qos: 1}], restart_timeout: 200ms, tls: {ca: %q, cert: %q, key: %q}}\n",
		c.addr, p.Addr, a.file("ca.crt"), a.file("gw.crt"), a.file("gw.key")))
	g.start()
	here, there := newClient(t, g.addr, "here").mustConnect(), listen(t, c.addr, "there", 1, "#")
	here.publish("a/x", "1", 1, false)
	there.expect("a/x", "1")
	here.publish("b/x", "1", 1, false)
	there.expect("b/x", "1")
	a.issue("gw", "second-name", time.Now().Add(-time.Hour))
	if err := g.p.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if !p.Cut(mathrand.New(mathrand.NewPCG(1, 2))) {
		t.Fatal("nothing to cut")
	}
	here.publish("a/x", "2", 1, false)
	there.expect("a/x", "2")
	log := c.p.Output()
	if !strings.Contains(log, "first-name") || !strings.Contains(log, "second-name") {
		t.Error("mosquitto did not see both names")
	}
	if n := strings.Count(g.p.Output(), "msg=\"bridge connected\" bridge=other "); n != 1 {
		t.Errorf("the other bridge connected %d times", n)
	}
}

// encrypted is a running gateway with a listener that demands client certificates of an authority.
type encrypted struct {
	*centre
	a    *authority
	port int
}

func newEncrypted(t *testing.T, serverSince time.Time) *encrypted {
	t.Helper()
	e := &encrypted{a: newAuthority(t), port: freePort(t), centre: newGatewayd(t, "")}
	e.a.issue("server", "old", serverSince)
	e.a.issue("client", "client", time.Now().Add(-time.Hour))
	e.restartWith(fmt.Sprintf("gateway: {id: gw-test, data_dir: %q}\nlisteners:\n  - {address: %q, anonymous: true}\n"+
		"  - {address: \"127.0.0.1:%d\", anonymous: true, tls: {cert: %q, key: %q, client_ca: %q, require_client_cert: true}}\nboard: none\nhttp: {address: \"off\"}\n",
		filepath.Join(e.dir, "data"), e.addr, e.port, e.a.file("server.crt"), e.a.file("server.key"), e.a.file("ca.crt")))
	return e
}

// shake connects with the client certificate of an authority and returns the name in the server's.
func (e *encrypted) shake(who *authority) (server *x509.Certificate, err error) {
	pair, err := tls.LoadX509KeyPair(who.file("client.crt"), who.file("client.key"))
	if err != nil {
		e.t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", e.port), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write([]byte{0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 1, 'c'}); err != nil {
		return nil, err
	}
	if _, err := conn.Read(make([]byte, 4)); err != nil { // where TLS 1.3 tells of a refused certificate
		return nil, err
	}
	return conn.ConnectionState().PeerCertificates[0], nil
}

// serves waits until the listener has a certificate of that name.
func (e *encrypted) serves(name string) {
	e.t.Helper()
	eventually(e.t, 60*time.Second, name+" is served", func() bool {
		c, err := e.shake(e.a)
		return err == nil && c.Subject.CommonName == name
	})
}

// TestMosquitto2038RenewedListener: a listener notices by itself that its certificate was renewed; who is connected stays.
func TestMosquitto2038RenewedListener(t *testing.T) {
	t.Parallel()
	e := newEncrypted(t, time.Now().Add(-time.Hour))
	e.serves("old")
	connected := newClient(t, e.addr, "stays").mustConnect()
	e.a.issue("server", "new", time.Now().Add(-time.Hour))
	e.serves("new")
	connected.publish("a", "b", 1, false)
}

// TestMosquitto3568AuthorityReplaced: SIGHUP replaces the authority whose clients a listener lets in (PR mosquitto#3568).
func TestMosquitto3568AuthorityReplaced(t *testing.T) {
	t.Parallel()
	e := newEncrypted(t, time.Now().Add(-time.Hour))
	connected := newClient(t, e.addr, "stays").mustConnect()
	next := newAuthority(t)
	next.issue("client", "client", time.Now().Add(-time.Hour))
	if _, err := e.shake(next); err == nil {
		t.Fatal("a stranger was let in")
	}
	pem, err := os.ReadFile(next.file("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, e.a.file("ca.crt"), string(pem))
	if err := e.p.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "the new authority is in use", func() bool {
		_, err := e.shake(next)
		return err == nil
	})
	if _, err := e.shake(e.a); err == nil {
		t.Error("the old authority is still trusted")
	}
	connected.publish("a", "b", 1, false)
}

// TestHomeAssistant3499ExpiredServed: a certificate that has expired is not served any more once it was renewed, although
// nobody tells the gateway.
func TestHomeAssistant3499ExpiredServed(t *testing.T) {
	t.Parallel()
	e := newEncrypted(t, time.Now().Add(-365*24*time.Hour))
	c, err := e.shake(e.a)
	if err != nil {
		t.Fatal(err)
	}
	if !c.NotAfter.Before(time.Now()) {
		t.Fatalf("it is good until %v: the test is to begin with one that is not", c.NotAfter)
	}
	e.a.issue("server", "renewed", time.Now().Add(-time.Hour))
	e.serves("renewed")
	if c, err := e.shake(e.a); err != nil || c.NotAfter.Before(time.Now()) {
		t.Errorf("%v, %v", c, err)
	}
}

// restartWith starts the gateway with another configuration.
func (c *centre) restartWith(config string) {
	c.t.Helper()
	c.begin = beginWith(c.t, c.dir, c.addr, config)
	c.start()
}

// TestChirpStack210NotYetValid: a centre whose certificate is not valid yet, or a clock that is behind, keeps the bridge
// trying.
func TestChirpStack210NotYetValid(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	c, tlsAddr, _ := secured(t, a)
	c.end(syscall.SIGTERM)
	a.issue("centre", "centre", time.Now().Add(time.Hour))
	a.issue("gw", "gw", time.Now().Add(-time.Hour))
	c.start()
	g := newGatewayd(t, fmt.Sprintf("bridges:\n  - {name: early, addresses: [%q], topics: [{filter: \"a/#\", qos: 1}], restart_timeout: 200ms, tls: {ca: %q, cert: %q, key: %q}}\n",
		tlsAddr, a.file("ca.crt"), a.file("gw.crt"), a.file("gw.key")))
	g.start()
	here := newClient(t, g.addr, "here").mustConnect()
	here.publish("a/x", "waits", 1, false)
	eventually(t, 30*time.Second, "it is refused twice", func() bool { return strings.Count(g.p.Output(), "not yet valid") >= 2 })
	c.end(syscall.SIGTERM)
	a.issue("centre", "centre", time.Now().Add(-time.Hour))
	c.start()
	eventually(t, 30*time.Second, "it is connected", func() bool { return strings.Contains(g.p.Output(), "bridge connected") })
}

package conformance

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"gatewayd/test/peer"
)

// authority issues certificates for one test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.issue("ca", nil)
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(name, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(a.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// issue makes NAME.crt and NAME.key, and returns them; the first is the authority's own.
func (a *authority) issue(name string, organisation []string) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.next++
	c := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: name, Organization: organisation},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: a.cert == nil, BasicConstraintsValid: true, SubjectKeyId: []byte{byte(a.next)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.cert == nil {
		a.cert, _ = x509.ParseCertificate(der)
		a.key = key
	}
	pkcs, _ := x509.MarshalPKCS8PrivateKey(key)
	a.write(name+".crt", "CERTIFICATE", der)
	a.write(name+".key", "PRIVATE KEY", pkcs)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// revoke writes the list of revoked certificates, by their serial numbers.
func (a *authority) revoke(serials ...int64) {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, s := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write("crl.pem", "X509 CRL", der)
}

// connect speaks TLS, over WebSocket if asked, and sends CONNECT.
func (a *authority) connect(addr string, web bool, max uint16, o options, certs ...tls.Certificate) (*client, error) {
	a.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", addr, &tls.Config{RootCAs: pool, ServerName: "localhost", Certificates: certs, MaxVersion: max})
	if err != nil {
		return nil, err
	}
	a.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	c := raw0(a.t, conn, o.v)
	packet := o.encode()
	if web {
		fmt.Fprintf(conn, "GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return nil, err
		}
		if answer.StatusCode != http.StatusSwitchingProtocols {
			return nil, fmt.Errorf("answer %s", answer.Status)
		}
		_, err = conn.Write(append([]byte{0x82, 0x80 | byte(len(packet)), 0, 0, 0, 0}, packet...))
		return c, err
	}
	if _, err := conn.Write(packet); err != nil {
		return nil, err
	}
	c.ack, err = c.recv(patience)
	if err == nil && c.ack.code != 0 {
		err = fmt.Errorf("refused: %v", c.ack)
	}
	return c, err
}

// TestCertificates: client certificates optional and required, user names out of them, on TCP and WebSocket; a list of revoked ones and
// the server's own certificate are read again on HUP, and hold for who comes then.
func TestCertificates(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("server", nil)
	good, bad := a.issue("node-1", []string{"Plant"}), a.issue("node-2", nil)
	stranger := newAuthority(t).issue("node-1", nil)
	a.revoke()
	listener := func(more string) string {
		port, err := peer.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("127.0.0.1:%d, %s", port, more)
	}
	files := fmt.Sprintf("cert: %q, key: %q, client_ca: %q", a.path("server.crt"), a.path("server.key"), a.path("ca.crt"))
	var text string
	var addrs []string
	for _, l := range []string{
		listener("tls: {" + files + "}"),
		listener("tls: {" + files + ", require_client_cert: true, identity: cn, crl: \"" + a.path("crl.pem") + "\"}"),
		listener("tls: {" + files + ", require_client_cert: true, identity: subject}"),
		listener("websocket: true, tls: {" + files + ", require_client_cert: true, identity: cn}"),
		listener("websocket: true, tls: {" + files + ", require_client_cert: true, identity: subject}"),
		listener("tls: {" + files + ", min_version: 1.3}"),
		listener("tls: {" + files + ", ciphers: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]}"),
	} {
		var addr, more string
		if _, err := fmt.Sscanf(l, "%s", &addr); err != nil {
			t.Fatal(err)
		}
		more = l[len(addr):]
		addr = addr[:len(addr)-1]
		addrs = append(addrs, addr)
		text += fmt.Sprintf("  - {address: %q,%s}\n", addr, more)
	}
	_, p := configuredProcess(t, text)
	in := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	out := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s is let in", what)
		}
	}
	try := func(i int, web bool, id string, certs ...tls.Certificate) error {
		t.Helper()
		_, err := a.connect(addrs[i], web, 0, options{v: 4, id: id, user: "somebody"}, certs...)
		return err
	}
	in("no certificate where none is needed", try(0, false, "plain"))
	in("a certificate where none is needed", try(0, false, "optional", good))
	out("a stranger's certificate where none is needed", try(0, false, "stranger", stranger))
	in("a certificate", try(1, false, "cn", good))
	logged(t, p, "client connected", "client=cn ", "user=node-1")
	out("no certificate", try(1, false, "none"))
	out("a stranger's certificate", try(1, false, "stranger", stranger))
	in("a certificate", try(2, false, "subject", good))
	logged(t, p, "client connected", "client=subject ", "CN=node-1", "O=Plant")
	in("a certificate over WebSocket", try(3, true, "wcn", good))
	logged(t, p, "client connected", "client=wcn ", "user=node-1")
	in("a certificate over WebSocket", try(4, true, "wsubject", good))
	logged(t, p, "client connected", "client=wsubject ", "CN=node-1", "O=Plant")
	out("no certificate over WebSocket", try(3, true, "wnone"))
	_, err := a.connect(addrs[5], false, tls.VersionTLS12, options{v: 4, id: "old"})
	out("TLS 1.2 where 1.3 is the oldest", err)
	c, err := a.connect(addrs[6], false, tls.VersionTLS12, options{v: 4, id: "suite"})
	in("TLS 1.2", err)
	if err == nil {
		if state := c.conn.(*tls.Conn).ConnectionState(); state.CipherSuite != tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 {
			t.Errorf("spoke %s", tls.CipherSuiteName(state.CipherSuite))
		}
	}

	in("before it is revoked", try(1, false, "two", bad))
	a.revoke(3) // ca 1, server 2, node-1 3
	renewed := a.issue("server", nil)
	if err := p.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	logged(t, p, "configuration taken over")
	out("a revoked certificate", try(1, false, "revoked", good))
	in("one that is not revoked", try(1, false, "two", bad))
	c, err = a.connect(addrs[0], false, 0, options{v: 4, id: "renewed"})
	in("after the server's certificate was renewed", err)
	if err == nil && string(c.conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw) != string(renewed.Certificate[0]) {
		t.Error("the server still shows its old certificate")
	}
}

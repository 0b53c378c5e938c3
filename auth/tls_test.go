package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority is a certificate authority made for one test.
type testCA struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newCA(t *testing.T, name string) *testCA {
	ca := &testCA{t: t, dir: t.TempDir(), next: 1}
	ca.cert, ca.key = ca.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte(name),
	})
	ca.file("ca.crt", "CERTIFICATE", ca.cert.Raw)
	return ca
}

func (ca *testCA) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(ca.next), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	ca.next++
	parent, by := ca.cert, ca.key
	if parent == nil {
		parent, by = c, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		ca.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		ca.t.Fatal(err)
	}
	return cert, key
}

func (ca *testCA) file(name, kind string, raw []byte) string {
	path := filepath.Join(ca.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600); err != nil {
		ca.t.Fatal(err)
	}
	return path
}

// issue writes name.crt and name.key.
func (ca *testCA) issue(name string, subject pkix.Name) (cert *x509.Certificate, certFile, keyFile string) {
	cert, key := ca.sign(&x509.Certificate{
		Subject: subject, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	raw, _ := x509.MarshalPKCS8PrivateKey(key)
	return cert, ca.file(name+".crt", "CERTIFICATE", cert.Raw), ca.file(name+".key", "PRIVATE KEY", raw)
}

func (ca *testCA) crl(expires time.Duration, revoked ...*x509.Certificate) string {
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: time.Now().Add(expires)}
	for _, c := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
	}
	raw, err := x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	return ca.file("crl.pem", "X509 CRL", raw)
}

// dial makes one connection through s, with the client's certificate if there is
// one, and returns the server's view and both sides' error.
func dial(t *testing.T, s *ServerTLS, client *tls.Config) (state tls.ConnectionState, server, far error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			server = err
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		side := tls.Server(c, s.Config())
		if server = side.Handshake(); server == nil {
			side.Write([]byte("x"))
			state = side.ConnectionState()
		}
	}()
	c, far := tls.Dial("tcp", l.Addr().String(), client)
	if far == nil {
		_, far = io.ReadFull(c, make([]byte, 1))
		c.Close()
	}
	<-done
	return state, server, far
}

func TestServerTLS(t *testing.T) {
	ca, stranger := newCA(t, "ours"), newCA(t, "stranger")
	_, cert, key := ca.issue("server", pkix.Name{CommonName: "gateway"})
	good, goodCert, goodKey := ca.issue("good", pkix.Name{CommonName: "node-1"})
	bad, badCert, badKey := ca.issue("bad", pkix.Name{CommonName: "node-2"})
	_, foreignCert, foreignKey := stranger.issue("foreign", pkix.Name{CommonName: "node-1"})
	caFile := filepath.Join(ca.dir, "ca.crt")
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	client := func(cert, key string) *tls.Config {
		c := &tls.Config{RootCAs: roots}
		if cert != "" {
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		return c
	}
	for _, tc := range []struct {
		name      string
		opts      TLSOptions
		cert, key string
		wantCN    string
		wantErr   string // of the server; empty: good
	}{
		{"no client certificates", TLSOptions{}, "", "", "", ""},
		{"optional, absent", TLSOptions{ClientCA: caFile}, "", "", "", ""},
		{"optional, given", TLSOptions{ClientCA: caFile}, goodCert, goodKey, "node-1", ""},
		{"optional, foreign", TLSOptions{ClientCA: caFile}, foreignCert, foreignKey, "", "unknown authority"},
		{"required, absent", TLSOptions{ClientCA: caFile, RequireClientCert: true}, "", "", "", "didn't provide a certificate"},
		{"required, given", TLSOptions{ClientCA: ca.dir, RequireClientCert: true}, goodCert, goodKey, "node-1", ""},
		{"revoked", TLSOptions{ClientCA: caFile, CRL: ca.crl(time.Hour, bad)}, badCert, badKey, "", "revoked"},
		{"not revoked", TLSOptions{ClientCA: caFile, CRL: filepath.Join(ca.dir, "crl.pem")}, goodCert, goodKey, "node-1", ""},
		{"1.3 only", TLSOptions{MinVersion: "1.3"}, "", "", "", ""},
		{"list of a stranger", TLSOptions{ClientCA: caFile, CRL: stranger.crl(time.Hour)}, goodCert, goodKey, "", "no revocation list"},
	} {
		tc.opts.Cert, tc.opts.Key = cert, key
		s, err := NewServerTLS(tc.opts)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			if tc.opts.MinVersion == "1.3" && version == tls.VersionTLS12 {
				continue
			}
			c := client(tc.cert, tc.key)
			c.MinVersion, c.MaxVersion = version, version
			state, server, far := dial(t, s, c)
			switch {
			case tc.wantErr == "" && (server != nil || far != nil):
				t.Errorf("%s, %x: server %v, client %v", tc.name, version, server, far)
			case tc.wantErr != "" && (server == nil || !strings.Contains(server.Error(), tc.wantErr) || far == nil):
				t.Errorf("%s, %x: server %v, client %v, want %q", tc.name, version, server, far, tc.wantErr)
			case tc.wantCN != "":
				if name, err := CertName(state.PeerCertificates[0], ByCN); name != tc.wantCN || err != nil {
					t.Errorf("%s: CN %q, %v", tc.name, name, err)
				}
			}
		}
	}
	s, _ := NewServerTLS(TLSOptions{Cert: cert, Key: key, MinVersion: "1.3"})
	c := client("", "")
	c.MaxVersion = tls.VersionTLS12
	if _, server, _ := dial(t, s, c); server == nil {
		t.Error("TLS 1.2 must be refused with min_version 1.3")
	}
	_ = good
}

// TestServerTLSReload: a certificate that is revoked while the gateway runs is
// refused from the next connection on, resumed sessions included; a broken file
// changes nothing.
func TestServerTLSReload(t *testing.T) {
	ca := newCA(t, "ours")
	_, cert, key := ca.issue("server", pkix.Name{CommonName: "gateway"})
	node, nodeCert, nodeKey := ca.issue("node", pkix.Name{CommonName: "node"})
	crl := ca.crl(time.Hour)
	s, err := NewServerTLS(TLSOptions{Cert: cert, Key: key, ClientCA: filepath.Join(ca.dir, "ca.crt"), CRL: crl})
	if err != nil {
		t.Fatal(err)
	}
	pair, _ := tls.LoadX509KeyPair(nodeCert, nodeKey)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	client := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	for range 2 {
		if _, server, far := dial(t, s, client); server != nil || far != nil {
			t.Fatal(server, far)
		}
	}
	os.WriteFile(crl, []byte("rubbish"), 0o600)
	if err := s.Reload(); err == nil || !strings.Contains(err.Error(), "crl.pem") {
		t.Errorf("a broken list: %v", err)
	}
	if _, server, _ := dial(t, s, client); server != nil {
		t.Errorf("a broken file must change nothing: %v", server)
	}
	ca.crl(time.Hour, node)
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, server, _ := dial(t, s, client); server == nil || !strings.Contains(server.Error(), "revoked") {
		t.Errorf("revoked, but: %v", server)
	}
	ca.crl(-time.Hour)
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, server, _ := dial(t, s, client); server == nil || !strings.Contains(server.Error(), "expired") {
		t.Errorf("an expired list vouches for nobody: %v", server)
	}
}

func TestTLSErrors(t *testing.T) {
	ca := newCA(t, "ours")
	_, cert, key := ca.issue("server", pkix.Name{CommonName: "gateway"})
	for _, tc := range []struct {
		opts TLSOptions
		want string
	}{
		{TLSOptions{Cert: "none.crt", Key: key}, "none.crt"},
		{TLSOptions{Cert: cert, Key: cert}, "server.crt"},
		{TLSOptions{Cert: cert, Key: key, MinVersion: "1.1"}, `"1.1"`},
		{TLSOptions{Cert: cert, Key: key, Ciphers: []string{"TLS_RSA_WITH_RC4_128_SHA"}}, "RC4"},
		{TLSOptions{Cert: cert, Key: key, RequireClientCert: true}, "client_ca"},
		{TLSOptions{Cert: cert, Key: key, ClientCA: key}, "no certificate in"},
	} {
		if _, err := NewServerTLS(tc.opts); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %q", tc.opts, err, tc.want)
		}
	}
}

// TestSubject compares with what OpenSSL prints.
func TestSubject(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	ca := newCA(t, "ours")
	for _, name := range []pkix.Name{
		{CommonName: "node", Organization: []string{"Home"}, Country: []string{"DE"}},
		{CommonName: `a,b+c"d\e<f>;g`, OrganizationalUnit: []string{"#x", " y "}},
		{CommonName: "größe"},
		{CommonName: "n", ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, Value: "a@b.c"},
			{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, Value: "example"},
			{Type: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: "odd"}}},
	} {
		cert, file, _ := ca.issue("s", name)
		got, err := CertName(cert, BySubject)
		if err != nil {
			t.Error(err)
		}
		out, err := exec.Command(openssl, "x509", "-in", file, "-noout", "-subject", "-nameopt", "RFC2253").Output()
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.TrimPrefix(strings.TrimSpace(string(out)), "subject="); got != want {
			t.Errorf("subject %q, OpenSSL says %q", got, want)
		}
	}
	none, _, _ := ca.issue("none", pkix.Name{Organization: []string{"x"}})
	if _, err := CertName(none, ByCN); err == nil {
		t.Error("a certificate without a common name")
	}
}

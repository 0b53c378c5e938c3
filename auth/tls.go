package auth

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"
)

// TLSOptions name the files of a listener's TLS.
type TLSOptions struct {
	Cert, Key         string           // the server's, PEM, with chain
	Chain             string           // PEM file or folder: authorities that complete the chain where Cert lacks them
	ClientCA          string           // PEM file or folder of PEM files: client certificates are accepted from these
	RequireClientCert bool             // refuse clients without one
	CRL               string           // revoked client certificates, PEM
	MinVersion        string           // "1.2" or "1.3"; empty: 1.2
	Ciphers           []string         // of TLS 1.2, by IANA name; empty: the safe ones
	Now               func() time.Time // judges client certificates; nil: the system's clock
}

// ServerTLS is a listener's side of TLS. Its Config stays valid for the life of
// the listener; Reload makes new connections use what the files say then.
type ServerTLS struct {
	opts    TLSOptions
	current atomic.Pointer[tls.Config]
	stamp   string // of the files, for Renewed
}

// NewServerTLS reads the files.
func NewServerTLS(o TLSOptions) (*ServerTLS, error) {
	s := &ServerTLS{opts: o, stamp: o.stamp()}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	return s, nil
}

// Config is what the listener gives to crypto/tls.
func (s *ServerTLS) Config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current.Load(), nil },
	}
}

// Leaf is the server's certificate, for expiry checks.
func (s *ServerTLS) Leaf() *x509.Certificate { return s.current.Load().Certificates[0].Leaf }

// Reload reads the files again. When one is wrong it changes nothing and returns
// the error.
func (s *ServerTLS) Reload() error {
	c, err := s.opts.load()
	if err != nil {
		return err
	}
	s.current.Store(c)
	return nil
}

func (o TLSOptions) load() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", o.Cert, o.Key, err)
	}
	if o.Chain != "" {
		if err := completeChain(&pair, o.Chain); err != nil {
			return nil, err
		}
	}
	c := &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, Time: o.Now,
		DynamicRecordSizingDisabled: true, // small records are for web pages; packets are written whole
	}
	switch o.MinVersion {
	case "", "1.2":
	case "1.3":
		c.MinVersion = tls.VersionTLS13
	default:
		return nil, fmt.Errorf("TLS version %q, want 1.2 or 1.3", o.MinVersion)
	}
	if c.CipherSuites, err = cipherSuites(o.Ciphers); err != nil {
		return nil, err
	}
	if o.ClientCA == "" {
		if o.RequireClientCert || o.CRL != "" {
			return nil, errors.New("client certificates need the authorities that sign them (client_ca)")
		}
		return c, nil
	}
	if c.ClientCAs, err = readPool(o.ClientCA); err != nil {
		return nil, err
	}
	c.ClientAuth = tls.VerifyClientCertIfGiven
	if o.RequireClientCert {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if o.CRL != "" {
		revoked, err := readCRLs(o.CRL)
		if err != nil {
			return nil, err
		}
		// Not VerifyPeerCertificate: that one is passed by when a session resumes.
		c.VerifyConnection = revoked.verify
	}
	return c, nil
}

func cipherSuites(names []string) (ids []uint16, err error) {
	for _, name := range names {
		i := slices.IndexFunc(tls.CipherSuites(), func(s *tls.CipherSuite) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("cipher suite %q is unknown or not safe", name)
		}
		ids = append(ids, tls.CipherSuites()[i].ID)
	}
	return ids, nil
}

// readPool reads a PEM file, or every file of a folder that holds PEM
// certificates.
func readPool(path string) (*x509.CertPool, error) {
	all, err := readCertificates(path)
	if err != nil {
		return nil, fmt.Errorf("client authorities: %w", err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("client authorities: no certificate in %s", path)
	}
	pool := x509.NewCertPool()
	for _, c := range all {
		pool.AddCert(c)
	}
	return pool, nil
}

// readCertificates reads a PEM file, or every file of a folder, and leaves out
// what is not a certificate.
func readCertificates(path string) (all []*x509.Certificate, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	names := []string{path}
	if info.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		names = names[:0]
		for _, e := range entries {
			if name := filepath.Join(path, e.Name()); !e.IsDir() {
				names = append(names, name)
			}
		}
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		for {
			var block *pem.Block
			if block, text = pem.Decode(text); block == nil {
				break
			}
			if block.Type != "CERTIFICATE" {
				continue
			}
			if c, err := x509.ParseCertificate(block.Bytes); err == nil {
				all = append(all, c)
			}
		}
	}
	return all, nil
}

// completeChain adds the issuers that a certificate file lacks, as OpenSSL does
// from its CA file. The root itself is not sent: clients have it.
func completeChain(pair *tls.Certificate, path string) error {
	all, err := readCertificates(path)
	if err != nil {
		return fmt.Errorf("chain: %w", err)
	}
	last, err := x509.ParseCertificate(pair.Certificate[len(pair.Certificate)-1])
	if err != nil {
		return fmt.Errorf("chain: %w", err)
	}
	for range all {
		i := slices.IndexFunc(all, func(c *x509.Certificate) bool { return last.CheckSignatureFrom(c) == nil })
		if i < 0 || bytes.Equal(all[i].RawSubject, all[i].RawIssuer) {
			return nil
		}
		last = all[i]
		pair.Certificate = append(pair.Certificate, last.Raw)
	}
	return nil
}

// crls are revocation lists by the name of their issuer.
type crls map[string][]*x509.RevocationList

func readCRLs(file string) (crls, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("revocation list: %w", err)
	}
	lists := crls{}
	for n := 1; ; n++ {
		block, rest := pem.Decode(text)
		if block == nil {
			if len(lists) == 0 {
				return nil, fmt.Errorf("revocation list: no X509 CRL in %s", file)
			}
			return lists, nil
		}
		text = rest
		if block.Type != "X509 CRL" {
			continue
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("revocation list %s, number %d: %w", file, n, err)
		}
		issuer := string(list.RawIssuer)
		lists[issuer] = append(lists[issuer], list)
	}
}

// verify checks the client's own certificate against the lists, as Mosquitto
// and OpenSSL do: there must be a current list of its issuer, signed by it.
func (l crls) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return nil
	}
	for _, chain := range state.VerifiedChains {
		if err := l.check(chain); err != nil {
			return err
		}
	}
	return nil
}

func (l crls) check(chain []*x509.Certificate) error {
	if len(chain) < 2 {
		return errors.New("client certificate: its issuer is not known")
	}
	leaf, issuer := chain[0], chain[1]
	problem := "there is no revocation list of its issuer"
	for _, list := range l[string(leaf.RawIssuer)] {
		switch {
		case list.CheckSignatureFrom(issuer) != nil:
			problem = "the revocation list is not signed by its issuer"
			continue
		case !list.NextUpdate.IsZero() && time.Now().After(list.NextUpdate):
			problem = "the revocation list has expired"
			continue
		}
		for _, r := range list.RevokedCertificateEntries {
			if r.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
				return errors.New("client certificate: revoked")
			}
		}
		return nil
	}
	return errors.New("client certificate: " + problem)
}

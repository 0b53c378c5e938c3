package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	authorityYears = 20
	leafDays       = 825 // what phones and browsers accept at most
)

func newCert() *cobra.Command {
	cmd := &cobra.Command{Use: "cert", Short: "Certificates for a LAN", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(newCertInit())
	return cmd
}

// certOptions say what cert init makes.
type certOptions struct {
	names   []string // of the server: host names and addresses
	clients []string
	days    int
	renew   bool
	json    bool
}

func newCertInit() *cobra.Command {
	var o certOptions
	cmd := &cobra.Command{
		Use:   "init [FOLDER]",
		Short: "Make a local authority, a server's and clients' certificates",
		Long: `init makes, in FOLDER (default: the current one), what TLS on a LAN needs: an
authority of your own (ca.crt, ca.key), a certificate for this gateway
(server.crt, server.key), and one for each --client (NAME.crt, NAME.key).

What is there already stays: run it again to add clients. With --renew the
server's certificate and those of the clients named are made anew by the same
authority. Give ca.crt to every client; keep ca.key off the gateway, whoever
has it can make certificates that all of them trust.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			made, err := o.run(dir, trusted.Now())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if o.json {
				return json.NewEncoder(out).Encode(made)
			}
			for _, m := range made {
				verb := "kept"
				if m.Made {
					verb = "made"
				}
				fmt.Fprintf(out, "%s %s: %s, until %s\n", verb, m.File, m.For, m.Until.Format(time.DateOnly))
			}
			fmt.Fprintf(out, "\nin gatewayd.yaml:\nlisteners:\n  - address: \":8883\"\n    tls: {cert: %s, key: %s, client_ca: %s}\n",
				filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"), filepath.Join(dir, "ca.crt"))
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&o.names, "name", nil, "host name or address of the gateway, repeatable (default: this machine's)")
	fl.StringSliceVar(&o.clients, "client", nil, "make a certificate for this client, repeatable")
	fl.IntVar(&o.days, "days", leafDays, "how long server and client certificates are valid")
	fl.BoolVar(&o.renew, "renew", false, "make the server's and the named clients' certificates anew")
	fl.BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

// madeCert is one certificate in cert init's answer.
type madeCert struct {
	File  string    `json:"file"`
	For   string    `json:"for"`
	Until time.Time `json:"until"`
	Made  bool      `json:"made"` // false: it was there
}

// authority signs.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (o *certOptions) run(dir string, now time.Time) ([]madeCert, error) {
	if o.days < 1 {
		return nil, usage("--days %d: a certificate has to be valid for a day at least", o.days)
	}
	for _, c := range o.clients {
		if c == "" || c == "ca" || c == "server" || strings.ContainsAny(c, "/\\\x00") || strings.HasPrefix(c, ".") {
			return nil, usage("--client %q cannot be a file name here; choose another name", c)
		}
	}
	if len(o.names) == 0 {
		o.names = ownNames()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	ca, first, err := openAuthority(dir, now)
	if err != nil {
		return nil, err
	}
	made := []madeCert{first}
	leaf := func(name, what string, t *x509.Certificate) error {
		file := filepath.Join(dir, name+".crt")
		if have, err := readCert(file); err == nil && !o.renew {
			made = append(made, madeCert{File: file, For: what, Until: have.NotAfter})
			return nil
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		t.Subject.CommonName = name
		t.NotBefore, t.NotAfter = now.Add(-time.Hour), now.AddDate(0, 0, o.days)
		t.KeyUsage = x509.KeyUsageDigitalSignature
		if err := ca.sign(dir, name, t); err != nil {
			return err
		}
		made = append(made, madeCert{File: file, For: what, Until: t.NotAfter, Made: true})
		return nil
	}
	server := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, n := range o.names {
		if ip := net.ParseIP(n); ip != nil {
			server.IPAddresses = append(server.IPAddresses, ip)
		} else {
			server.DNSNames = append(server.DNSNames, n)
		}
	}
	if err := leaf("server", "the gateway at "+strings.Join(o.names, ", "), server); err != nil {
		return nil, err
	}
	for _, c := range o.clients {
		if err := leaf(c, "client "+c, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// ownNames are those under which others on the LAN may reach this machine.
func ownNames() []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if host, err := os.Hostname(); err == nil && host != "" {
		names = append(names, host)
		if !strings.Contains(host, ".") {
			names = append(names, host+".local")
		}
	}
	names = append(names, hostAddresses()...)
	slices.Sort(names)
	return slices.Compact(names)
}

// openAuthority reads the authority in dir, or makes one.
func openAuthority(dir string, now time.Time) (*signer, madeCert, error) {
	file, keyFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	m := madeCert{File: file, For: "the authority"}
	cert, err := readCert(file)
	switch {
	case err == nil:
		key, err := readKey(keyFile)
		if err != nil {
			return nil, m, fmt.Errorf("the authority's key is needed to sign: %w", err)
		}
		if !key.PublicKey.Equal(cert.PublicKey) {
			return nil, m, fmt.Errorf("%s does not belong to %s", keyFile, file)
		}
		m.Until = cert.NotAfter
		return &signer{cert, key}, m, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, m, err
	}
	if _, err := os.Stat(keyFile); err == nil {
		return nil, m, fmt.Errorf("there is %s but no %s; restore it, or choose another folder", keyFile, file)
	}
	host, _ := os.Hostname() // only a name
	t := &x509.Certificate{
		Subject:   pkix.Name{CommonName: strings.TrimSpace("gatewayd authority " + host)},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(authorityYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	s := &signer{cert: t}
	if err := s.sign(dir, "ca", t); err != nil {
		return nil, m, err
	}
	m.Until, m.Made = t.NotAfter, true
	if s.cert, err = readCert(file); err != nil {
		return nil, m, err
	}
	s.key, err = readKey(keyFile)
	return s, m, err
}

// sign makes a key and a certificate from the template, and writes both. The
// first one signs itself.
func (s *signer) sign(dir, name string, t *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return err
	}
	by := s.key
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, s.cert, &key.PublicKey, by)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	// The key first: a certificate without its key would be kept the next time.
	if err := writePEM(filepath.Join(dir, name+".key"), "PRIVATE KEY", secret, 0o600); err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, name+".crt"), "CERTIFICATE", der, 0o644)
}

// writePEM writes a whole file or none.
func writePEM(file, kind string, der []byte, mode fs.FileMode) error {
	tmp := file + ".new"
	if err := os.WriteFile(tmp, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		return err
	}
	if err := os.Chmod(tmp, mode); err != nil { // it may have been there
		return err
	}
	return os.Rename(tmp, file)
}

func readPEM(file, kind string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	p, _ := pem.Decode(b)
	if p == nil || p.Type != kind {
		return nil, fmt.Errorf("%s has no %s in it", file, strings.ToLower(kind))
	}
	return p.Bytes, nil
}

func readCert(file string) (*x509.Certificate, error) {
	der, err := readPEM(file, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

func readKey(file string) (*ecdsa.PrivateKey, error) {
	der, err := readPEM(file, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s is not a key of this command's kind (ECDSA)", file)
	}
	return key, nil
}

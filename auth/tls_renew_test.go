package auth

import (
	"crypto/x509/pkix"
	"os"
	"testing"
	"time"
)

// Renewed files are used, also when they are replaced one after the other, and
// only then are they read again.
func TestRenewed(t *testing.T) {
	ca := newCA(t, "ca")
	_, cert, key := ca.issue("first", pkix.Name{CommonName: "first"})
	s, err := NewServerTLS(TLSOptions{Cert: cert, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := s.Renewed(); changed || err != nil {
		t.Fatal(changed, err)
	}
	_, newCert, newKey := ca.issue("second", pkix.Name{CommonName: "second"})
	replace := func(name, by string) {
		t.Helper()
		b, err := os.ReadFile(by)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		later := time.Now().Add(time.Minute) // clocks of files may be coarse
		if err := os.Chtimes(name, later, later); err != nil {
			t.Fatal(err)
		}
	}
	replace(cert, newCert)
	if changed, err := s.Renewed(); changed || err == nil || s.Leaf().Subject.CommonName != "first" {
		t.Fatalf("a certificate without its key: %v, %v, %s", changed, err, s.Leaf().Subject.CommonName)
	}
	replace(key, newKey)
	if changed, err := s.Renewed(); !changed || err != nil || s.Leaf().Subject.CommonName != "second" {
		t.Fatalf("both: %v, %v, %s", changed, err, s.Leaf().Subject.CommonName)
	}
	if changed, err := s.Renewed(); changed || err != nil {
		t.Fatal(changed, err)
	}
}

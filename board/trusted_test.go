package board

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"
)

func TestTrustedTime(t *testing.T) {
	system := time.Unix(30, 0) // 1970: a board that has just started
	trusted := NewTrustedTime()
	trusted.now = func() time.Time { return system }
	if now := trusted.Now(); now.Before(builtAfter) || !trusted.Behind() {
		t.Errorf("in 1970 it says %v, behind %v", now, trusted.Behind())
	}
	lastRun := time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)
	trusted.NotBefore(lastRun)
	trusted.NotBefore(lastRun.Add(-time.Hour)) // a floor never sinks
	if now := trusted.Now(); !now.Equal(lastRun) {
		t.Errorf("it says %v, want the last run's %v", now, lastRun)
	}
	system = lastRun.Add(time.Hour) // the clock was set
	if now := trusted.Now(); !now.Equal(system) || trusted.Behind() {
		t.Errorf("with the clock set it says %v, behind %v", now, trusted.Behind())
	}
}

// A board that starts in 1970 comes up with TLS: both ends judge certificates
// by the trusted time, mutually.
func TestTLSWithoutClock(t *testing.T) {
	begin := time.Now().Add(-time.Hour)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway"}, DNSNames: []string{"gateway"},
		NotBefore: begin, NotAfter: begin.Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	pair := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}

	shake := func(now func() time.Time) error {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		b, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		a, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		server := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert, Time: now})
		client := tls.Client(b, &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: "gateway", Time: now})
		done := make(chan error, 1)
		go func() {
			err := server.Handshake()
			if err != nil {
				a.Close()
			}
			done <- err
		}()
		err = client.Handshake()
		if err != nil {
			b.Close()
		}
		if e := <-done; err == nil {
			err = e
		}
		return err
	}
	unset := func() time.Time { return time.Unix(30, 0) }
	if err := shake(unset); err == nil {
		t.Fatal("a handshake in 1970 succeeds by itself: this shows nothing")
	}
	trusted := NewTrustedTime()
	trusted.now = unset
	trusted.NotBefore(leaf.NotBefore)
	if err := shake(trusted.Now); err != nil {
		t.Errorf("in 1970, with the trusted time: %v", err)
	}
}

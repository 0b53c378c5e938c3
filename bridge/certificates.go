package bridge

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// certificates are the ends of those that a connection uses; zero: there is
// none, or it is not known.
type certificates struct {
	peer  time.Time // the centre's
	own   time.Time // our client certificate's
	trust time.Time // the first to end of the authorities that vouch for the centre
}

// own notes our client certificate before the handshake, which may fail for it.
func ownCertificate(c *tls.Config) (ends time.Time) {
	if len(c.Certificates) == 0 || len(c.Certificates[0].Certificate) == 0 {
		return ends
	}
	leaf := c.Certificates[0].Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(c.Certificates[0].Certificate[0]); err != nil {
			return ends
		}
	}
	return leaf.NotAfter
}

// of adds what the handshake found out.
func (c certificates) of(s tls.ConnectionState) certificates {
	if len(s.PeerCertificates) > 0 {
		c.peer = s.PeerCertificates[0].NotAfter
	}
	if len(s.VerifiedChains) > 0 { // none with insecure
		for _, a := range s.VerifiedChains[0][1:] {
			if c.trust.IsZero() || a.NotAfter.Before(c.trust) {
				c.trust = a.NotAfter
			}
		}
	}
	return c
}

// days are how many days each is still good for.
func (c certificates) days(now time.Time) (peer, own, trust *float64) {
	left := func(end time.Time) *float64 {
		if end.IsZero() {
			return nil
		}
		d := end.Sub(now).Hours() / 24
		return &d
	}
	return left(c.peer), left(c.own), left(c.trust)
}

package broker

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/pires/go-proxyproto"
)

// maxProxyHeader bounds a PROXY header: version 2 could announce 64 KiB.
const maxProxyHeader = 4 << 10

var proxyV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")

// proxied is what a PROXY header says of the client.
type proxied struct {
	remote string            // "" when the proxy speaks for itself (health checks)
	cn     string            // common name of the certificate that the proxy verified
	tls    bool              // the client spoke TLS with the proxy
	cert   *x509.Certificate // the whole of it, from proxies that send that
}

// readProxy reads a PROXY header of version 1 or 2 off nc and not a byte more,
// so that what follows can be read by anyone, from the descriptor too.
func readProxy(nc net.Conn) (proxied, error) {
	b := make([]byte, len(proxyV2), 256)
	if _, err := io.ReadFull(nc, b); err != nil {
		return proxied{}, fmt.Errorf("PROXY header: %w", err)
	}
	var err error
	switch {
	case bytes.Equal(b, proxyV2):
		b, err = readProxy2(nc, b)
	case bytes.HasPrefix(b, []byte("PROXY ")):
		b, err = readProxy1(nc, b)
	default:
		err = errors.New("there is none; does the client connect without the proxy?")
	}
	if err != nil {
		return proxied{}, fmt.Errorf("PROXY header: %w", err)
	}
	h, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(b)))
	if err != nil {
		return proxied{}, fmt.Errorf("PROXY header: %w", err)
	}
	return understand(h)
}

// readProxy1 reads the rest of a line of at most 107 bytes.
func readProxy1(nc net.Conn, b []byte) ([]byte, error) {
	for b[len(b)-1] != '\n' {
		if len(b) >= 107 {
			return nil, errors.New("version 1 without an end")
		}
		var next [1]byte
		if _, err := io.ReadFull(nc, next[:]); err != nil {
			return nil, err
		}
		b = append(b, next[0])
	}
	return b, nil
}

func readProxy2(nc net.Conn, b []byte) ([]byte, error) {
	b = b[:16]
	if _, err := io.ReadFull(nc, b[12:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(b[14:]))
	if n > maxProxyHeader {
		return nil, fmt.Errorf("version 2 with %d bytes", n)
	}
	b = append(b, make([]byte, n)...)
	_, err := io.ReadFull(nc, b[16:])
	return b, err
}

func understand(h *proxyproto.Header) (proxied, error) {
	var p proxied
	if h.Command.IsProxy() && h.SourceAddr != nil {
		p.remote = h.SourceAddr.String()
	}
	tlvs, err := h.TLVs()
	if err != nil {
		return p, fmt.Errorf("PROXY header: %w", err)
	}
	for _, tlv := range tlvs {
		if tlv.Type == proxyproto.PP2_TYPE_SSL {
			if err := p.readTLS(tlv.Value); err != nil {
				return p, fmt.Errorf("PROXY header: %w", err)
			}
		}
	}
	return p, nil
}

// readTLS reads PP2_TYPE_SSL: a byte of flags, the result of the verification
// (0: good), and values of which we want the common name and the certificate.
// They count only when the client showed a certificate and it was verified.
func (p *proxied) readTLS(b []byte) error {
	const usedTLS, certOnConn, certInSession = 1, 2, 4
	const subtypeCN, subtypeCert = 0x22, 0x28
	if len(b) < 5 || b[0]&usedTLS == 0 {
		return nil
	}
	p.tls = true
	if binary.BigEndian.Uint32(b[1:]) != 0 || b[0]&(certOnConn|certInSession) == 0 {
		return nil
	}
	for b = b[5:]; len(b) >= 3; {
		n := int(binary.BigEndian.Uint16(b[1:]))
		if len(b) < 3+n {
			break
		}
		switch value := b[3 : 3+n]; b[0] {
		case subtypeCN:
			p.cn = string(value)
		case subtypeCert:
			var err error
			if p.cert, err = x509.ParseCertificate(value); err != nil {
				return fmt.Errorf("client certificate: %w", err)
			}
		}
		b = b[3+n:]
	}
	return nil
}

package broker

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
)

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }

// proxyHeader makes a header of version 2 with what HAProxy adds for a client
// certificate (send-proxy-v2-ssl-cn).
func proxyHeader(t *testing.T, cn string, flags byte, verify uint32, der ...byte) []byte {
	h := proxyproto.HeaderProxyFromAddrs(2, &net.TCPAddr{IP: net.ParseIP("2001:db8::7"), Port: 4711}, &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 8883})
	value := binary.BigEndian.AppendUint32([]byte{flags}, verify)
	for _, sub := range []struct {
		kind byte
		text string
	}{{0x21, "TLSv1.3"}, {0x22, cn}, {0x28, string(der)}} {
		if sub.text == "" {
			continue
		}
		value = append(binary.BigEndian.AppendUint16(append(value, sub.kind), uint16(len(sub.text))), sub.text...)
	}
	if err := h.SetTLVs([]proxyproto.TLV{{Type: proxyproto.PP2_TYPE_SSL, Value: value}}); err != nil {
		t.Fatal(err)
	}
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadProxy(t *testing.T) {
	const from = "[2001:db8::7]:4711"
	cert, err := x509.ParseCertificate(newPKI(t).client.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	local := append(append([]byte{}, proxyV2...), 0x20, 0x00, 0, 0)
	for _, tc := range []struct {
		name string
		in   []byte
		want proxied
		err  string
	}{
		{"v1 TCP4", []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1000 1883\r\n"), proxied{remote: "192.0.2.1:1000"}, ""},
		{"v1 TCP6", []byte("PROXY TCP6 2001:db8::1 2001:db8::2 1000 1883\r\n"), proxied{remote: "[2001:db8::1]:1000"}, ""},
		{"v1 unknown", []byte("PROXY UNKNOWN\r\n"), proxied{}, ""},
		{"v1 without an end", []byte("PROXY TCP4 " + strings.Repeat("1", 200)), proxied{}, "without an end"},
		{"v1 rubbish", []byte("PROXY TCP4 a b c d\r\n"), proxied{}, "PROXY header"},
		{"v2 with a certificate's name", proxyHeader(t, "node-1", 7, 0), proxied{from, "node-1", true, nil}, ""},
		{"v2 with a certificate", proxyHeader(t, "node-1", 7, 0, cert.Raw...), proxied{from, "node-1", true, cert}, ""},
		{"v2 with half a certificate", proxyHeader(t, "node-1", 7, 0, cert.Raw[:100]...), proxied{}, "client certificate"},
		{"v2, certificate not verified", proxyHeader(t, "node-1", 7, 1, cert.Raw...), proxied{from, "", true, nil}, ""},
		{"v2, no certificate", proxyHeader(t, "node-1", 1, 0, cert.Raw...), proxied{from, "", true, nil}, ""},
		{"v2, no TLS", proxyHeader(t, "node-1", 6, 0, cert.Raw...), proxied{from, "", false, nil}, ""},
		{"v2 of the proxy itself", local, proxied{}, ""},
		{"v2 of 64 KiB", append(append([]byte{}, proxyV2...), 0x21, 0x11, 0xff, 0xff), proxied{}, "65535 bytes"},
		{"no header", []byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00"), proxied{}, "without the proxy"},
		{"cut short", proxyV2, proxied{}, "EOF"},
	} {
		near, far := net.Pipe()
		in := append(bytes.Clone(tc.in), "\x10rest"...)
		if tc.name == "cut short" {
			in = tc.in
		}
		go func() {
			far.Write(in)
			far.Close()
		}()
		got, err := readProxy(near)
		switch {
		case tc.err == "" && (err != nil || !reflect.DeepEqual(got, tc.want)):
			t.Errorf("%s: %+v, %v, want %+v", tc.name, got, err, tc.want)
		case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
			t.Errorf("%s: error %v, want %q", tc.name, err, tc.err)
		case tc.err == "":
			if rest, _ := io.ReadAll(near); string(rest) != "\x10rest" {
				t.Errorf("%s: what follows is %q", tc.name, rest)
			}
		}
		near.Close()
	}
}

package broker

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"gatewayd/mqtt"
	"gatewayd/store"
)

// serve runs a broker with listeners over a store in memory.
func serve(t *testing.T, o Options) *Broker {
	t.Helper()
	st, err := store.Open("", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(o, st)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stored, served := make(chan error, 1), make(chan error, 1)
	stx, stopStore := context.WithCancel(context.Background())
	go func() { stored <- st.Run(stx) }()
	go func() { served <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Run: %v", err)
		}
		stopStore()
		<-stored
		st.Close()
	})
	select {
	case <-b.Ready():
	case err := <-served:
		served <- nil
		t.Fatal(err)
	}
	return b
}

// pki is a certificate authority with a server's and a client's certificate in
// files.
type pki struct {
	ca, cert, key, clientCert, clientKey string
	pool                                 *x509.CertPool
	server                               *tls.Config // accepts clients with and without a certificate
	client                               *tls.Config // with the client's certificate
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	dir := t.TempDir()
	var ca *x509.Certificate
	var caKey *ecdsa.PrivateKey
	issue := func(name string, isCA bool) (cert, key string) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
			IsCA: isCA, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		}
		parent, by := ca, caKey
		if parent == nil {
			parent, by = c, k
		}
		raw, err := x509.CreateCertificate(rand.Reader, c, parent, &k.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		if isCA {
			ca, _ = x509.ParseCertificate(raw)
			caKey = k
		}
		rawKey, _ := x509.MarshalPKCS8PrivateKey(k)
		cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
		for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: raw}, key: {Type: "PRIVATE KEY", Bytes: rawKey}} {
			if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return cert, key
	}
	p := &pki{pool: x509.NewCertPool()}
	p.ca, _ = issue("ca", true)
	p.cert, p.key = issue("server", false)
	p.clientCert, p.clientKey = issue("node-1", false)
	p.pool.AddCert(ca)
	serverPair, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil {
		t.Fatal(err)
	}
	clientPair, err := tls.LoadX509KeyPair(p.clientCert, p.clientKey)
	if err != nil {
		t.Fatal(err)
	}
	p.server = &tls.Config{Certificates: []tls.Certificate{serverPair}, ClientCAs: p.pool, ClientAuth: tls.VerifyClientCertIfGiven}
	p.client = &tls.Config{RootCAs: p.pool, Certificates: []tls.Certificate{clientPair}, ServerName: "localhost"}
	return p
}

// roundTrip speaks MQTT 5 over any stream: it connects, subscribes, publishes
// messages of many sizes to itself and expects them back, in order.
func roundTrip(t *testing.T, name string, nc net.Conn) {
	t.Helper()
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	var out []byte
	out = (&mqtt.Connect{Version: mqtt.V5, ClientID: name, CleanStart: true}).Append(out, mqtt.V5)
	out = (&mqtt.Subscribe{ID: 1, Requests: []mqtt.Request{{Filter: name + "/+", Options: 1}}}).Append(out, mqtt.V5)
	if _, err := nc.Write(out); err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	sizes := []int{0, 1, 100, 1000, 5000, 20_000, 70_000, 300_000}
	go func() {
		for i, n := range sizes {
			p := &mqtt.Publish{Topic: fmt.Sprint(name, "/", i), QoS: 1, ID: mqtt.PacketID(i + 1), Payload: bytes.Repeat([]byte{byte(i)}, n)}
			nc.Write(p.Append(nil, mqtt.V5))
		}
	}()
	var in []byte
	next, acked := 0, 0
	for next < len(sizes) || acked < len(sizes) {
		n, err := mqtt.Split(in, 1<<20)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if n == 0 {
			more := make([]byte, 64<<10)
			got, err := nc.Read(more)
			if err != nil {
				t.Errorf("%s: after %d messages and %d acks: %v", name, next, acked, err)
				return
			}
			in = append(in, more[:got]...)
			continue
		}
		packet, err := mqtt.Decode(mqtt.V5, in[:n])
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		switch p := packet.(type) {
		case *mqtt.Connack:
			if p.Code != mqtt.Success {
				t.Errorf("%s: CONNACK %v", name, p.Code)
				return
			}
		case *mqtt.Puback:
			acked++
		case *mqtt.Publish:
			if want := fmt.Sprint(name, "/", next); p.Topic != want || len(p.Payload) != sizes[next] || bytes.Count(p.Payload, []byte{byte(next)}) != sizes[next] {
				t.Errorf("%s: got %s with %d bytes, want %s with %d", name, p.Topic, len(p.Payload), want, sizes[next])
				return
			}
			next++
			nc.Write((&mqtt.Puback{ID: p.ID}).Append(nil, mqtt.V5))
		}
		in = in[n:]
	}
	nc.Write((&mqtt.Disconnect{}).Append(nil, mqtt.V5))
}

// TestListeners speaks MQTT through every kind of listener at once, on event
// loops and with a goroutine for each connection.
func TestListeners(t *testing.T) {
	t.Run("loops", func(t *testing.T) { testListeners(t, 2) })
	t.Run("goroutines", func(t *testing.T) { testListeners(t, -1) })
}

func testListeners(t *testing.T, loops int) {
	p := newPKI(t)
	socket := filepath.Join(t.TempDir(), "mqtt.sock")
	opened, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := serve(t, Options{Loops: loops, Listeners: []Listener{
		{Name: "tcp", Address: "127.0.0.1:0"},
		{Name: "tls", Address: "127.0.0.1:0", TLS: p.server},
		{Name: "ws", Address: "127.0.0.1:0", WebSocket: true},
		{Name: "wss", Address: "127.0.0.1:0", WebSocket: true, TLS: p.server},
		{Name: "unix", Address: "unix:" + socket, SocketMode: 0o660},
		{Name: "proxy", Address: "127.0.0.1:0", Proxy: true},
		{Name: "proxy-wss", Address: "127.0.0.1:0", Proxy: true, WebSocket: true, TLS: p.server},
		{Name: "tcp6", Address: "[::1]:0", Family: "6"},
		{Name: "activated", Opened: opened},
		{Name: "unix-tls", Address: "unix:" + socket + "2", TLS: p.server},
	}})
	dial := func(i int) net.Conn {
		c, err := net.Dial(b.Addr(i).Network(), b.Addr(i).String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	header := []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1000 1883\r\n")
	secure := func(c net.Conn, version uint16) net.Conn {
		conf := p.client.Clone()
		conf.MaxVersion = version
		return tls.Client(c, conf)
	}
	ws := func(c net.Conn) net.Conn { return dialWebSocket(t, c) }
	for name, open := range map[string]func() net.Conn{
		"tcp":       func() net.Conn { return dial(0) },
		"tls12":     func() net.Conn { return secure(dial(1), tls.VersionTLS12) },
		"tls13":     func() net.Conn { return secure(dial(1), tls.VersionTLS13) },
		"ws":        func() net.Conn { return ws(dial(2)) },
		"wss":       func() net.Conn { return ws(secure(dial(3), tls.VersionTLS13)) },
		"unix":      func() net.Conn { return dial(4) },
		"proxy":     func() net.Conn { c := dial(5); c.Write(header); return c },
		"proxy-wss": func() net.Conn { c := dial(6); c.Write(header); return ws(secure(c, 0)) },
		"tcp6":      func() net.Conn { return dial(7) },
		"activated": func() net.Conn { return dial(8) },
		"unix-tls":  func() net.Conn { return secure(dial(9), 0) },
		// Records and frames that come in pieces.
		"tls12 in pieces": func() net.Conn { return secure(&dribble{Conn: dial(1)}, tls.VersionTLS12) },
		"tls13 in pieces": func() net.Conn { return secure(&dribble{Conn: dial(1)}, tls.VersionTLS13) },
		"ws in pieces":    func() net.Conn { return ws(&dribble{Conn: dial(2)}) },
		"wss in pieces":   func() net.Conn { return ws(secure(&dribble{Conn: dial(3)}, tls.VersionTLS13)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			roundTrip(t, name, open())
		})
	}
}

// dribble writes its first kilobytes a few bytes at a time, then odd pieces.
type dribble struct {
	net.Conn
	sent int
}

func (d *dribble) Write(p []byte) (n int, err error) {
	for n < len(p) {
		piece := min(1+d.sent%3, len(p)-n)
		if d.sent > 2500 {
			piece = min(1333, len(p)-n)
		}
		k, err := d.Conn.Write(p[n : n+piece])
		n, d.sent = n+k, d.sent+k
		if err != nil {
			return n, err
		}
		if d.sent%16 == 0 {
			time.Sleep(50 * time.Microsecond)
		}
	}
	return n, nil
}

// dialWebSocket shakes hands over an open connection with a real client.
func dialWebSocket(t *testing.T, c net.Conn) net.Conn {
	t.Helper()
	ctx := t.Context()
	ws, _, err := websocket.Dial(ctx, "ws://localhost/mqtt", &websocket.DialOptions{
		Subprotocols: []string{"mqtt"},
		HTTPClient:   httpClientOver(c),
	})
	if err != nil {
		t.Fatal(err)
	}
	ws.SetReadLimit(1 << 20)
	return websocket.NetConn(ctx, ws, websocket.MessageBinary)
}

// httpClientOver has an HTTP client use one open connection.
func httpClientOver(c net.Conn) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }}}
}

// TestMosquittoClients has Debian's clients use what they can: TCP, TLS with a
// client certificate, a Unix socket.
func TestMosquittoClients(t *testing.T) {
	for _, tool := range []string{"mosquitto_pub", "mosquitto_sub"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed")
		}
	}
	p := newPKI(t)
	socket := filepath.Join(t.TempDir(), "mqtt.sock")
	b := serve(t, Options{Listeners: []Listener{
		{Name: "tcp", Address: "127.0.0.1:0"},
		{Name: "tls", Address: "127.0.0.1:0", TLS: p.server, Identity: IdentityCN},
		{Name: "unix", Address: "unix:" + socket},
	}})
	port := func(i int) string { return fmt.Sprint(b.Addr(i).(*net.TCPAddr).Port) }
	secure := []string{"-h", "localhost", "-p", port(1), "--cafile", p.ca, "--cert", p.clientCert, "--key", p.clientKey}
	for name, args := range map[string][]string{
		"tcp":  {"-h", "127.0.0.1", "-p", port(0)},
		"tls":  secure,
		"tls2": append([]string{"--tls-version", "tlsv1.2"}, secure...),
		"unix": {"--unix", socket},
	} {
		for _, version := range []string{"31", "311", "5"} {
			t.Run(name+" "+version, func(t *testing.T) {
				t.Parallel()
				topic := "t/" + name + "/" + version
				pub := exec.Command("mosquitto_pub", append([]string{"-V", version, "-t", topic, "-m", "hello", "-q", "2", "-r"}, args...)...)
				if out, err := pub.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				sub := exec.Command("mosquitto_sub", append([]string{"-V", version, "-t", topic, "-C", "1", "-W", "10", "-v"}, args...)...)
				out, err := sub.CombinedOutput()
				if want := topic + " hello\n"; err != nil || string(out) != want {
					t.Fatalf("%v: %q, want %q", err, out, want)
				}
			})
		}
	}
}

// asked records who connected.
type asked struct{ clients chan Client }

func (a asked) Connect(r *ConnectRequest, answer func(ConnectResult)) {
	a.clients <- r.Client
	answer(ConnectResult{Code: mqtt.Success})
}
func (asked) Publish(*Client, string, mqtt.QoS, bool) bool { return true }
func (asked) Subscribe(*Client, string, mqtt.QoS) bool     { return true }
func (asked) Deliver(*Client, string) bool                 { return true }

// TestIdentity: what address and user name arrive from each kind of peer.
func TestIdentity(t *testing.T) {
	p := newPKI(t)
	who := asked{make(chan Client, 1)}
	b := serve(t, Options{Auth: who, Listeners: []Listener{
		{Name: "tls", Address: "127.0.0.1:0", TLS: p.server, Identity: IdentityCN},
		{Name: "subject", Address: "127.0.0.1:0", TLS: p.server, Identity: IdentitySubject,
			CertName: func(c *x509.Certificate) (string, error) { return "CN=" + c.Subject.CommonName, nil }},
		{Name: "proxied", Address: "127.0.0.1:0", Proxy: true, Identity: IdentityCN},
		{Name: "plain proxied", Address: "127.0.0.1:0", Proxy: true},
	}})
	for _, tc := range []struct {
		name         string
		listener     int
		head         []byte
		tls          bool
		remote, user string
	}{
		{"certificate", 0, nil, true, "127.0.0.1:", "node-1"},
		{"subject", 1, nil, true, "127.0.0.1:", "CN=node-1"},
		{"certificate at the proxy", 2, proxyHeader(t, "node-9", 7, 0), false, "[2001:db8::7]:4711", "node-9"},
		{"proxy without identity", 3, proxyHeader(t, "node-9", 7, 0), false, "[2001:db8::7]:4711", "said"},
		{"version 1", 3, []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1000 1883\r\n"), false, "192.0.2.1:1000", "said"},
	} {
		nc, err := net.Dial("tcp", b.Addr(tc.listener).String())
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		nc.Write(tc.head)
		if tc.tls {
			nc = tls.Client(nc, p.client)
		}
		nc.Write((&mqtt.Connect{Version: mqtt.V311, ClientID: "c", CleanStart: true, HasUsername: true, Username: "said"}).Append(nil, mqtt.V311))
		if _, err := io.ReadFull(nc, make([]byte, 4)); err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		c := <-who.clients
		if !strings.HasPrefix(c.Remote, tc.remote) || c.Username != tc.user || (c.TLS != nil) != tc.tls {
			t.Errorf("%s: remote %q, user %q, TLS %v", tc.name, c.Remote, c.Username, c.TLS != nil)
		}
		nc.Close()
	}
}

// TestRefusedConnections: what does not shake hands properly is closed, in time
// and with no trace left.
func TestRefusedConnections(t *testing.T) {
	p := newPKI(t)
	required := p.server.Clone()
	required.ClientAuth = tls.RequireAndVerifyClientCert
	b := serve(t, Options{Rules: Rules{ConnectTimeout: 300 * time.Millisecond}, Listeners: []Listener{
		{Name: "tcp", Address: "127.0.0.1:0"},
		{Name: "tls", Address: "127.0.0.1:0", TLS: required},
		{Name: "ws", Address: "127.0.0.1:0", WebSocket: true},
		{Name: "proxy", Address: "127.0.0.1:0", Proxy: true},
	}})
	hello := (&mqtt.Connect{Version: mqtt.V311, ClientID: "c", CleanStart: true}).Append(nil, mqtt.V311)
	for _, tc := range []struct {
		name     string
		listener int
		send     []byte
	}{
		{"nothing on TCP", 0, nil},
		{"half a CONNECT", 0, hello[:9]},
		{"nothing on TLS", 1, nil},
		{"MQTT on TLS", 1, hello},
		{"nothing on WebSocket", 2, nil},
		{"half a request", 2, []byte("GET /mqtt HTTP/1.1\r\n")},
		{"MQTT on WebSocket", 2, hello},
		{"nothing for PROXY", 3, nil},
		{"MQTT without PROXY", 3, hello},
		{"PROXY and nothing", 3, []byte("PROXY UNKNOWN\r\n")},
	} {
		nc, err := net.Dial("tcp", b.Addr(tc.listener).String())
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(5 * time.Second))
		nc.Write(tc.send)
		if _, err := io.Copy(io.Discard, nc); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: not closed: %v", tc.name, err)
		}
		nc.Close()
	}
	noCert := p.client.Clone()
	noCert.Certificates = nil
	if c, err := tls.Dial("tcp", b.Addr(1).String(), noCert); err == nil {
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a client without a certificate is let in")
		}
		c.Close()
	}
	for range 100 {
		if b.stats.admitted.Load() == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if n := b.stats.admitted.Load(); n != 0 {
		t.Errorf("%d connections are still counted", n)
	}
}

func TestMaxConnections(t *testing.T) {
	p := newPKI(t)
	b := serve(t, Options{MaxConnections: 3, Listeners: []Listener{
		{Name: "two", Address: "127.0.0.1:0", Settings: Settings{MaxConnections: 2}},
		{Name: "tls", Address: "127.0.0.1:0", TLS: p.server},
	}})
	connect := func(i int) (net.Conn, bool) {
		nc, err := net.Dial("tcp", b.Addr(i).String())
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(5 * time.Second))
		raw := nc
		if i == 1 {
			nc = tls.Client(nc, p.client)
		}
		nc.Write((&mqtt.Connect{Version: mqtt.V311, ClientID: raw.LocalAddr().String(), CleanStart: true}).Append(nil, mqtt.V311))
		_, err = io.ReadFull(nc, make([]byte, 4))
		return nc, err == nil
	}
	var open []net.Conn
	for i, want := range []struct {
		listener int
		ok       bool
	}{{0, true}, {0, true}, {0, false}, {1, true}, {1, false}} {
		nc, ok := connect(want.listener)
		if ok != want.ok {
			t.Errorf("connection %d: let in: %v", i, ok)
		}
		if ok {
			open = append(open, nc)
		} else {
			nc.Close()
		}
	}
	open[0].Close()
	for range 100 {
		nc, ok := connect(0)
		nc.Close()
		if ok {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("a place that was left is not given again")
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close()
	l, err := listenUnix(path, 0o600) // what a killed broker left is cleared away
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if _, err := listenUnix(path, 0); err == nil || !strings.Contains(err.Error(), "somebody listens") {
		t.Errorf("a living broker's socket was taken: %v", err)
	}
	l.Close()
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket stays behind")
	}
	os.WriteFile(path, []byte("precious"), 0o600)
	if _, err := listenUnix(path, 0); err == nil {
		t.Error("a file that is no socket was taken")
	}
}

func TestBindToInterface(t *testing.T) {
	l, err := listen(Listener{Address: "127.0.0.1:0", Interface: "lo"})
	if err != nil {
		t.Skip(err) // needs a right on older kernels
	}
	l.Close()
	if l, err := listen(Listener{Address: "127.0.0.1:0", Interface: "none0"}); err == nil {
		l.Close()
		t.Error("bound to an interface that does not exist")
	}
}

package broker

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/mqtt"
)

// TestHAProxy puts a real HAProxy in front: PROXY version 1, version 2, and
// version 2 with the name out of a client certificate that HAProxy verified; in
// front of plain, WebSocket and TLS listeners.
func TestHAProxy(t *testing.T) {
	haproxy, err := exec.LookPath("haproxy")
	if err != nil {
		if haproxy, err = exec.LookPath("/usr/sbin/haproxy"); err != nil {
			t.Skip("haproxy is not installed")
		}
	}
	p := newPKI(t)
	who := asked{make(chan Client, 1)}
	b := serve(t, Options{Auth: who, Listeners: []Listener{
		{Name: "plain", Address: "127.0.0.1:0", Proxy: true, Identity: IdentityCN},
		{Name: "ws", Address: "127.0.0.1:0", Proxy: true, WebSocket: true},
		{Name: "tls", Address: "127.0.0.1:0", Proxy: true, TLS: p.server, Identity: IdentityCN},
		{Name: "open", Address: "127.0.0.1:0", Proxy: true},
	}})
	dir := t.TempDir()
	pem := filepath.Join(dir, "server.pem") // HAProxy wants certificate and key in one file
	cert, _ := os.ReadFile(p.cert)
	key, _ := os.ReadFile(p.key)
	if err := os.WriteFile(pem, append(cert, key...), 0o600); err != nil {
		t.Fatal(err)
	}
	type front struct{ bind, server string }
	fronts := []front{
		{"", fmt.Sprintf("%s send-proxy", b.Addr(3))},
		{"", fmt.Sprintf("%s send-proxy-v2", b.Addr(3))},
		{fmt.Sprintf("ssl crt %s ca-file %s verify required", pem, p.ca), fmt.Sprintf("%s send-proxy-v2-ssl-cn", b.Addr(0))},
		{"", fmt.Sprintf("%s send-proxy-v2", b.Addr(1))},
		{"", fmt.Sprintf("%s send-proxy", b.Addr(2))}, // TLS goes through to the broker
	}
	conf := "global\n  log stderr local0 err\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n"
	addrs := make([]string, len(fronts))
	for i, f := range fronts {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs[i] = l.Addr().String()
		l.Close()
		conf += fmt.Sprintf("listen l%d\n  bind %s %s\n  server s %s\n", i, addrs[i], f.bind, f.server)
	}
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, haproxy, "-db", "-f", file)
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	}()
	dial := func(i int) net.Conn {
		for range 300 {
			if c, err := net.Dial("tcp", addrs[i]); err == nil {
				return c
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatal("haproxy does not listen")
		return nil
	}
	for i, tc := range []struct {
		name string
		over func(net.Conn) net.Conn
		user string
	}{
		{"version 1", nil, ""},
		{"version 2", nil, ""},
		{"version 2, certificate at HAProxy", func(c net.Conn) net.Conn { return tls.Client(c, p.client) }, "node-1"},
		{"WebSocket", func(c net.Conn) net.Conn { return dialWebSocket(t, c) }, ""},
		{"TLS through", func(c net.Conn) net.Conn { return tls.Client(c, p.client) }, "node-1"},
	} {
		raw := dial(i)
		nc := raw
		if tc.over != nil {
			nc = tc.over(raw)
		}
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		nc.Write((&mqtt.Connect{Version: mqtt.V311, ClientID: fmt.Sprint("h", i), CleanStart: true}).Append(nil, mqtt.V311))
		head := make([]byte, 4)
		if _, err := nc.Read(head); err != nil || head[0] != 0x20 || head[3] != 0 {
			t.Errorf("%s: % x, %v", tc.name, head, err)
			nc.Close()
			continue
		}
		if c := <-who.clients; c.Remote != raw.LocalAddr().String() || c.Username != tc.user {
			t.Errorf("%s: remote %q, want %q; user %q, want %q", tc.name, c.Remote, raw.LocalAddr(), c.Username, tc.user)
		}
		nc.Close()
	}
}

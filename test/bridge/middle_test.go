package bridge_test

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatewayd/test/peer"
)

// middle starts a program that stands between a gateway and its centre and waits until it listens. It is skipped where
// the Debian package is not installed (scripts/setup-debian.sh test).
func middle(t testing.TB, pack, program, addr string, args ...string) *peer.Process {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + program); err != nil {
			t.Skipf("%s is not installed (apt-get install %s)", program, pack)
		}
	}
	p, err := peer.Start(program, addr, filepath.Join(t.TempDir(), program+".log"), append([]string{path}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("the log of %s:\n%s", program, p.Output())
		}
	})
	eventually(t, 30*time.Second, program+" listens", func() bool {
		if p.Exited() {
			t.Fatalf("%s has ended:\n%s", program, p.Output())
		}
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return p
}

// detours are the bridges of a gateway, one for each way to a centre, all of them both ways, each below its own name.
type detours struct {
	t    testing.TB
	yaml string
}

func (w *detours) add(name, addr, more string) {
	w.yaml += fmt.Sprintf("  - {name: %s, addresses: [%q], topics: [{filter: \"%s/#\", direction: both, qos: 2}], restart_timeout: 300ms%s}\n", name, addr, name, more)
}

// cross starts the gateway and sends a message of QoS 2, large ones too, through every bridge named, to and from its centre.
func (w *detours) cross(centres map[string]*centre) *centre {
	w.t.Helper()
	g := newGatewayd(w.t, "http: {address: \"off\"}\nbridges:\n"+w.yaml)
	g.start()
	here := listen(w.t, g.addr, "here", 2, "#")
	for name, c := range centres {
		there := listen(w.t, c.addr, "there-"+name, 2, name+"/#")
		for _, payload := range []string{"small", strings.Repeat("large ", 40_000)} {
			here.publish(name+"/out", payload, 2, false)
			there.expect(name+"/out", payload)
			there.publish(name+"/in", payload, 2, false)
			here.expect(name+"/in", payload)
		}
	}
	return g
}

// refused waits until the log says why a bridge is not connected, and looks whether it tells a secret.
func refused(t testing.TB, g *centre, bridge, why, secret string) {
	t.Helper()
	eventually(t, 60*time.Second, bridge+" is refused, and the log says why", func() bool {
		for line := range strings.Lines(g.p.Output()) {
			if strings.Contains(line, "bridge="+bridge+" ") && strings.Contains(line, why) {
				return true
			}
		}
		return false
	})
	if strings.Contains(g.p.Output(), `msg="bridge connected" bridge=`+bridge+" ") {
		t.Errorf("%s is connected", bridge)
	}
	if strings.Contains(g.p.Output(), secret) {
		t.Errorf("the log has the password of %s", bridge)
	}
}

// TestThroughTinyproxy goes through Debian's tinyproxy by HTTP CONNECT, to a plain and to a TLS listener; a wrong password
// and a port that the proxy does not allow are refused, and the log says so.
func TestThroughTinyproxy(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	c, tlsAddr, _ := secured(t, a)
	a.issue("gw", "gw", time.Now().Add(-time.Hour))
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	host, port, _ := net.SplitHostPort(addr)
	_, plain, _ := net.SplitHostPort(c.addr)
	_, secure, _ := net.SplitHostPort(tlsAddr)
	file := write(t, filepath.Join(t.TempDir(), "tinyproxy.conf"), fmt.Sprintf(
		"Port %s\nListen %s\nTimeout 600\nMaxClients 50\nBasicAuth me pr0xy-secret\nConnectPort %s\nConnectPort %s\n", port, host, plain, secure))
	p := middle(t, "tinyproxy-bin", "tinyproxy", addr, "-d", "-c", file)
	w := detours{t: t}
	proxy := fmt.Sprintf(", proxy: \"http://me:pr0xy-secret@%s\"", addr)
	w.add("plain", c.addr, proxy)
	w.add("secure", tlsAddr, proxy+fmt.Sprintf(", tls: {ca: %q, cert: %q, key: %q}", a.file("ca.crt"), a.file("gw.crt"), a.file("gw.key")))
	w.add("stranger", c.addr, fmt.Sprintf(", proxy: \"http://me:wr0ng-secret@%s\"", addr))
	w.add("port", fmt.Sprintf("127.0.0.1:%d", freePort(t)), proxy)
	g := w.cross(map[string]*centre{"plain": c, "secure": c})
	refused(t, g, "stranger", "401", "wr0ng-secret") // tinyproxy says 401 where 407 is meant
	refused(t, g, "port", "403", "pr0xy-secret")
	if p.Exited() {
		t.Error("tinyproxy has ended")
	}
}

// TestThroughMicrosocks goes through Debian's microsocks by SOCKS5 with a password, to a plain listener and to a secure
// WebSocket; a wrong password is refused, and so is a centre that is not there.
func TestThroughMicrosocks(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	c, _, wssAddr := secured(t, a)
	a.issue("gw", "gw", time.Now().Add(-time.Hour))
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	host, port, _ := net.SplitHostPort(addr)
	middle(t, "microsocks", "microsocks", addr, "-i", host, "-p", port, "-u", "me", "-P", "pr0xy-secret")
	w := detours{t: t}
	proxy := fmt.Sprintf(", proxy: \"socks5://me:pr0xy-secret@%s\"", addr)
	w.add("plain", c.addr, proxy)
	w.add("secure", "wss://"+wssAddr, proxy+fmt.Sprintf(", tls: {ca: %q, cert: %q, key: %q}", a.file("ca.crt"), a.file("gw.crt"), a.file("gw.key")))
	w.add("stranger", c.addr, fmt.Sprintf(", proxy: \"socks5://me:wr0ng-secret@%s\"", addr))
	w.add("nobody", fmt.Sprintf("127.0.0.1:%d", freePort(t)), proxy)
	g := w.cross(map[string]*centre{"plain": c, "secure": c})
	refused(t, g, "stranger", "not connected", "wr0ng-secret")
	refused(t, g, "nobody", "refused", "pr0xy-secret")
}

// TestRoutedBySNIAndALPN has Debian's haproxy send TLS connections to one of three mosquittos, by the name asked for or by
// the protocol offered, without ending TLS: what `server_name` and `alpn` of a bridge's `tls` are for.
func TestRoutedBySNIAndALPN(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("gw", "gw", time.Now().Add(-time.Hour))
	centres, backends := map[string]*centre{}, ""
	for _, name := range []string{"one", "two", "three"} {
		c, tlsAddr, _ := secured(t, a)
		centres[name] = c
		backends += fmt.Sprintf("backend %s\n  server s %s\n", name, tlsAddr)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	file := write(t, filepath.Join(t.TempDir(), "haproxy.cfg"), `global
  maxconn 100
defaults
  mode tcp
  timeout connect 5s
  timeout client 10m
  timeout server 10m
frontend tls
  bind `+addr+`
  tcp-request inspect-delay 10s
  tcp-request content accept if { req.ssl_hello_type 1 }
  use_backend three if { req.ssl_alpn x-amzn-mqtt-ca }
  use_backend one if { req.ssl_sni -i one.example }
  use_backend two if { req.ssl_sni -i two.example }
`+backends)
	middle(t, "haproxy", "haproxy", addr, "-db", "-f", file)
	w := detours{t: t}
	files := fmt.Sprintf("ca: %q, cert: %q, key: %q", a.file("ca.crt"), a.file("gw.crt"), a.file("gw.key"))
	w.add("one", addr, fmt.Sprintf(", tls: {server_name: one.example, %s}", files))
	w.add("two", addr, fmt.Sprintf(", tls: {server_name: two.example, alpn: [mqtt], %s}", files))
	w.add("three", addr, fmt.Sprintf(", tls: {server_name: centre.example, alpn: [x-amzn-mqtt-ca], %s}", files))
	w.add("lost", addr, fmt.Sprintf(", tls: {server_name: four.example, %s}", files))
	g := w.cross(centres)
	refused(t, g, "lost", "not connected", "pr0xy-secret")
}

// TestThroughNginx goes through Debian's nginx as WebSocket and as secure WebSocket, with nginx ending TLS; a path that it
// does not serve is refused. Reloading nginx, which ends its connections, loses nothing.
func TestThroughNginx(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("nginx", "nginx", time.Now().Add(-time.Hour))
	behind := freePort(t)
	c := newMosquitto(t, fmt.Sprintf("listener %d 127.0.0.1\nprotocol websockets\n", behind))
	ws, wss := fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	dir := t.TempDir()
	temp := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp += fmt.Sprintf("  %s_temp_path %s/%s;\n", kind, dir, kind)
	}
	file := write(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`pid %s/nginx.pid;
daemon off;
error_log stderr;
worker_processes 1;
worker_shutdown_timeout 1s;
events { worker_connections 100; }
http {
  access_log /dev/stdout;
%s  server {
    listen %s;
    listen %s ssl;
    ssl_certificate %s;
    ssl_certificate_key %s;
    location = /mqtt {
      proxy_pass http://127.0.0.1:%d;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_read_timeout 10m;
    }
    location / { return 404; }
  }
}
`, dir, temp, ws, wss, a.file("nginx.crt"), a.file("nginx.key"), behind))
	p := middle(t, "nginx-light", "nginx", ws, "-p", dir, "-c", file)
	w := detours{t: t}
	ca := fmt.Sprintf(", tls: {ca: %q}", a.file("ca.crt"))
	w.add("plain", "ws://"+ws+"/mqtt", "")
	w.add("secure", "wss://"+wss+"/mqtt", ca)
	w.add("path", "ws://"+ws+"/other", "")
	g := w.cross(map[string]*centre{"plain": c, "secure": c})
	refused(t, g, "path", "404", "pr0xy-secret")

	there, here := listen(t, c.addr, "numbers", 2, "secure/n"), newClient(t, g.addr, "counts").mustConnect()
	const n = 300
	for i := range n {
		here.publish("secure/n", fmt.Sprint(i), 2, false)
		if i == n/3 {
			if err := p.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		}
	}
	there.inOrder("secure/n", n)
}

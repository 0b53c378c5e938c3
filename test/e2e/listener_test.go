package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/test/peer"
)

// TestListeners reaches one broker over TCP, TLS and a Unix socket with mosquitto's own clients.
func TestListeners(t *testing.T) {
	t.Parallel()
	certs := t.TempDir()
	cert, key, err := peer.SelfSigned(certs)
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	socket := filepath.Join(certs, "mqtt.sock")
	g := newGateway(t, "")
	g.config = strings.Replace(g.config, "http:", "  - {address: \"127.0.0.1:"+itoa(port)+"\", tls: {cert: "+cert+", key: "+key+"}}\n"+
		"  - {address: \"unix:"+socket+"\"}\nhttp:", 1)
	g.start()
	here := subscribe(t, g.port, "-q", "1", "-t", "t/#")
	publish(t, port, "--cafile", cert, "-q", "1", "-t", "t/tls", "-m", "over TLS")
	here.want("t/tls over TLS")
	pub, err := exec.LookPath("mosquitto_pub")
	if err != nil {
		t.Skip(err)
	}
	if out, err := exec.Command(pub, "--unix", socket, "-q", "2", "-t", "t/unix", "-m", "over a socket").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	here.want("t/unix over a socket")
	tls := subscribe(t, port, "--cafile", cert, "-q", "2", "-t", "t/#")
	publish(t, g.port, "-q", "2", "-t", "t/back", "-m", "back")
	tls.want("t/back back")
	here.want("t/back back")
	// A client that does not trust the certificate does not get in, and harms nobody.
	if out, err := exec.Command(pub, "-h", "127.0.0.1", "-p", itoa(port), "--tls-use-os-certs", "-t", "t/no", "-m", "no").CombinedOutput(); err == nil {
		t.Errorf("published through a certificate nobody vouches for: %s", out)
	}
	here.quiet(200 * time.Millisecond)
	g.stop()
	if _, err := os.Stat(socket); err == nil {
		t.Error("the Unix socket is left behind")
	}
}

// TestWhoMayDoWhat lets users in by password file and holds them to the ACL file, which is read again on HUP.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "auth: {password_file: passwd, acl_file: acl}\n")
	if out, code := g.command("passwd", "-b", filepath.Join(g.dir, "passwd"), "alice", "wonder"); code != 0 {
		t.Fatalf("passwd ended with %d: %s", code, out)
	}
	acl := filepath.Join(g.dir, "acl")
	if err := os.WriteFile(acl, []byte("user alice\ntopic readwrite home/#\ntopic deny home/secret\ntopic read garden/gate\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.launch()
	pub, err := exec.LookPath("mosquitto_pub")
	if err != nil {
		t.Skip(err)
	}
	try := func(args ...string) bool {
		return exec.Command(pub, append([]string{"-h", "127.0.0.1", "-p", itoa(g.port)}, args...)...).Run() == nil
	}
	eventually(t, g.limit, "alice gets in", func() bool { return try("-u", "alice", "-P", "wonder", "-t", "home/x", "-m", "1") })
	if try("-t", "home/x", "-m", "1") || try("-u", "alice", "-P", "wrong", "-t", "home/x", "-m", "1") || try("-u", "bob", "-P", "wonder", "-t", "home/x", "-m", "1") {
		t.Error("someone without the right password got in")
	}
	w := subscribe(t, g.port, "-u", "alice", "-P", "wonder", "-q", "1", "-t", "home/#")
	publish(t, g.port, "-u", "alice", "-P", "wonder", "-q", "1", "-t", "home/secret", "-m", "hidden")
	publish(t, g.port, "-u", "alice", "-P", "wonder", "-q", "1", "-t", "garden/x", "-m", "not hers")
	publish(t, g.port, "-u", "alice", "-P", "wonder", "-q", "1", "-t", "home/x", "-m", "seen")
	w.want("home/x seen")
	if err := os.WriteFile(acl, []byte("user alice\ntopic write home/#\ntopic readwrite garden/#\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	hup(t, g)
	sub, err := exec.LookPath("mosquitto_sub")
	if err != nil {
		t.Skip(err)
	}
	eventually(t, 10*time.Second, "the new rights hold", func() bool {
		publish(t, g.port, "-u", "alice", "-P", "wonder", "-q", "1", "-r", "-t", "garden/x", "-m", "hers now")
		out, _ := exec.Command(sub, "-h", "127.0.0.1", "-p", itoa(g.port), "-u", "alice", "-P", "wonder", "-t", "garden/#", "-C", "1", "-W", "1").Output()
		return string(out) == "hers now\n"
	})
	// She may still write there, but the client that has been connected all the time may not read any more.
	publish(t, g.port, "-u", "alice", "-P", "wonder", "-q", "1", "-t", "home/x", "-m", "unseen")
	w.quiet(300 * time.Millisecond)
	if strings.Contains(strings.Join(w.sofar(), "\n"), "hidden") {
		t.Error("a denied topic was delivered")
	}
	g.stop()
}

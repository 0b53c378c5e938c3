package auth

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatewayd/topic"
)

// TestRulesAgainstMosquitto makes random ACL files, starts a real mosquitto on
// each and compares every answer: PUBACK's reason code for publishing, what a
// subscriber of everything receives for reading.
func TestRulesAgainstMosquitto(t *testing.T) {
	broker, err := exec.LookPath("mosquitto")
	if err != nil {
		if broker, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			t.Skip("mosquitto is not installed")
		}
	}
	r := rand.New(rand.NewPCG(9, 10))
	compared := 0
	for round := range 6 {
		acl, rules := randomACL(t, r)
		addr := startMosquitto(t, broker, acl)
		root := connect5(t, addr, "super", "root")
		for _, who := range []struct{ client, user string }{{"c1", ""}, {"c1", "alice"}, {"c2", "bob"}, {"c/3", "carol"}, {"+", "alice"}, {"c1", "a+"}} {
			c := connect5(t, addr, who.client, who.user)
			names := randomNames(r, 40)
			for _, name := range names {
				compared++
				if got, want := rules.MayPublish(who.client, who.user, name), c.publish(name) < 0x80; got != want {
					text, _ := os.ReadFile(acl)
					t.Errorf("round %d: client %q, user %q: may publish %q: %v, mosquitto says %v\n%s", round, who.client, who.user, name, got, want, text)
				}
			}
			c.subscribe("#", "$other/#")
			for _, name := range names {
				if rules.MayPublish("super", "root", name) {
					root.publish(name)
				}
			}
			root.publish("the/end")
			received := c.receiveUntil("the/end")
			for _, name := range names {
				if !rules.MayPublish("super", "root", name) {
					continue
				}
				compared++
				if got, want := rules.MayReceive(who.client, who.user, name), received[name]; got != want {
					text, _ := os.ReadFile(acl)
					t.Errorf("round %d: client %q, user %q: may receive %q: %v, mosquitto says %v\n%s", round, who.client, who.user, name, got, want, text)
				}
			}
			c.Close()
		}
	}
	t.Logf("%d answers compared", compared)
}

// randomACL lets root do all and everybody read the end mark; the rest is dice.
func randomACL(t *testing.T, r *rand.Rand) (string, *Rules) {
	words := []string{"a", "b", "+", "dev", "$other"}
	access := []string{"", "read ", "write ", "readwrite ", "deny ", "deny  "}
	filter := func(more ...string) string {
		w := append(words[:len(words):len(words)], more...)
		levels := make([]string, 1+r.IntN(3))
		for i := range levels {
			levels[i] = w[r.IntN(len(w))]
		}
		if r.IntN(3) == 0 {
			levels = append(levels, "#")
		}
		return strings.Join(levels, "/")
	}
	var b strings.Builder
	some := func() {
		b.WriteString("topic read the/end\n")
		for range r.IntN(5) {
			a, f := access[r.IntN(len(access))], filter()
			if strings.HasPrefix(a, "deny") && topic.Match(f, "the/end") {
				f = "a/#" // or the test would wait for its end mark in vain
			}
			fmt.Fprintf(&b, "topic %s%s\n", a, f)
		}
	}
	some()
	for _, user := range []string{"alice", "bob", "carol", "a+", "alice"} {
		fmt.Fprintf(&b, "\nuser %s\n", user)
		some()
	}
	b.WriteString("user root\ntopic readwrite #\ntopic readwrite $other/#\n")
	for range r.IntN(5) {
		fmt.Fprintf(&b, "pattern %s%s\n", access[r.IntN(len(access))], filter("%c", "%u", "%c", "%u"))
	}
	file := writeFile(t, "acl", b.String())
	os.Chmod(filepath.Dir(file), 0o755)
	os.Chmod(file, 0o644)
	rules, err := ReadRules(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	return file, rules
}

func randomNames(r *rand.Rand, n int) []string {
	words := []string{"a", "b", "dev", "x", "c1", "c2", "c", "3", "alice", "bob", "$other"}
	seen := map[string]bool{}
	var names []string
	for range n {
		levels := make([]string, 1+r.IntN(3))
		for i := range levels {
			levels[i] = words[r.IntN(len(words))]
		}
		if name := strings.Join(levels, "/"); !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

func startMosquitto(t *testing.T, broker, acl string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	l.Close()
	conf := writeFile(t, "mosquitto.conf", fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nacl_file %s\nuser root\n", addr.Port, acl))
	cmd := exec.Command(broker, "-c", conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 200 {
		if c, err := net.Dial("tcp", addr.String()); err == nil {
			c.Close()
			return addr.String()
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("mosquitto does not listen")
	return ""
}

// client5 is as much of an MQTT 5 client as this test needs.
type client5 struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
	id uint16
}

func mqttString(s string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s
}

func (c *client5) send(first byte, body string) {
	c.t.Helper()
	b := []byte{first}
	for n := len(body); ; {
		digit := byte(n & 0x7f)
		if n >>= 7; n > 0 {
			b = append(b, digit|0x80)
			continue
		}
		b = append(b, digit)
		break
	}
	if _, err := c.Write(append(b, body...)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client5) read() (first byte, body []byte) {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	first, err := c.in.ReadByte()
	if err != nil {
		c.t.Fatal(err)
	}
	n, shift := 0, 0
	for {
		digit, err := c.in.ReadByte()
		if err != nil {
			c.t.Fatal(err)
		}
		n |= int(digit&0x7f) << shift
		if shift += 7; digit < 0x80 {
			break
		}
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(c.in, body); err != nil {
		c.t.Fatal(err)
	}
	return first, body
}

func connect5(t *testing.T, addr, id, user string) *client5 {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &client5{Conn: conn, t: t, in: bufio.NewReader(conn)}
	flags, tail := "\x02", ""
	if user != "" {
		flags, tail = "\x82", mqttString(user)
	}
	c.send(0x10, mqttString("MQTT")+"\x05"+flags+"\x00\x00"+"\x00"+mqttString(id)+tail)
	if first, body := c.read(); first != 0x20 || body[1] != 0 {
		t.Fatalf("CONNACK %x % x", first, body)
	}
	return c
}

// publish returns PUBACK's reason code.
func (c *client5) publish(name string) byte {
	c.id++
	id := string(binary.BigEndian.AppendUint16(nil, c.id))
	c.send(0x32, mqttString(name)+id+"\x00"+"x")
	for {
		first, body := c.read()
		switch {
		case first == 0x40 && len(body) > 2:
			return body[2]
		case first == 0x40:
			return 0
		}
	}
}

func (c *client5) subscribe(filters ...string) {
	body := "\x00\x01\x00"
	for _, f := range filters {
		body += mqttString(f) + "\x00"
	}
	c.send(0x82, body)
	for {
		if first, _ := c.read(); first == 0x90 {
			return
		}
	}
}

// receiveUntil collects the names of messages up to the end mark.
func (c *client5) receiveUntil(end string) map[string]bool {
	received := map[string]bool{}
	for {
		first, body := c.read()
		if first>>4 != 3 {
			continue
		}
		n := binary.BigEndian.Uint16(body)
		name := string(body[2 : 2+n])
		if name == end {
			return received
		}
		received[name] = true
	}
}

package conformance

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatewayd/test/peer"
)

// The client's side of SCRAM is written here from RFC 5802, so that the broker is not measured by the library it is built on.

// prover is a client in the middle of an authentication.
type prover struct {
	method, user, password string
	bare                   string // client-first-message-bare
	server                 string // what the server will prove to know, base 64
}

func (p *prover) hash() func() hash.Hash {
	if p.method == "SCRAM-SHA-512" {
		return sha512.New
	}
	return sha256.New
}

func (p *prover) first() string {
	p.bare = "n=" + p.user + ",r=" + unique("nonce")
	return "n,," + p.bare
}

// final answers the server's first message.
func (p *prover) final(t *testing.T, challenge string) string {
	t.Helper()
	attr := map[string]string{}
	for _, part := range strings.Split(challenge, ",") {
		name, value, _ := strings.Cut(part, "=")
		attr[name] = value
	}
	salt, err := base64.StdEncoding.DecodeString(attr["s"])
	if err != nil {
		t.Fatalf("salt in %q: %v", challenge, err)
	}
	rounds, err := strconv.Atoi(attr["i"])
	if err != nil {
		t.Fatalf("iterations in %q: %v", challenge, err)
	}
	new := p.hash()
	salted, err := pbkdf2.Key(new, p.password, salt, rounds, new().Size())
	if err != nil {
		t.Fatal(err)
	}
	mac := func(key []byte, text string) []byte {
		m := hmac.New(new, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	bare := "c=biws,r=" + attr["r"]
	message := p.bare + "," + challenge + "," + bare
	key := mac(salted, "Client Key")
	stored := new()
	stored.Write(key)
	for i, b := range mac(stored.Sum(nil), message) {
		key[i] ^= b
	}
	p.server = base64.StdEncoding.EncodeToString(mac(mac(salted, "Server Key"), message))
	return bare + ",p=" + base64.StdEncoding.EncodeToString(key)
}

// withScram is a broker whose only users prove themselves by SCRAM, and its credentials file.
func withScram(t *testing.T, more string) (string, string, *peer.Process) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "scram")
	setScram(t, file, "ann", "secret")
	setScram(t, file, "bob", "hush")
	addr, p := configuredProcess(t, fmt.Sprintf("    auth_methods: [SCRAM-SHA-256, SCRAM-SHA-512]\nauth: {scram_file: %q%s}\n", file, more))
	return addr, file, p
}

func setScram(t *testing.T, file, user, password string) {
	t.Helper()
	bin, err := peer.Gatewayd()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(bin, "passwd", "--scram", "-b", "--iterations", "4096", file, user, password).CombinedOutput(); err != nil {
		t.Fatalf("passwd: %v\n%s", err, out)
	}
}

func (p *prover) properties(data string) props {
	return props{pAuthMethod: p.method, pAuthData: data}
}

// proves connects by SCRAM and returns the client with whatever CONNACK came.
func (p *prover) proves(t *testing.T, addr string, o options) *client {
	t.Helper()
	o.v, o.props = 5, p.properties(p.first())
	if o.id == "" {
		o.id = unique("c")
	}
	c := raw(t, addr, 5)
	c.id = o.id
	c.write(o.encode())
	c.write(p.auth(0x18, p.final(t, p.challenge(t, c))))
	c.ack = c.want(tConnack)
	return c
}

// challenge is the server's first message.
func (p *prover) challenge(t *testing.T, c *client) string {
	t.Helper()
	auth := c.want(tAuth)
	if auth.code != 0x18 || auth.props.str(pAuthMethod) != p.method { // [MQTT-4.12.0-2]
		t.Fatalf("got %v", auth)
	}
	return auth.props.str(pAuthData)
}

func (p *prover) auth(code byte, data string) []byte {
	return frame(tAuth<<4, append([]byte{code}, p.properties(data).encode()...))
}

// TestScram: a client proves its password by either method without sending it, and the server proves itself in CONNACK.
func TestScram(t *testing.T) {
	t.Parallel()
	addr, _, _ := withScram(t, "")
	for _, method := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
		p := &prover{method: method, user: "ann", password: "secret"}
		c := p.proves(t, addr, options{})
		if c.ack.code != 0 || c.ack.props.str(pAuthMethod) != method || c.ack.props.str(pAuthData) != "v="+p.server { // [MQTT-4.12.0-5] [MQTT-4.12.0-6]
			t.Errorf("%s: %v, want the server's signature %s", method, c.ack, p.server)
		}
		for _, bad := range []prover{{user: "ann", password: "hush"}, {user: "nobody", password: "secret"}, {user: "", password: "secret"}} {
			bad.method = method
			o := options{v: 5, id: unique("c"), props: bad.properties(bad.first())}
			d := raw(t, addr, 5)
			d.write(o.encode())
			answer, err := d.recv(patience)
			if err != nil {
				t.Fatal(err)
			}
			if answer.typ == tAuth {
				d.write(bad.auth(0x18, bad.final(t, answer.props.str(pAuthData))))
				answer = d.want(tConnack)
			}
			if answer.typ != tConnack || answer.code != 0x87 { // [MQTT-4.12.0-4]
				t.Errorf("%s, %q with %q: %v, want not authorized", method, bad.user, bad.password, answer)
			}
			d.closed()
		}
	}
	// The user name may stand in CONNECT too, and must be the one that is proved.
	p := &prover{method: "SCRAM-SHA-256", user: "ann", password: "secret"}
	if c := p.proves(t, addr, options{user: "ann"}); c.ack.code != 0 {
		t.Errorf("the same user name in CONNECT: %v", c.ack)
	}
	if c := p.proves(t, addr, options{user: "bob"}); c.ack.code != 0x87 {
		t.Errorf("another user name in CONNECT: %v", c.ack)
	}
	// Other methods, and none.
	for _, method := range []string{"SCRAM-SHA-1", "PLAIN", "scram-sha-256"} {
		if c := try(t, addr, options{v: 5, props: props{pAuthMethod: method, pAuthData: "n,,n=ann,r=abc"}}); c.ack.code != 0x8c { // [MQTT-4.12.0-1]
			t.Errorf("%s: %v", method, c.ack)
		}
	}
	for _, v := range []byte{4, 5} {
		want := byte(5)
		if v == 5 {
			want = 0x87
		}
		if c := try(t, addr, options{v: v, user: "ann", password: "secret"}); c.ack.code != want {
			t.Errorf("a plain login of version %d: %v", v, c.ack)
		}
	}
	// A client that lets the server speak first, as SASL allows.
	c := raw(t, addr, 5)
	o := options{v: 5, id: unique("c"), props: props{pAuthMethod: p.method}}
	c.write(o.encode())
	if first := p.challenge(t, c); first != "" {
		t.Errorf("a challenge before the client's first message: %q", first)
	}
	c.write(p.auth(0x18, p.first()))
	c.write(p.auth(0x18, p.final(t, p.challenge(t, c))))
	if ack := c.want(tConnack); ack.code != 0 {
		t.Errorf("got %v", ack)
	}
}

// TestScramRights: the proved name is the one that the ACL file means.
func TestScramRights(t *testing.T) {
	t.Parallel()
	acl := filepath.Join(t.TempDir(), "acl")
	if err := os.WriteFile(acl, []byte("user ann\ntopic readwrite a/#\nuser bob\ntopic read a/#\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addr, _, _ := withScram(t, fmt.Sprintf(", acl_file: %q", acl))
	ann := (&prover{method: "SCRAM-SHA-256", user: "ann", password: "secret"}).proves(t, addr, options{})
	bob := (&prover{method: "SCRAM-SHA-512", user: "bob", password: "hush"}).proves(t, addr, options{})
	bob.subscribe(sub{"a/b", 1})
	ann.publish(msg{topic: "a/b", payload: "m", qos: 1})
	bob.expect("a/b", "m", 1)
	bob.send(msg{topic: "a/b", payload: "m", qos: 1})
	if p := bob.want(tPuback); p.code != 0x87 {
		t.Errorf("got %v", p)
	}
}

// TestScramAgain: a client authenticates again amid its traffic [MQTT-4.12.1-1], and what fails then ends the connection [MQTT-4.12.1-2].
func TestScramAgain(t *testing.T) {
	t.Parallel()
	addr, _, _ := withScram(t, "")
	p := &prover{method: "SCRAM-SHA-256", user: "ann", password: "secret"}
	c := p.proves(t, addr, options{})
	c.subscribe(sub{"t", 1})
	other := (&prover{method: "SCRAM-SHA-512", user: "bob", password: "hush"}).proves(t, addr, options{})
	for round := range 3 {
		c.write(p.auth(0x19, p.first()))
		challenge := p.challenge(t, c)
		// Meanwhile messages go on, both ways.
		other.publish(msg{topic: "t", payload: strconv.Itoa(round), qos: 1})
		c.expect("t", strconv.Itoa(round), 1)
		c.publish(msg{topic: "u", payload: "m", qos: 1})
		c.write(p.auth(0x18, p.final(t, challenge)))
		if done := c.want(tAuth); done.code != 0 || done.props.str(pAuthData) != "v="+p.server {
			t.Fatalf("round %d: %v", round, done)
		}
	}
	for name, again := range map[string]func(c *client, p *prover){
		"wrong password": func(c *client, p *prover) {
			p.password = "hush"
			c.write(p.auth(0x19, p.first()))
			c.write(p.auth(0x18, p.final(t, p.challenge(t, c))))
			c.closed(0x87)
		},
		"another user": func(c *client, p *prover) {
			p.user, p.password = "bob", "hush"
			c.write(p.auth(0x19, p.first()))
			c.write(p.auth(0x18, p.final(t, p.challenge(t, c))))
			c.closed(0x87)
		},
		"another method": func(c *client, p *prover) {
			p.method = "SCRAM-SHA-512"
			c.write(p.auth(0x19, p.first()))
			c.closed(0x82, 0x8c)
		},
		"continue without a start": func(c *client, p *prover) {
			c.write(p.auth(0x18, p.first()))
			c.closed(0x82)
		},
		"a start amid another": func(c *client, p *prover) {
			c.write(p.auth(0x19, p.first()))
			p.challenge(t, c)
			c.write(p.auth(0x19, p.first()))
			c.closed(0x82)
		},
		"success from a client": func(c *client, p *prover) {
			c.write(p.auth(0, p.first()))
			c.closed(0x82)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &prover{method: "SCRAM-SHA-256", user: "ann", password: "secret"}
			again(p.proves(t, addr, options{}), p)
		})
	}
}

// TestScramDeleted: on HUP a user who was deleted is disconnected, and one who was not stays.
func TestScramDeleted(t *testing.T) {
	t.Parallel()
	addr, file, process := withScram(t, "")
	ann := (&prover{method: "SCRAM-SHA-256", user: "ann", password: "secret"}).proves(t, addr, options{})
	bob := (&prover{method: "SCRAM-SHA-256", user: "bob", password: "hush"}).proves(t, addr, options{})
	bin, err := peer.Gatewayd()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(bin, "passwd", "--scram", "-D", file, "ann").CombinedOutput(); err != nil {
		t.Fatalf("passwd: %v\n%s", err, out)
	}
	if err := process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	ann.closed(0x98, 0x87)
	bob.still()
	deadline := time.Now().Add(patience)
	again := &prover{method: "SCRAM-SHA-256", user: "ann", password: "secret"}
	for again.proves(t, addr, options{}).ack.code != 0x87 {
		if time.Now().After(deadline) {
			t.Fatal("ann is still let in")
		}
	}
}

package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"gatewayd/test/peer"
)

// rights is a broker with users whose files a test changes.
type rights struct {
	t    *testing.T
	addr string
	dir  string
	p    *peer.Process
}

func withRights(t *testing.T, users []string, acl, more string) *rights {
	t.Helper()
	r := &rights{t: t, dir: t.TempDir()}
	r.users(users...)
	r.acl(acl)
	r.addr, r.p = configuredProcess(t, fmt.Sprintf("%sauth: {password_file: %q, acl_file: %q, anonymous: true}\n", more,
		filepath.Join(r.dir, "passwd"), filepath.Join(r.dir, "acl")))
	return r
}

// users writes the password file: everybody's password is "secret".
func (r *rights) users(names ...string) {
	r.t.Helper()
	// PBKDF2 of "secret" with the salt "saltsalt" and one round, as mosquitto_passwd would write it.
	const hash = "$7$1$c2FsdHNhbHQ=$lf9lleCRJ/VvS26dnZZJn+8llX+QBYzSPPYWsvBsszhTLOC1jtR02ovh4DDedWVTCKCMtyNLGthkxhu71GzU8w=="
	text := ""
	for _, n := range names {
		text += n + ":" + hash + "\n"
	}
	if err := os.WriteFile(filepath.Join(r.dir, "passwd"), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rights) acl(text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, "acl"), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// hup has the files read again.
func (r *rights) hup() {
	r.t.Helper()
	if err := r.p.Signal(syscall.SIGHUP); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rights) as(name string, o options) *client {
	r.t.Helper()
	o.user, o.password = name, "secret"
	return connect(r.t, r.addr, o)
}

// TestRightsOfTheConnected: on HUP the files hold for clients that are connected already. Who is no user any more is disconnected;
// what may not be read any more is not delivered, what may is, without a new subscription.
func TestRightsOfTheConnected(t *testing.T) {
	t.Parallel()
	r := withRights(t, []string{"ann", "bob"}, "user ann\ntopic read a/#\nuser bob\ntopic readwrite #\n", "")
	ann := r.as("ann", options{v: 5})
	bob := r.as("bob", options{v: 5})
	ann.subscribe(sub{"a/+", 1}, sub{"#", 1})
	bob.publish(msg{topic: "a/1", payload: "m", qos: 1})
	ann.expect("a/1", "m", 1)
	bob.publish(msg{topic: "b/1", payload: "not hers", qos: 1})
	ann.still()

	r.acl("user ann\ntopic read b/#\nuser bob\ntopic readwrite #\n")
	r.hup()
	deadline := time.Now().Add(patience)
	for n := 0; ; n++ { // until the new rights hold
		bob.publish(msg{topic: "b/2", payload: "hers now", qos: 1})
		ann.write([]byte{tPingreq << 4, 0})
		p, err := ann.recv(patience)
		if err != nil {
			t.Fatal(err)
		}
		if p.typ == tPublish {
			ann.complete(p)
			ann.want(tPingresp)
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the new rights do not come to hold")
		}
	}
	bob.publish(msg{topic: "a/1", payload: "not hers any more", qos: 1})
	ann.still()
	ann.send(msg{topic: "b/3", payload: "m", qos: 1})
	if p := ann.want(tPuback); p.code != 0x87 {
		t.Errorf("she may not publish: %v", p)
	}

	r.users("bob")
	r.hup()
	ann.closed(0x98, 0x87)
	if c := try(t, r.addr, options{v: 5, user: "ann", password: "secret"}); c.ack.code != 0x87 {
		t.Errorf("got %v", c.ack)
	}
	bob.still()
}

// TestDeniedSubscriptions: a subscription without any right is refused, or with grant accepted as Mosquitto does, where the rights that
// come later count.
func TestDeniedSubscriptions(t *testing.T) {
	t.Parallel()
	port, err := peer.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	grants := fmt.Sprintf("127.0.0.1:%d", port)
	r := withRights(t, []string{"ann", "bob"}, "user ann\ntopic read a\nuser bob\ntopic readwrite #\n", fmt.Sprintf("  - {address: %q, denied_subscriptions: grant}\n", grants))
	for v, code := range map[byte]byte{3: 0x80, 4: 0x80, 5: 0x87} {
		c := r.as("ann", options{v: v})
		// 3.1 knows no failure in SUBACK; what is refused there is what 3.1.1 says.
		if got := c.subscribeWith(nil, sub{"b", 1}, sub{"a", 1}); got.codes[0] != code || got.codes[1] != 1 {
			t.Errorf("version %d: %v", v, got)
		}
	}
	c := connect(t, grants, options{v: 5, user: "ann", password: "secret"})
	c.subscribe(sub{"b", 1})
	bob := r.as("bob", options{})
	bob.publish(msg{topic: "b", payload: "hidden", qos: 1})
	c.still()
	r.acl("user ann\ntopic read b\nuser bob\ntopic readwrite #\n")
	r.hup()
	for deadline := time.Now().Add(patience); ; {
		bob.publish(msg{topic: "b", payload: "m", qos: 1})
		c.write([]byte{tPingreq << 4, 0})
		if p, err := c.recv(patience); err != nil {
			t.Fatal(err)
		} else if p.typ == tPublish {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the rights that came later do not count")
		}
	}
}

// TestCheckRetainSource: what somebody published who may not any more is not delivered, unless that is not asked.
func TestCheckRetainSource(t *testing.T) {
	t.Parallel()
	for _, check := range []bool{true, false} {
		t.Run(fmt.Sprint(check), func(t *testing.T) {
			t.Parallel()
			r := withRights(t, []string{"ann", "bob"}, "user ann\ntopic write #\nuser bob\ntopic readwrite #\n", fmt.Sprintf("mqtt: {check_retain_source: %v}\n", check))
			r.as("ann", options{}).publish(msg{topic: "kept", payload: "m", qos: 1, retain: true})
			bob := r.as("bob", options{})
			bob.subscribe(sub{"kept", 1})
			bob.expect("kept", "m", 1)
			r.acl("user bob\ntopic readwrite #\n")
			r.hup()
			logged(t, r.p, "configuration taken over")
			late := r.as("bob", options{})
			late.subscribe(sub{"kept", 1})
			if check {
				late.still()
			} else {
				late.expect("kept", "m", 1)
			}
		})
	}
}

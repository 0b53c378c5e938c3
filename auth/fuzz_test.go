package auth

import (
	"strings"
	"testing"
)

// FuzzRules: an ACL file is read or refused with one line that names the place,
// and what was read answers any question.
func FuzzRules(f *testing.F) {
	f.Add("topic read a/#\nuser bob\ntopic deny secret/+\ntopic with space\npattern write %u/%c/x\n", "bob", "c", "bob/c/x")
	f.Add("\xef\xbb\xbf# comment\r\nuser a b\r\ntopic readwrite #\r\npattern x%u\r\n", "a b", "+", "$SYS/x")
	f.Fuzz(func(t *testing.T, text, user, client, name string) {
		r, err := parseRules("acl", []byte(text))
		if err != nil {
			oneLine(t, err, "acl:")
			return
		}
		for _, w := range r.Warnings() {
			if strings.ContainsRune(w, '\n') {
				t.Fatalf("warning %q is more than one line", w)
			}
		}
		r.MayPublish(client, user, name)
		r.MayReceive(client, user, name)
		r.MaySubscribe(client, user, name)
	})
}

// FuzzPasswords: a password file is read or refused with one line that names the
// place, and no entry asks for more work than the limits allow.
func FuzzPasswords(f *testing.F) {
	f.Add("bob:$6$c2FsdHNhbHQ=$AAAA\n")
	f.Add("# x\nann:$7$101$c2FsdHNhbHQ=$AAAA\n\n")
	f.Add("eve:$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0c2FsdHNhbHQ\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePasswords("passwd", []byte(text))
		if err != nil {
			oneLine(t, err, "passwd:")
			return
		}
		for user, h := range p.users {
			if !p.Has(user) {
				t.Fatalf("user %q is not there", user)
			}
			if a, ok := h.(*argonHash); ok && (a.memory > maxArgonMemory || a.time > maxArgonTime || a.threads == 0 || a.time == 0) {
				t.Fatalf("entry of %q: %+v", user, a)
			}
		}
	})
}

func oneLine(t *testing.T, err error, start string) {
	t.Helper()
	if text := err.Error(); strings.ContainsRune(text, '\n') || !strings.HasPrefix(text, start) {
		t.Fatalf("error %q, want one line that starts with %s", text, start)
	}
}

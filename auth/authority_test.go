package auth

import (
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// cheap is an entry that verifies in microseconds: "password".
const cheap = "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"

func (a *Authority) loginNow(user, password string, certified, anonymous bool) error {
	c := make(chan error, 1)
	a.Login(user, []byte(password), certified, anonymous, func(err error) { c <- err })
	return <-c
}

func TestLogin(t *testing.T) {
	a, err := New(Options{PasswordFile: writeFile(t, "passwd", "alice:"+cheap+"\n")})
	if err != nil {
		t.Fatal(err)
	}
	open, _ := New(Options{})
	for _, tc := range []struct {
		a                    *Authority
		user, password       string
		certified, anonymous bool
		want                 error
	}{
		{a, "alice", "password", false, false, nil},
		{a, "alice", "password", false, false, nil}, // from the proof
		{a, "alice", "wrong", false, false, ErrDenied},
		{a, "alice", "", false, true, ErrDenied}, // who names a user must be that user
		{a, "bob", "password", false, false, ErrDenied},
		{a, "", "", false, false, ErrNoName},
		{a, "", "", false, true, nil},
		{a, "cn-of-cert", "", true, false, nil},
		{open, "anyone", "", false, true, nil},
		{open, "anyone", "", false, false, ErrDenied},
		{open, "", "", false, false, ErrNoName},
	} {
		if err := tc.a.loginNow(tc.user, tc.password, tc.certified, tc.anonymous); !errors.Is(err, tc.want) {
			t.Errorf("Login(%q, %q, certified %v, anonymous %v) = %v, want %v", tc.user, tc.password, tc.certified, tc.anonymous, err, tc.want)
		}
	}
}

func TestReload(t *testing.T) {
	passwd, acl := writeFile(t, "passwd", "alice:"+cheap+"\n"), writeFile(t, "acl", "user alice\ntopic a/#\n")
	a, err := New(Options{PasswordFile: passwd, ACLFile: acl})
	if err != nil {
		t.Fatal(err)
	}
	if a.loginNow("alice", "password", false, false) != nil || !a.MayPublish("c", "alice", "a/x") || !a.StillKnown("alice", false, false) {
		t.Fatal("alice must be let in")
	}
	gen := a.Gen()
	os.WriteFile(acl, []byte("user alice\ntopic b/#\nbroken\n"), 0o600)
	if err := a.Reload(); err == nil || !strings.Contains(err.Error(), "acl:3") {
		t.Errorf("a broken file: %v", err)
	}
	if a.Gen() != gen || !a.MayPublish("c", "alice", "a/x") {
		t.Error("a broken file must change nothing")
	}
	os.WriteFile(acl, []byte("user alice\ntopic b/#\n"), 0o600)
	os.WriteFile(passwd, []byte("bob:"+cheap+"\n"), 0o600)
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if a.Gen() == gen || a.MayPublish("c", "alice", "a/x") || !a.MaySubscribe("c", "alice", "b/#") {
		t.Error("the new rules do not hold")
	}
	if a.StillKnown("alice", false, true) || !a.StillKnown("bob", false, false) || !a.StillKnown("cert", true, false) {
		t.Error("who is still known")
	}
	if err := a.loginNow("alice", "password", false, false); !errors.Is(err, ErrDenied) {
		t.Errorf("a removed user logs in with a remembered password: %v", err)
	}
}

// slowHash counts how many verifications run at once.
type slowHash struct{ now, most, total atomic.Int32 }

func (h *slowHash) matches([]byte) bool {
	n := h.now.Add(1)
	for m := h.most.Load(); n > m && !h.most.CompareAndSwap(m, n); m = h.most.Load() {
	}
	time.Sleep(100 * time.Millisecond)
	h.now.Add(-1)
	h.total.Add(1)
	return true
}

func TestLoginStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := New(Options{Verifying: 2, Waiting: 50})
		h := &slowHash{}
		a.files.Store(&files{passwords: &Passwords{users: map[string]hash{"u": h}}})
		var good, busy atomic.Int32
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Add(1)
			a.Login("u", []byte{byte(i), byte(i >> 8)}, false, false, func(err error) {
				switch {
				case err == nil:
					good.Add(1)
				case errors.Is(err, ErrBusy):
					busy.Add(1)
				}
				wg.Done()
			})
		}
		wg.Wait()
		if h.most.Load() != 2 {
			t.Errorf("%d verifications at once, want 2", h.most.Load())
		}
		if good.Load() < 50 || good.Load() > 52 || good.Load()+busy.Load() != 500 {
			t.Errorf("%d good, %d busy of 500", good.Load(), busy.Load())
		}
		synctest.Wait()
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.running != 0 || len(a.waiting) != 0 {
			t.Error("verifiers stay behind")
		}
	})
}

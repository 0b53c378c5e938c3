package auth

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
)

// Options configure an Authority.
type Options struct {
	PasswordFile string       // empty: nobody has a password
	ScramFile    string       // empty: nobody has credentials for SCRAM
	ACLFile      string       // empty: everybody may do everything
	Log          *slog.Logger // nil: silent

	// Verifying is how many passwords are verified at once; each may take 19
	// MiB and 100 ms. 0: 1.
	Verifying int
	// Waiting is how many logins may wait for that; more are answered with
	// ErrBusy at once. 0: 1000.
	Waiting int
}

// What Login answers.
var (
	ErrDenied = errors.New("unknown user or wrong password")
	ErrNoName = errors.New("a user name is required")
	ErrBusy   = errors.New("too many logins wait")
)

// Authority decides on logins and rights by a password file, a file of SCRAM
// credentials and an ACL file. All its methods may be called from any goroutine,
// Reload too.
type Authority struct {
	opts  Options
	files atomic.Pointer[files]
	read  atomic.Pointer[[3]stamp] // the files as the last Reload met them
	gen   atomic.Uint64

	mu      sync.Mutex // guards the fields below
	running int        // verifiers at work
	waiting []login

	seen   sync.Map // user → proof of the last password that was verified
	secret [32]byte // keys the proofs
}

// files is one reading of the files.
type files struct {
	passwords   *Passwords   // nil without a file
	credentials *Credentials // nil without a file
	rules       *Rules       // nil without a file
}

type login struct {
	user     string
	password []byte
	answer   func(error)
}

// proof remembers a password that was verified against an entry, so that a
// thousand sensors that come back after a power cut cost one verification each
// in the life of the process, not one a reconnect. It lives in memory only and
// is keyed by a secret of this process.
type proof struct {
	entry hash
	mac   [sha256.Size]byte
}

// New reads the files.
func New(o Options) (*Authority, error) {
	o.Verifying = cmp.Or(o.Verifying, 1)
	o.Waiting = cmp.Or(o.Waiting, 1000)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &Authority{opts: o}
	rand.Read(a.secret[:])
	if err := a.Reload(); err != nil {
		return nil, err
	}
	return a, nil
}

// Reload reads the files again. When one is wrong it changes nothing and
// returns the error. Afterwards Gen differs: rights that were computed before
// must be asked for again.
func (a *Authority) Reload() error {
	var f files
	var err error
	a.read.Store(new(a.stamps()))
	if a.opts.PasswordFile != "" {
		if f.passwords, err = ReadPasswords(a.opts.PasswordFile); err != nil {
			return err
		}
	}
	if a.opts.ScramFile != "" {
		if f.credentials, err = ReadCredentials(a.opts.ScramFile); err != nil {
			return err
		}
	}
	if a.opts.ACLFile != "" {
		if f.rules, err = ReadRules(a.opts.ACLFile); err != nil {
			return err
		}
		for _, w := range f.rules.Warnings() {
			a.opts.Log.Warn("ACL file", "line", w)
		}
	}
	a.files.Store(&f)
	a.seen.Clear()
	a.gen.Add(1)
	return nil
}

// Gen changes with every Reload.
func (a *Authority) Gen() uint64 { return a.gen.Load() }

// MayPublish, MayReceive and MaySubscribe answer by the ACL file, as the methods
// of Rules do.
func (a *Authority) MayPublish(client, user, name string) bool {
	return a.files.Load().rules.MayPublish(client, user, name)
}

// MayReceive says whether messages of a name may be delivered to a client.
func (a *Authority) MayReceive(client, user, name string) bool {
	return a.files.Load().rules.MayReceive(client, user, name)
}

// MaySubscribe says whether a client may subscribe to a filter.
func (a *Authority) MaySubscribe(client, user, filter string) bool {
	return a.files.Load().rules.MaySubscribe(client, user, filter)
}

// Login decides on a CONNECT and calls answer exactly once: nil, ErrDenied,
// ErrNoName or ErrBusy; at once, or from another goroutine when a password must
// be verified. certified is set when a certificate vouches for the user;
// anonymous when the listener lets clients without a user name in. The password
// is not kept.
func (a *Authority) Login(user string, password []byte, certified, anonymous bool, answer func(error)) {
	p := a.files.Load().passwords
	switch {
	case certified:
		answer(nil)
	case anonymous && (user == "" || p == nil):
		answer(nil)
	case user == "":
		answer(ErrNoName)
	case p == nil, len(password) == 0: // an empty password opens nothing, whatever the file says
		answer(ErrDenied)
	case a.proven(p, user, password):
		answer(nil)
	default:
		a.verify(login{user, append([]byte(nil), password...), answer})
	}
}

// StillKnown says whether a client that logged in as user would be let in today
// as far as the files alone tell: after a Reload the broker drops those who are
// not. Users whom a certificate vouches for need no entry.
func (a *Authority) StillKnown(user string, certified, anonymous bool) bool {
	p := a.files.Load().passwords
	switch {
	case certified:
		return true
	case user == "" || p == nil:
		return anonymous
	}
	return p.Has(user)
}

// StillProvable says whether a client that logged in by an authentication method
// would be let in by it today.
func (a *Authority) StillProvable(method, user string) bool {
	c := a.files.Load().credentials
	return c != nil && c.Has(method, user)
}

func (a *Authority) proven(p *Passwords, user string, password []byte) bool {
	v, ok := a.seen.Load(user)
	if !ok {
		return false
	}
	old := v.(*proof)
	mac := a.mac(password)
	return old.entry == p.users[user] && hmac.Equal(mac[:], old.mac[:])
}

func (a *Authority) mac(password []byte) (sum [sha256.Size]byte) {
	m := hmac.New(sha256.New, a.secret[:])
	m.Write(password)
	m.Sum(sum[:0])
	return sum
}

// verify queues a login for one of the verifiers, which start when there is
// work and end when there is none.
func (a *Authority) verify(l login) {
	a.mu.Lock()
	full := len(a.waiting) >= a.opts.Waiting
	start := !full && a.running < a.opts.Verifying
	if !full {
		a.waiting = append(a.waiting, l)
	}
	if start {
		a.running++
	}
	a.mu.Unlock()
	switch {
	case full:
		l.answer(ErrBusy)
	case start:
		go a.verifier()
	}
}

func (a *Authority) verifier() {
	for {
		a.mu.Lock()
		if len(a.waiting) == 0 {
			a.running--
			a.waiting = nil
			a.mu.Unlock()
			return
		}
		l := a.waiting[0]
		a.waiting[0] = login{}
		a.waiting = a.waiting[1:]
		a.mu.Unlock()
		l.answer(a.check(l))
	}
}

func (a *Authority) check(l login) error {
	p := a.files.Load().passwords
	if p == nil || !p.Verify(l.user, l.password) {
		return ErrDenied
	}
	a.seen.Store(l.user, &proof{entry: p.users[l.user], mac: a.mac(l.password)})
	return nil
}

package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"
)

// ScramMethods are the authentication methods of MQTT 5 that a credentials file
// serves, by their names in SASL (RFC 7677).
var ScramMethods = []string{"SCRAM-SHA-256", "SCRAM-SHA-512"}

// ScramIterations is what new credentials ask of the client: RFC 7677's advice.
// The server does not iterate.
const ScramIterations = 15_000

// Bounds of the iterations that a client may be asked for.
const (
	minScramIterations = 4096 // RFC 7677
	maxScramIterations = maxIterations
)

const scramSalt = 16

// scramHash is the hash of a method.
func scramHash(method string) (scram.HashGeneratorFcn, bool) {
	switch method {
	case "SCRAM-SHA-256":
		return scram.SHA256, true
	case "SCRAM-SHA-512":
		return scram.SHA512, true
	}
	return nil, false
}

// Credentials are a credentials file as it was when it was read. They do not
// change and may be used by many goroutines.
//
// Each line is user:METHOD$iterations:salt$StoredKey:ServerKey, in base 64, as
// other servers write it too. Who reads the file cannot log in with it, but can
// pretend to be this server, and can try passwords.
type Credentials struct {
	users map[credential]scram.StoredCredentials
	// mock makes the salt of users who do not exist. It follows from the file,
	// so that a restart does not tell them from those who do.
	mock [sha256.Size]byte
}

type credential struct{ method, user string }

// ReadCredentials reads a credentials file. Its errors name file and line.
func ReadCredentials(file string) (*Credentials, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("SCRAM file: %w", err)
	}
	return parseCredentials(file, text)
}

func parseCredentials(file string, text []byte) (*Credentials, error) {
	c := &Credentials{users: map[credential]scram.StoredCredentials{}}
	mock := sha256.New()
	for i, line := range lines(text) {
		if line == "" || line[0] == '#' {
			continue
		}
		user, entry, found := strings.Cut(line, ":")
		if !found || user == "" {
			return nil, fmt.Errorf("%s:%d: want user:METHOD$iterations:salt$StoredKey:ServerKey", file, i+1)
		}
		method, kept, err := parseCredential(entry)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: user %q: %w", file, i+1, user, err)
		}
		who := credential{method, user}
		if _, twice := c.users[who]; twice {
			return nil, fmt.Errorf("%s:%d: user %q stands in the file twice for %s", file, i+1, user, method)
		}
		c.users[who] = kept
		mock.Write(kept.ServerKey)
	}
	mock.Sum(c.mock[:0])
	return c, nil
}

func parseCredential(s string) (method string, kept scram.StoredCredentials, err error) {
	parts := strings.Split(s, "$")
	gen, known := scramHash(parts[0])
	if !known {
		return "", kept, fmt.Errorf("unknown method %q, want %s; run: gatewayd passwd --scram FILE USER", parts[0], strings.Join(ScramMethods, " or "))
	}
	damaged := fmt.Errorf("damaged %s entry", parts[0])
	if len(parts) != 3 {
		return "", kept, damaged
	}
	count, salt, _ := strings.Cut(parts[1], ":")
	if kept.Iters, err = strconv.Atoi(count); err != nil || kept.Iters < minScramIterations || kept.Iters > maxScramIterations {
		return "", kept, fmt.Errorf("%s entry with %q iterations, want %d to %d", parts[0], count, minScramIterations, maxScramIterations)
	}
	raw, err := base64.StdEncoding.DecodeString(salt)
	if err != nil || len(raw) < 8 {
		return "", kept, damaged
	}
	kept.Salt = string(raw)
	stored, server, _ := strings.Cut(parts[2], ":")
	kept.StoredKey, kept.ServerKey, err = decodePair(base64.StdEncoding, stored, server)
	if size := gen().Size(); err != nil || len(kept.StoredKey) != size || len(kept.ServerKey) != size {
		return "", kept, damaged
	}
	return parts[0], kept, nil
}

// Has says whether the file knows a user for a method.
func (c *Credentials) Has(method, user string) bool {
	_, ok := c.users[credential{method, user}]
	return ok
}

// lookup answers for users who do not exist too, with keys that no proof fits:
// the exchange does not tell which users there are.
func (c *Credentials) lookup(method, user string) scram.StoredCredentials {
	if kept, ok := c.users[credential{method, user}]; ok {
		return kept
	}
	size := sha256.Size
	if method == "SCRAM-SHA-512" {
		size = sha512.Size
	}
	m := hmac.New(sha256.New, c.mock[:])
	m.Write([]byte(method + ":" + user))
	keys := make([]byte, 2*size)
	rand.Read(keys) // never fails
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(m.Sum(nil)[:scramSalt]), Iters: c.usualIterations()},
		StoredKey:  keys[:size], ServerKey: keys[size:],
	}
}

// usualIterations are those of the users who do exist.
func (c *Credentials) usualIterations() int {
	for _, kept := range c.users {
		return kept.Iters
	}
	return ScramIterations
}

// SetCredentials adds a user's credentials for every method to a file or changes
// them, and says which. A missing file is made with mode 0600.
func SetCredentials(file, user string, password []byte, iterations int) (added bool, err error) {
	name, err := stringprep.SASLprep.Prepare(user) // as clients do with the name they send
	if err != nil {
		return false, fmt.Errorf("user name %q: %w", user, err)
	}
	if err := validUser(name); err != nil {
		return false, err
	}
	if iterations < minScramIterations || iterations > maxScramIterations {
		return false, fmt.Errorf("%d iterations, want %d to %d", iterations, minScramIterations, maxScramIterations)
	}
	var entries []string
	for _, method := range ScramMethods {
		entry, err := newCredential(method, name, password, iterations)
		if err != nil {
			return false, err
		}
		entries = append(entries, entry)
	}
	err = editFile(file, func(all []string) ([]string, error) {
		at := findUser(all, name)
		if added = at < 0; added {
			return append(all, entries...), nil
		}
		all = slices.Insert(all, at, entries...)
		return append(all[:at+len(entries)], withoutUser(all[at+len(entries):], name)...), nil
	})
	return added, err
}

func newCredential(method, user string, password []byte, iterations int) (string, error) {
	gen, _ := scramHash(method)
	client, err := gen.NewClient(user, string(password), "")
	if err != nil {
		return "", fmt.Errorf("%s: %w", method, err)
	}
	salt := make([]byte, scramSalt)
	rand.Read(salt) // never fails
	kept, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: iterations})
	if err != nil {
		return "", fmt.Errorf("%s: %w", method, err)
	}
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s:%s$%d:%s$%s:%s", user, method, iterations, b64(salt), b64(kept.StoredKey), b64(kept.ServerKey)), nil
}

// DeleteCredentials removes a user from a credentials file.
func DeleteCredentials(file, user string) error {
	return editFile(file, func(all []string) ([]string, error) {
		left := withoutUser(slices.Clone(all), user)
		if len(left) == len(all) {
			return nil, fmt.Errorf("%s: user %q: %w", file, user, ErrNoUser)
		}
		return left, nil
	})
}

func withoutUser(all []string, user string) []string {
	return slices.DeleteFunc(all, func(line string) bool { return strings.HasPrefix(line, user+":") })
}

// ScramExchange is one authentication by SCRAM (RFC 5802), first or again. It is
// for one goroutine at a time.
type ScramExchange struct {
	Method string
	a      *Authority
	talk   *scram.ServerConversation
}

// ErrMethod is returned for an authentication method that nobody has
// credentials for.
var ErrMethod = errors.New("unknown authentication method")

// Scram begins an exchange.
func (a *Authority) Scram(method string) (*ScramExchange, error) {
	known := a.files.Load().credentials
	gen, ok := scramHash(method)
	if !ok || known == nil {
		return nil, ErrMethod
	}
	server, err := gen.NewServer(func(user string) (scram.StoredCredentials, error) {
		return known.lookup(method, user), nil
	})
	if err != nil {
		return nil, err
	}
	return &ScramExchange{Method: method, a: a, talk: server.NewConversation()}, nil
}

// Step takes the client's next message and gives the answer. done says that the
// client has proved to be User. Any error is ErrDenied: why is for nobody's eyes.
func (x *ScramExchange) Step(message []byte) (answer []byte, done bool, err error) {
	out, err := x.talk.Step(string(message))
	switch {
	case err != nil:
		return nil, false, ErrDenied
	case x.talk.Done() && (!x.talk.Valid() || x.talk.AuthzID() != "" && x.talk.AuthzID() != x.talk.Username()):
		return nil, false, ErrDenied // nobody acts for another
	case x.talk.Done():
		// The user may have been deleted since the first message.
		if known := x.a.files.Load().credentials; known == nil || !known.Has(x.Method, x.talk.Username()) {
			return nil, false, ErrDenied
		}
	}
	return []byte(out), x.talk.Done(), nil
}

// User is who the client says to be, and after done who it is.
func (x *ScramExchange) User() string { return x.talk.Username() }

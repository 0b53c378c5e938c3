package auth

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// New entries use argon2id with the parameters OWASP recommends for little
// memory: a login costs 19 MiB for some 100 ms on a Raspberry Pi 3.
const (
	argonMemory  = 19 * 1024 // KiB
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16
	argonKey     = 32
)

// Bounds of what an entry may cost to verify. A file that asks for more is
// refused when it is read, not when somebody logs in.
const (
	maxArgonMemory = 256 * 1024 // KiB
	maxArgonTime   = 64
	maxIterations  = 5_000_000
)

// hash is one parsed password entry. It is a pointer, so that two readings of
// one file differ.
type hash interface {
	// matches compares in constant time.
	matches(password []byte) bool
}

// sha512Hash is Mosquitto's $6$: one round over password and salt. It is
// verified for old files only.
type sha512Hash struct{ salt, sum []byte }

func (h *sha512Hash) matches(password []byte) bool {
	d := sha512.New()
	d.Write(password)
	d.Write(h.salt)
	return subtle.ConstantTimeCompare(d.Sum(nil), h.sum) == 1
}

// pbkdf2Hash is Mosquitto's $7$: PBKDF2 with HMAC-SHA-512.
type pbkdf2Hash struct {
	iterations int
	salt, sum  []byte
}

func (h *pbkdf2Hash) matches(password []byte) bool {
	sum, err := pbkdf2.Key(sha512.New, string(password), h.salt, h.iterations, len(h.sum))
	return err == nil && subtle.ConstantTimeCompare(sum, h.sum) == 1
}

// argonHash is a PHC string of argon2id.
type argonHash struct {
	memory, time uint32
	threads      uint8
	salt, sum    []byte
}

func (h *argonHash) matches(password []byte) bool {
	sum := argon2.IDKey(password, h.salt, h.time, h.memory, h.threads, uint32(len(h.sum)))
	return subtle.ConstantTimeCompare(sum, h.sum) == 1
}

// parseHash reads what stands behind the user name in a password file.
func parseHash(s string) (hash, error) {
	if !strings.HasPrefix(s, "$") {
		return nil, errors.New("the password is not hashed; run: gatewayd passwd FILE USER")
	}
	parts := strings.Split(s[1:], "$")
	switch {
	case parts[0] == "6" && len(parts) == 3:
		salt, sum, err := decodePair(base64.StdEncoding, parts[1], parts[2])
		if err != nil || len(sum) != sha512.Size {
			return nil, errors.New("damaged $6$ entry")
		}
		return &sha512Hash{salt, sum}, nil
	case parts[0] == "7" && len(parts) == 4:
		iterations, err := strconv.Atoi(parts[1])
		if err != nil || iterations < 1 || iterations > maxIterations {
			return nil, fmt.Errorf("$7$ entry with %q iterations, want 1 to %d", parts[1], maxIterations)
		}
		salt, sum, err := decodePair(base64.StdEncoding, parts[2], parts[3])
		if err != nil || len(sum) != sha512.Size {
			return nil, errors.New("damaged $7$ entry")
		}
		return &pbkdf2Hash{iterations, salt, sum}, nil
	case parts[0] == "argon2id" && len(parts) == 5:
		return parseArgon(parts)
	}
	return nil, errors.New("unknown kind of password hash, want $6$, $7$ or $argon2id$")
}

// parseArgon reads argon2id$v=19$m=…,t=…,p=…$salt$sum.
func parseArgon(parts []string) (hash, error) {
	if parts[1] != "v=19" {
		return nil, fmt.Errorf("argon2id of version %q, want v=19", parts[1])
	}
	var h argonHash
	for _, p := range strings.Split(parts[2], ",") {
		name, value, _ := strings.Cut(p, "=")
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("argon2id parameter %q", p)
		}
		switch {
		case name == "m" && n <= maxArgonMemory:
			h.memory = uint32(n)
		case name == "t" && n <= maxArgonTime:
			h.time = uint32(n)
		case name == "p" && n <= 255:
			h.threads = uint8(n)
		default:
			return nil, fmt.Errorf("argon2id parameter %q is unknown or above m=%d, t=%d, p=255", p, maxArgonMemory, maxArgonTime)
		}
	}
	var err error
	h.salt, h.sum, err = decodePair(base64.RawStdEncoding, parts[3], parts[4])
	if err != nil || h.memory == 0 || h.time == 0 || h.threads == 0 || len(h.salt) < 8 || len(h.sum) < 16 || len(h.sum) > 1024 {
		return nil, errors.New("damaged $argon2id$ entry")
	}
	return &h, nil
}

func decodePair(enc *base64.Encoding, a, b string) (x, y []byte, err error) {
	if x, err = enc.DecodeString(a); err != nil {
		return nil, nil, err
	}
	y, err = enc.DecodeString(b)
	return x, y, err
}

// HashPassword makes the entry for a password: argon2id in PHC form.
func HashPassword(password []byte) string {
	salt := make([]byte, argonSalt)
	rand.Read(salt) // never fails
	sum := argon2.IDKey(password, salt, argonTime, argonMemory, argonThreads, argonKey)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum))
}

package auth

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// Passwords is a password file as it was when it was read. It does not change
// and may be used by many goroutines.
type Passwords struct {
	users map[string]hash
}

// ReadPasswords reads a password file: one user:hash a line, empty lines and
// lines that start with '#' are skipped. Its errors name file and line.
func ReadPasswords(file string) (*Passwords, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("password file: %w", err)
	}
	return parsePasswords(file, text)
}

func parsePasswords(file string, text []byte) (_ *Passwords, err error) {
	p := &Passwords{users: map[string]hash{}}
	for i, line := range lines(text) {
		if line == "" || line[0] == '#' {
			continue
		}
		user, entry, found := strings.Cut(line, ":")
		if !found || user == "" {
			return nil, fmt.Errorf("%s:%d: want user:hash", file, i+1)
		}
		if _, twice := p.users[user]; twice {
			return nil, fmt.Errorf("%s:%d: user %q stands in the file twice", file, i+1, user)
		}
		if p.users[user], err = parseHash(entry); err != nil {
			return nil, fmt.Errorf("%s:%d: user %q: %w", file, i+1, user, err)
		}
	}
	return p, nil
}

// Len is the number of users.
func (p *Passwords) Len() int { return len(p.users) }

// Has says whether the file knows a user.
func (p *Passwords) Has(user string) bool { return p.users[user] != nil }

// decoy is verified in the place of a user who does not exist, so that the time
// of the answer does not tell which users do.
var decoy = &argonHash{memory: argonMemory, time: argonTime, threads: argonThreads, salt: make([]byte, argonSalt), sum: make([]byte, argonKey)}

// Verify says whether user's password is this one. It takes as long as the
// entry asks for; Authority.Login bounds how many run at once.
func (p *Passwords) Verify(user string, password []byte) bool {
	h, known := p.users[user]
	if !known {
		decoy.matches(password)
		return false
	}
	return h.matches(password)
}

// ErrNoUser is returned by DeleteUser for a user the file does not have.
var ErrNoUser = errors.New("no such user")

// SetPassword adds a user to a password file or changes the password, and says
// which. A missing file is made with mode 0600.
func SetPassword(file, user string, password []byte) (added bool, err error) {
	if err := validUser(user); err != nil {
		return false, err
	}
	if len(password) > 65535 {
		return false, errors.New("the password is longer than the 65,535 bytes that MQTT can carry")
	}
	entry := user + ":" + HashPassword(password)
	err = editFile(file, func(all []string) ([]string, error) {
		if i := findUser(all, user); i >= 0 {
			all[i] = entry
			return all, nil
		}
		added = true
		return append(all, entry), nil
	})
	return added, err
}

// validUser says whether a user can stand in a file.
func validUser(user string) error {
	switch {
	case user == "":
		return errors.New("the user name is empty")
	case strings.ContainsAny(user, ":\r\n\x00") || user[0] == '#' || !utf8.ValidString(user) || len(user) > 65535:
		return fmt.Errorf("user name %q: want UTF-8 without ':' or line breaks, not starting with '#'", user)
	}
	return nil
}

// DeleteUser removes a user from a password file.
func DeleteUser(file, user string) error {
	return editFile(file, func(all []string) ([]string, error) {
		i := findUser(all, user)
		if i < 0 {
			return nil, fmt.Errorf("%s: user %q: %w", file, user, ErrNoUser)
		}
		return slices.Delete(all, i, i+1), nil
	})
}

func findUser(all []string, user string) int {
	return slices.IndexFunc(all, func(line string) bool { return strings.HasPrefix(line, user+":") })
}

// lines splits a file into lines without their ends.
func lines(text []byte) []string {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) // an editor's byte order mark
	all := strings.Split(string(text), "\n")
	for i := range all {
		all[i] = strings.TrimRight(all[i], "\r")
	}
	if all[len(all)-1] == "" {
		all = all[:len(all)-1]
	}
	return all
}

// editFile replaces a file by a changed copy: written beside it, synced, renamed
// over it, the folder synced. Readers see the old or the new file and a power
// cut leaves one of the two. Two editors at once wait for each other. Comments
// and order survive; the owner and group stay, others lose what rights they had.
func editFile(file string, edit func(lines []string) ([]string, error)) error {
	if target, err := filepath.EvalSymlinks(file); err == nil {
		file = target // the link stays a link
	}
	folder, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := lock(folder); err != nil {
		return fmt.Errorf("lock %s: %w", folder.Name(), err)
	}
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	mode := os.FileMode(0o600)
	var old os.FileInfo
	if err == nil {
		if old, err = os.Stat(file); err != nil {
			return err
		}
		mode = old.Mode().Perm()&0o640 | 0o600
	}
	var all []string
	if len(text) > 0 {
		all = lines(text)
	}
	if all, err = edit(all); err != nil {
		return err
	}
	var out strings.Builder
	for _, line := range all {
		out.WriteString(line + "\n")
	}
	if err := writeBeside(file, out.String(), mode, old); err != nil {
		return err
	}
	return folder.Sync()
}

func writeBeside(file, text string, mode os.FileMode, old os.FileInfo) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*") // made with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	if _, err = tmp.WriteString(text); err != nil {
		return err
	}
	if err = sameOwner(tmp, old); err != nil {
		return fmt.Errorf("keep the owner of %s: %w", file, err)
	}
	if err = tmp.Chmod(mode); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}

package auth

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestMosquittoPasswd verifies what Debian's mosquitto_passwd writes.
func TestMosquittoPasswd(t *testing.T) {
	tool, err := exec.LookPath("mosquitto_passwd")
	if err != nil {
		t.Skip("mosquitto_passwd is not installed")
	}
	file := filepath.Join(t.TempDir(), "passwd")
	for i, user := range []string{"new", "old", "größe"} {
		args := []string{"-b", file, user, "päss wörd:$" + user}
		if i == 0 {
			args = append([]string{"-c"}, args...)
		}
		if user == "old" {
			args = append([]string{"-H", "sha512"}, args...)
		}
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	p, err := ReadPasswords(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"new", "old", "größe"} {
		if !p.Verify(user, []byte("päss wörd:$"+user)) {
			t.Errorf("%s: the right password is refused", user)
		}
		if p.Verify(user, []byte("päss wörd:$"+user+"x")) || p.Verify(user, nil) {
			t.Errorf("%s: a wrong password is accepted", user)
		}
	}
	if p.Verify("nobody", []byte("x")) {
		t.Error("an unknown user is accepted")
	}
}

// TestArgonVectors verifies entries made by the reference implementation
// (phc-winner-argon2, test.c).
func TestArgonVectors(t *testing.T) {
	file := writeFile(t, "passwd", `# comment

ref:$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc
small:$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc
`)
	p, err := ReadPasswords(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"ref", "small"} {
		if !p.Verify(user, []byte("password")) || p.Verify(user, []byte("Password")) {
			t.Errorf("%s is not verified as the reference does", user)
		}
	}
}

func TestPasswordFileErrors(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"alice:secret\n", "passwd:1: user \"alice\": the password is not hashed"},
		{"# c\nalice\n", "passwd:2: want user:hash"},
		{"a:$6$AA==$AA==\n", "passwd:1: user \"a\": damaged $6$"},
		{"a:$7$0$AA==$AA==\n", "iterations"},
		{"a:$7$99999999$AA==$AA==\n", "iterations"},
		{"a:$argon2id$v=19$m=99999999,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc\n", "m=99999999"},
		{"a:$argon2id$v=16$m=256,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc\n", "version"},
		{"a:$2y$10$abc\n", "unknown kind"},
	} {
		_, err := ReadPasswords(writeFile(t, "passwd", tc.text))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: error %v, want %q", tc.text, err, tc.want)
		}
	}
	if _, err := ReadPasswords(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	old := HashPassword([]byte("x"))
	if _, err := ReadPasswords(writeFile(t, "passwd", "a:"+old+"\na:"+old+"\n")); err == nil || !strings.Contains(err.Error(), "passwd:2") {
		t.Errorf("a user twice: %v", err)
	}
}

func TestEditPasswords(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "passwd")
	if added, err := SetPassword(file, "alice", []byte("one")); err != nil || !added {
		t.Fatal(added, err)
	}
	info, _ := os.Stat(file)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("a new file has mode %v", info.Mode())
	}
	text, _ := os.ReadFile(file)
	os.WriteFile(file, append([]byte("# people\n"), text...), 0o600)
	os.Chmod(file, 0o644)
	link := filepath.Join(dir, "link")
	os.Symlink(file, link)
	if added, err := SetPassword(link, "bob", []byte("two")); err != nil || !added {
		t.Fatal(added, err)
	}
	if added, err := SetPassword(file, "alice", []byte("three")); err != nil || added {
		t.Fatal(added, err)
	}
	p, err := ReadPasswords(link)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Verify("alice", []byte("three")) || p.Verify("alice", []byte("one")) || !p.Verify("bob", []byte("two")) {
		t.Error("the change did not arrive")
	}
	if text, _ := os.ReadFile(file); !strings.HasPrefix(string(text), "# people\nalice:$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("comment or order lost:\n%s", text)
	}
	if info, _ := os.Lstat(link); info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link became a file")
	}
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o640 {
		t.Errorf("others keep rights: %v", info.Mode())
	}
	if err := DeleteUser(file, "carol"); !errors.Is(err, ErrNoUser) {
		t.Errorf("deleting nobody: %v", err)
	}
	if err := DeleteUser(file, "alice"); err != nil {
		t.Fatal(err)
	}
	if p, _ = ReadPasswords(file); p.Has("alice") || !p.Has("bob") {
		t.Error("the wrong user is gone")
	}
	for _, user := range []string{"", "a:b", "a\nb", "#a", "\xff"} {
		if _, err := SetPassword(file, user, []byte("x")); err == nil {
			t.Errorf("user name %q must be refused", user)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestEditorsAtOnce: none loses the other's change.
func TestEditorsAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwd")
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			if _, err := SetPassword(file, fmt.Sprint("user", i), []byte("x")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if p, err := ReadPasswords(file); err != nil || p.Len() != 6 {
		t.Errorf("%d users, %v", p.Len(), err)
	}
}

// TestWrittenForMosquitto: mosquitto_passwd can go on editing our file.
func TestWrittenForMosquitto(t *testing.T) {
	tool, err := exec.LookPath("mosquitto_passwd")
	if err != nil {
		t.Skip("mosquitto_passwd is not installed")
	}
	file := filepath.Join(t.TempDir(), "passwd")
	if _, err := SetPassword(file, "alice", []byte("one")); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, "-b", file, "bob", "two").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p, err := ReadPasswords(file)
	if err != nil || !p.Verify("bob", []byte("two")) || !p.Verify("alice", []byte("one")) {
		t.Errorf("%v", err)
	}
}

package auth

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

// rfc7677 is the example of RFC 7677: user "user", password "pencil".
const rfc7677 = "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n"

func scramAuthority(t *testing.T, text string) (*Authority, string) {
	t.Helper()
	file := writeFile(t, "scram", text)
	a, err := New(Options{ScramFile: file})
	if err != nil {
		t.Fatal(err)
	}
	return a, file
}

// begin steps an exchange with a client's first message and returns the server's.
func begin(t *testing.T, a *Authority, method, first string) (*ScramExchange, string) {
	t.Helper()
	x, err := a.Scram(method)
	if err != nil {
		t.Fatal(err)
	}
	answer, done, err := x.Step([]byte(first))
	if err != nil || done {
		t.Fatalf("first message: done %v, %v", done, err)
	}
	return x, string(answer)
}

// TestScramExample: the exchange of RFC 7677 section 3, byte by byte.
func TestScramExample(t *testing.T) {
	a, file := scramAuthority(t, rfc7677)
	known, err := ReadCredentials(file)
	if err != nil {
		t.Fatal(err)
	}
	server, _ := scram.SHA256.NewServer(func(user string) (scram.StoredCredentials, error) {
		return known.lookup("SCRAM-SHA-256", user), nil
	})
	talk := server.WithNonceGenerator(func() string { return "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0" }).NewConversation()
	x := &ScramExchange{Method: "SCRAM-SHA-256", a: a, talk: talk}
	for _, turn := range []struct {
		client, server string
		done           bool
	}{
		{"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", false},
		{"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", true},
	} {
		answer, done, err := x.Step([]byte(turn.client))
		if err != nil || done != turn.done || string(answer) != turn.server {
			t.Fatalf("to %s\ngot  %s, done %v, %v\nwant %s", turn.client, answer, done, err, turn.server)
		}
	}
	if x.User() != "user" {
		t.Errorf("the user is %q", x.User())
	}
}

// TestScramFile: what passwd --scram writes lets the user in by both methods, with the password that was given last, and no other.
func TestScramFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "scram")
	for i, step := range []struct {
		user, password string
		added          bool
	}{{"ann", "old", true}, {"bob, the=builder", "b", true}, {"ann", "secret", false}, {"ann2", "x", true}} {
		added, err := SetCredentials(file, step.user, []byte(step.password), minScramIterations)
		if err != nil || added != step.added {
			t.Fatalf("%d: added %v, %v", i, added, err)
		}
	}
	a, err := New(Options{ScramFile: file})
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	for _, tc := range []struct {
		user, password string
		want           error
	}{{"ann", "secret", nil}, {"ann", "old", ErrDenied}, {"bob, the=builder", "b", nil}, {"ann2", "x", nil}, {"nobody", "x", ErrDenied}} {
		for _, method := range ScramMethods {
			x, err := proveScram(t, a, method, tc.user, tc.password)
			if !errors.Is(err, tc.want) || err == nil && x.User() != tc.user {
				t.Errorf("%s %s/%s: %v, want %v", method, tc.user, tc.password, err, tc.want)
			}
		}
	}
	if err := DeleteCredentials(file, "ann"); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(file)
	if strings.Contains(string(text), "ann:") || strings.Count(string(text), "ann2:") != 2 {
		t.Errorf("after the deletion of ann:\n%s", text)
	}
	if err := DeleteCredentials(file, "ann"); !errors.Is(err, ErrNoUser) {
		t.Errorf("deleted twice: %v", err)
	}
	for _, bad := range []string{"", "a:b", "#a", "a\nb"} {
		if _, err := SetCredentials(file, bad, []byte("x"), minScramIterations); err == nil {
			t.Errorf("a user named %q", bad)
		}
	}
	if _, err := SetCredentials(file, "eve", []byte("x"), 1000); err == nil {
		t.Error("too few iterations")
	}
}

// proveScram runs an exchange with a client that knows a password.
func proveScram(t *testing.T, a *Authority, method, user, password string) (*ScramExchange, error) {
	t.Helper()
	x, err := a.Scram(method)
	if err != nil {
		return nil, err
	}
	gen, _ := scramHash(method)
	client, err := gen.NewClient(user, password, "")
	if err != nil {
		t.Fatal(err)
	}
	talk := client.NewConversation()
	message, err := talk.Step("")
	for done := false; !done; {
		if err != nil {
			t.Fatal(err)
		}
		var answer []byte
		if answer, done, err = x.Step([]byte(message)); err != nil {
			return nil, err
		}
		message, err = talk.Step(string(answer))
	}
	if err != nil || !talk.Valid() {
		t.Fatalf("the client does not trust the server: %v", err)
	}
	return x, nil
}

// TestScramTellsNobody: a user who does not exist is asked for a proof like one who does, with the same salt each time.
func TestScramTellsNobody(t *testing.T) {
	a, file := scramAuthority(t, rfc7677)
	salt := func(a *Authority, user string) string {
		_, answer := begin(t, a, "SCRAM-SHA-256", "n,,n="+user+",r=abc")
		_, rest, _ := strings.Cut(answer, ",s=")
		return rest
	}
	first := salt(a, "nobody")
	again, err := New(Options{ScramFile: file}) // a restart
	if err != nil {
		t.Fatal(err)
	}
	if first != salt(a, "nobody") || first != salt(again, "nobody") {
		t.Error("the salt of a user who does not exist changes")
	}
	if first == salt(a, "nobody2") || !strings.HasSuffix(first, ",i=4096") || len(first) != len(salt(a, "user")) {
		t.Errorf("the answer %q tells that there is no such user", first)
	}
}

// TestScramRefuses: nothing but a whole, right exchange lets anybody in.
func TestScramRefuses(t *testing.T) {
	a, file := scramAuthority(t, rfc7677)
	if _, err := a.Scram("SCRAM-SHA-1"); !errors.Is(err, ErrMethod) {
		t.Errorf("an unknown method: %v", err)
	}
	for _, first := range []string{"", "n", "n,,", "n,,n=,r=abc", "n,,n=user", "n,,n=user,r=", "n,,n=us=er,r=abc", "n,,m=x,n=user,r=abc", "p=tls-unique,,n=user,r=abc", "\x00\xff", strings.Repeat("n,", 10_000)} {
		x, _ := a.Scram("SCRAM-SHA-256")
		answer, done, err := x.Step([]byte(first))
		if done {
			t.Errorf("%q lets somebody in", first)
		}
		if err == nil { // at the latest the proof must fail
			if _, done, err = x.Step([]byte("c=biws,r=" + strings.TrimPrefix(string(answer), "r=") + ",p=AAAA")); done || err == nil {
				t.Errorf("%q: done %v, %v", first, done, err)
			}
		}
		if err == nil {
			t.Errorf("%q goes on", first)
		}
		if _, done, err := x.Step([]byte("c=biws,r=abc,p=AAAA")); done || err == nil {
			t.Errorf("%q: goes on after its failure", first)
		}
	}
	// One who acts for another.
	client, _ := scram.SHA256.NewClient("user", "pencil", "root")
	talk := client.NewConversation()
	message, _ := talk.Step("")
	x, answer := begin(t, a, "SCRAM-SHA-256", message)
	message, _ = talk.Step(answer)
	if _, done, err := x.Step([]byte(message)); done || !errors.Is(err, ErrDenied) {
		t.Errorf("user acts for root: done %v, %v", done, err)
	}
	// One who was deleted between the two messages.
	client, _ = scram.SHA256.NewClient("user", "pencil", "")
	talk = client.NewConversation()
	message, _ = talk.Step("")
	x, answer = begin(t, a, "SCRAM-SHA-256", message)
	message, _ = talk.Step(answer)
	if !a.StillProvable("SCRAM-SHA-256", "user") || a.StillProvable("SCRAM-SHA-512", "user") {
		t.Error("user is known by SCRAM-SHA-256 only")
	}
	os.WriteFile(file, nil, 0o600)
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, done, err := x.Step([]byte(message)); done || !errors.Is(err, ErrDenied) {
		t.Errorf("a deleted user: done %v, %v", done, err)
	}
	if a.StillProvable("SCRAM-SHA-256", "user") {
		t.Error("a deleted user is still known")
	}
}

func TestDamagedCredentials(t *testing.T) {
	good := strings.TrimSpace(rfc7677)
	for text, want := range map[string]string{
		"user":             "1: want user:METHOD",
		good + "\n" + good: `2: user "user" stands in the file twice`,
		"user:$7$x":        "gatewayd passwd --scram",
		strings.Replace(good, "$4096", "$4095", 1): `"4095" iterations, want 4096`,
		strings.Replace(good, "-256", "-512", 1):   "damaged SCRAM-SHA-512",
		strings.TrimSuffix(good, "="):              "damaged SCRAM-SHA-256",
		strings.Replace(good, "W22", "", 1):        "damaged SCRAM-SHA-256",
	} {
		if _, err := ReadCredentials(writeFile(t, "scram", text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngives %v, want %s", text, err, want)
		}
	}
}

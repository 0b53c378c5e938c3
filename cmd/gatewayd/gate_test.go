package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"gatewayd/config"
)

func TestGate(t *testing.T) {
	var g gate
	var passed []int
	come := func(n int) { g.pass(func() { passed = append(passed, n) }) }
	come(1)
	g.close()
	come(2)
	g.close() // a second reload before the first is over
	come(3)
	g.open()
	if !slices.Equal(passed, []int{1}) {
		t.Errorf("passed %v while it is shut", passed)
	}
	g.open()
	come(4)
	if !slices.Equal(passed, []int{1, 2, 3, 4}) {
		t.Errorf("passed %v", passed)
	}
}

// TestGateWaitsForTheSignal: a login that comes between the change of a file and
// the arrival of SIGHUP meets the new file; without a signal it is let in a
// moment later, by the old one.
func TestGateWaitsForTheSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "acl")
		write := func(text string) {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("topic read a\n")
		u, err := newUsers(&config.Config{Auth: config.Auth{ACLFile: file}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var g gate
		g.latest.Store(u)
		var passed []string
		come := func(who string) {
			g.pass(func() {
				if u.shared.MayPublish("c", "", "a") {
					who += " may write"
				}
				passed = append(passed, who)
			})
		}
		come("before")
		write("topic readwrite a\n")
		come("during")
		time.Sleep(signalGrace / 2)
		g.close() // the signal is here
		time.Sleep(signalGrace)
		if err := u.reload(); err != nil {
			t.Fatal(err)
		}
		g.open()
		come("after")
		write("topic write a\n# and no signal\n")
		come("unsignalled")
		time.Sleep(signalGrace)
		synctest.Wait()
		if want := []string{"before", "during may write", "after may write", "unsignalled may write"}; !slices.Equal(passed, want) {
			t.Errorf("passed %q, want %q", passed, want)
		}
	})
}

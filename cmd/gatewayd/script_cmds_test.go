package main

import (
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// expandFile fills the script's variables into files: expand FILE...
func expandFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: expand FILE...")
	}
	for _, name := range args {
		path := ts.MkAbs(name)
		b, err := os.ReadFile(path)
		ts.Check(err)
		ts.Check(os.WriteFile(path, []byte(os.Expand(string(b), ts.Getenv)), 0o644))
	}
}

// sendSignal signals the command that was put into the background last:
// signal HUP.
func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2}
	running := ts.BackgroundCmds()
	if neg || len(args) != 1 || signals[args[0]] == 0 || len(running) == 0 {
		ts.Fatalf("usage: signal HUP|INT|TERM|USR1|USR2, with a command in the background")
	}
	ts.Check(running[len(running)-1].Process.Signal(signals[args[0]]))
}

// waitFor waits until something listens: waitfor HOST:PORT; with ! until
// nothing does.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: waitfor HOST:PORT")
	}
	network, address := "tcp", args[0]
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", ts.MkAbs(path)
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial(network, address)
		if err == nil {
			c.Close()
		}
		if (err == nil) != neg {
			return
		}
	}
	ts.Fatalf("waited in vain for %s", args[0])
}

package main

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gatewayd": main})
}

// TestScripts runs the command line as users do. Each script has its own
// folder and $FREE, $FREE2, $FREE3: ports of loopback that nobody uses, and
// $BUSY: one that this test listens on.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			for _, name := range []string{"FREE", "FREE2", "FREE3"} {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				e.Setenv(name, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
				l.Close()
			}
			fixtures, err := filepath.Abs("testdata")
			if err != nil {
				return err
			}
			e.Setenv("FIXTURES", fixtures)
			busy, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			e.Defer(func() { busy.Close() })
			e.Setenv("BUSY", strconv.Itoa(busy.Addr().(*net.TCPAddr).Port))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"expand":  expandFile,
			"waitfor": waitFor,
			"signal":  sendSignal,
		},
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
	})
}

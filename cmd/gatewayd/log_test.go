package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatewayd/config"
)

func parseConfig(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse(filepath.Join(t.TempDir(), "g.yaml"), []byte(text), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLogToStderr(t *testing.T) {
	var out bytes.Buffer
	l, err := openLogs(parseConfig(t, "log: {level: warn, format: json}\n"), false, &out)
	if err != nil {
		t.Fatal(err)
	}
	l.Info("not this")
	l.Warn("this", "client", "c1")
	var event map[string]any
	if err := json.Unmarshal(out.Bytes(), &event); err != nil || event["msg"] != "this" || event["client"] != "c1" {
		t.Errorf("%q: %v", out.String(), err)
	}
	l.setLevel(parseConfig(t, "log: {level: error}\n"), true)
	if !l.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("-v must win over the configured level")
	}
}

// A rotated file is left behind at the next HUP.
func TestLogToFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "g.log")
	l, err := openLogs(parseConfig(t, "log: {to: file, file: "+name+"}\n"), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Info("before")
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	l.Info("between")
	if err := l.reopen(); err != nil {
		t.Fatal(err)
	}
	l.Info("after")
	for file, want := range map[string][]string{name + ".1": {"before", "between"}, name: {"after"}} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(b), "\n"); got != len(want) {
			t.Errorf("%s has %d lines, want %v:\n%s", file, got, want, b)
		}
		for _, w := range want {
			if !strings.Contains(string(b), "msg="+w) {
				t.Errorf("%q is not in %s:\n%s", w, file, b)
			}
		}
	}
	if _, err := openLogs(parseConfig(t, "log: {to: file, file: /no/such/folder/g.log}\n"), false, nil); err == nil || !strings.Contains(err.Error(), "log.file") {
		t.Errorf("a file that cannot be made gives %v", err)
	}
}

// Events go to Mosquitto's topics, and a full sink drops instead of waiting.
func TestLogToTopic(t *testing.T) {
	l, err := openLogs(parseConfig(t, "log: {to: topic}\n"), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Info("plain", "client", "a b", "bridge", "x")
	l.With("bridge", "y").WithGroup("g").Error("bad", "n", 1)
	ctx, stop := context.WithCancel(t.Context())
	var got []string
	l.topic.run(ctx, func(topic, text string) {
		if got = append(got, topic+" "+text); len(got) == 2 {
			stop()
		}
	})
	if got[0] != `$SYS/broker/log/I plain client="a b" bridge=x` || got[1] != `$SYS/broker/log/E bad bridge=y g.n=1` {
		t.Errorf("got %q", got)
	}
	for range 1000 {
		l.Info("flood")
	}
	if n := len(l.topic.events); n != cap(l.topic.events) {
		t.Errorf("%d events wait, want %d", n, cap(l.topic.events))
	}
}

func TestJournalField(t *testing.T) {
	if got := journalField("packet_id.x-2"); got != "PACKET_ID_X_2" {
		t.Errorf("got %s", got)
	}
}

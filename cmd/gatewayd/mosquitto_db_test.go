package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/store"
)

// The file was saved by Mosquitto 2.0.11 on amd64: s1 and s2 away with queued
// messages, flight with one QoS 2 message sent and one released, inward with
// one QoS 2 message it has not released, two retained.
func fixtureDB(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/mosquitto.db")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var fixtureTime = time.Date(2026, 11, 21, 10, 34, 0, 0, time.UTC)

func TestReadMosquittoDB(t *testing.T) {
	db, err := readMosquittoDB(bytes.NewReader(fixtureDB(t)))
	if err != nil {
		t.Fatal(err)
	}
	var clients []string
	for _, c := range db.clients {
		clients = append(clients, fmt.Sprintf("%s %d", c.id, len(c.queue)))
	}
	if want := []string{"s1 2", "s2 1", "flight 2", "inward 1"}; !slices.Equal(clients, want) {
		t.Errorf("clients %v, want %v", clients, want)
	}
	if len(db.subs) != 3 || len(db.retained) != 2 {
		t.Errorf("%d subscriptions, %d retained", len(db.subs), len(db.retained))
	}
	three := db.messages[db.clients[1].queue[0].message]
	p := three.publish.Properties
	if string(three.publish.Payload) != "three" || three.publish.Topic != "q2/a" || three.expires == 0 ||
		p == nil || p.ContentType != "text/plain" || len(p.User) != 1 || p.User[0].Value != "v" {
		t.Errorf("message %+v with properties %+v", three, p)
	}
}

func TestDamagedMosquittoDB(t *testing.T) {
	whole := fixtureDB(t)
	for name, b := range map[string][]byte{
		"nothing":        nil,
		"something else": []byte(strings.Repeat("x", 100)),
		"cut":            whole[:len(whole)-3],
		"old format":     append(append(slices.Clone(dbMagic), 0, 0, 0, 0, 0, 0, 0, 3), whole[len(dbMagic)+8:]...),
	} {
		if _, err := readMosquittoDB(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestImportMosquittoDB(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	db, err := readMosquittoDB(bytes.NewReader(fixtureDB(t)))
	if err != nil {
		t.Fatal(err)
	}
	take := func() imported {
		t.Helper()
		s, err := store.Open(dir, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		done, err := importDB(t.Context(), s, db, fixtureTime)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return done
	}
	done := take()
	if want := (imported{retained: 3, sessions: 4, subscriptions: 3, messages: 5, released: 1}); done != want {
		t.Errorf("%+v, want %+v", done, want)
	}
	if err := store.Verify(dir); err != nil {
		t.Error(err)
	}
	got := dumped(t, dir)
	for _, want := range []string{
		"message s1 q1/a one qos 1", "message s1 q1/b two qos 1", "message s1 q1/in held qos 1", "message s2 q2/a three qos 2",
		"message flight fl/two second qos 2", "retained  ret/1 kept qos 1", "retained  ret/0 kept0 qos 0", "retained  q1/in held qos 2",
		"flight released 1", "flight published 2",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, strings.Join(got, "\n"))
		}
	}
	if again := take(); again.sessions != 0 || again.retained != 0 || again.messages != 0 || again.known != 6 {
		t.Errorf("a second time %+v, want everything known", again)
	}
}

// dumped is a store's content, a line each.
func dumped(t *testing.T, dir string) []string {
	t.Helper()
	var b bytes.Buffer
	if err := store.DumpDir(dir, &b); err != nil {
		t.Fatal(err)
	}
	clients := map[float64]string{}
	var lines []string
	for _, text := range strings.Split(strings.TrimSpace(b.String()), "\n") {
		var m map[string]any
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		id, _ := m["session"].(float64)
		switch m["kind"] {
		case "session":
			clients[id], _ = m["client"].(string)
		case "message", "retained":
			lines = append(lines, fmt.Sprintf("%v %s %v %v qos %v", m["kind"], clients[id], m["topic"], m["payload"], m["qos"]))
		case "flight":
			lines = append(lines, fmt.Sprintf("flight %v %v", m["state"], m["packet_id"]))
		}
	}
	return lines
}

func FuzzReadMosquittoDB(f *testing.F) {
	f.Add(fixtureDB(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = readMosquittoDB(bytes.NewReader(b)) // must come back
	})
}

package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBackupAndRestore(t *testing.T) {
	s, _ := running(t, t.TempDir(), Options{})
	a := newSession(t, s, "a")
	var b Batch
	for i := range 500 {
		b.AddMessage(message("t", fmt.Sprint(i)), []Recipient{{Session: a, QoS: 1}})
	}
	b.PutRetained(message("r", strings.Repeat("large", 100_000)))
	submit(t, s, &b)
	var image bytes.Buffer
	if err := s.Backup(t.Context(), &image); err != nil {
		t.Fatal(err)
	}
	b.DeleteSession(a) // after the backup
	submit(t, s, &b)

	dir := filepath.Join(t.TempDir(), "restored")
	if err := Restore(dir, bytes.NewReader(image.Bytes())); err != nil {
		t.Fatal(err)
	}
	r, stop := running(t, dir, Options{})
	check(t, r)
	if _, q := queue(t, r, a); len(q) != 500 || q[499] != "499" {
		t.Fatal(len(q))
	}
	if id := r.NewSessionID(); id <= a {
		t.Fatal("an id is given twice", id)
	}
	stop()
	if err := Restore(dir, bytes.NewReader(image.Bytes())); err == nil {
		t.Fatal("restored over a store")
	}
	for _, cut := range []int{10, 1000, image.Len() - 1} {
		dir := filepath.Join(t.TempDir(), "cut")
		if err := Restore(dir, bytes.NewReader(image.Bytes()[:cut])); err == nil {
			t.Errorf("restored %d bytes of %d", cut, image.Len())
		}
		if _, err := os.Stat(dir); err == nil {
			t.Error("something was left")
		}
	}
	bad := bytes.Clone(image.Bytes())
	bad[len(bad)/2] ^= 1
	if err := Restore(filepath.Join(t.TempDir(), "bad"), bytes.NewReader(bad)); err == nil {
		t.Error("restored a changed backup")
	}
}

func TestToolsOnAClosedStore(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir, Options{})
	a := newSession(t, s, "client-a")
	var b Batch
	b.PutSubscription(a, Subscription{Filter: "x/#"})
	b.AddMessage(message("t", "text"), []Recipient{{Session: a, QoS: 1}})
	b.AddMessage(message("t", "\xff\x00"), []Recipient{{Session: a, QoS: 1}})
	b.Hold(a, 3, 3)
	submit(t, s, &b)
	if err := Verify(dir); err == nil {
		t.Fatal("verified a store in use")
	}
	stop()
	if err := Verify(dir); err != nil {
		t.Fatal(err)
	}
	if err := CompactDir(dir); err != nil {
		t.Fatal(err)
	}
	st, err := StatsOf(dir)
	if err != nil || st.Messages != 2 || st.Sessions != 1 {
		t.Fatal(st, err)
	}
	var out bytes.Buffer
	if err := DumpDir(dir, &out); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for line := range strings.Lines(out.String()) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(line, err)
		}
		kinds = append(kinds, fmt.Sprint(l["kind"], l["client"], l["filter"], l["payload"], l["payload_base64"], l["packet_id"]))
	}
	want := "[sessionclient-a<nil><nil><nil><nil> subscription<nil>x/#<nil><nil><nil> hold<nil><nil><nil><nil> 3 message<nil><nil>text<nil><nil> message<nil><nil><nil>/wA=<nil>]"
	got := strings.ReplaceAll(fmt.Sprint(kinds), " <nil>", "<nil>")
	if got != want {
		t.Fatalf("\n got %s\nwant %s", got, want)
	}
	if _, err := StatsOf(filepath.Join(dir, "nowhere")); err == nil {
		t.Fatal("made a store to read its statistics")
	}
}

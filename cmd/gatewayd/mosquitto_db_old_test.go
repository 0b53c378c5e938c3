package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatewayd/store"
)

// oldDB writes what db holds in format 2, 3 or 4, for a machine of that byte
// order and length of time.
func oldDB(db *mosquittoDB, format uint32, order binary.AppendByteOrder, time int) []byte {
	text := func(b []byte, s string) []byte {
		return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
	}
	out := binary.BigEndian.AppendUint32(append(slices.Clone(dbMagic), 0, 0, 0, 0), format)
	record := func(kind uint16, body []byte) {
		out = binary.BigEndian.AppendUint16(out, kind)
		out = binary.BigEndian.AppendUint32(out, uint32(len(body)))
		out = append(out, body...)
	}
	record(chunkConfig, order.AppendUint64([]byte{1, 8}, uint64(len(db.messages))))
	for _, m := range db.messages {
		b := text(order.AppendUint64(nil, m.id), m.source)
		if format == 4 {
			b = binary.BigEndian.AppendUint16(text(b, m.user), 1883)
		}
		b = text(append(b, 0, 7, 0, 0), m.publish.Topic)
		retain := byte(0)
		if m.publish.Retain {
			retain = 1
		}
		b = append(b, byte(m.publish.QoS), retain)
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(m.publish.Payload))), m.publish.Payload...)
		record(chunkMessage, b)
	}
	for _, c := range db.clients {
		b := append(text(nil, c.id), 0, 9)
		if format > 2 {
			b = append(b, make([]byte, time)...)
		}
		record(chunkClient, b)
		for _, d := range c.queue {
			b := order.AppendUint64(text(nil, c.id), d.message)
			b = binary.BigEndian.AppendUint16(b, d.mid)
			retain, out := byte(0), byte(1)
			if d.retain {
				retain = 1
			}
			if d.inward {
				out = 0
			}
			record(chunkDelivery, append(b, d.qos, retain, out, d.state, 0))
		}
	}
	for _, s := range db.subs {
		record(chunkSub, append(text(text(nil, s.client), s.filter), s.qos))
	}
	record(77, []byte("of a later version"))
	for _, id := range db.retained {
		record(chunkRetained, order.AppendUint64(nil, id))
	}
	return out
}

// The formats before 1.6 are read as Mosquitto 2 itself reads them, from machines
// of either byte order, and of 32 bits.
func TestReadOldMosquittoDB(t *testing.T) {
	want, err := readMosquittoDB(bytes.NewReader(fixtureDB(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range want.messages { // what those formats do not have
		m.expires, m.publish.Properties = 0, nil
	}
	for format := uint32(2); format <= 4; format++ {
		for name, order := range map[string]binary.AppendByteOrder{"little": binary.LittleEndian, "big": binary.BigEndian} {
			for _, time := range []int{4, 8} {
				file := oldDB(want, format, order, time)
				got, err := readMosquittoDB(bytes.NewReader(file))
				if err != nil {
					t.Errorf("format %d, %s, %d: %v", format, name, time, err)
					continue
				}
				if a, b := tellDB(got, format), tellDB(want, format); a != b {
					t.Errorf("format %d, %s, %d:\n%s\nwant\n%s", format, name, time, a, b)
				}
				for cut := len(dbMagic) + 8; cut < len(file); cut++ {
					if _, err := readMosquittoDB(bytes.NewReader(file[:cut])); err != nil && !strings.Contains(err.Error(), " of it") {
						t.Fatalf("cut at %d: %v", cut, err)
					}
				}
			}
		}
	}
}

// tellDB is what a file holds, as far as its format can say it.
func tellDB(db *mosquittoDB, format uint32) string {
	var b strings.Builder
	for _, c := range db.clients {
		fmt.Fprintf(&b, "client %s %+v\n", c.id, c.queue)
	}
	ids := []uint64{}
	for id := range db.messages {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		m := db.messages[id]
		user := m.user
		if format < 4 {
			user = ""
		}
		fmt.Fprintf(&b, "message %d %s %q %s %q %d %v\n", id, m.source, user, m.publish.Topic, m.publish.Payload, m.publish.QoS, m.publish.Retain)
	}
	for _, s := range db.subs {
		fmt.Fprintf(&b, "sub %s %s %d\n", s.client, s.filter, s.qos)
	}
	fmt.Fprintf(&b, "retained %v\n", db.retained)
	return b.String()
}

// A file of 32-bit x86 has no padding behind a client, one of a big-endian router
// stores ids the other way round.
func TestReadMosquittoDBOfOtherMachines(t *testing.T) {
	whole := fixtureDB(t)
	want, err := readMosquittoDB(bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	i386, big := slices.Clone(whole[:len(dbMagic)+8]), slices.Clone(whole[:len(dbMagic)+8])
	swap := func(b []byte) { slices.Reverse(b[:8]) }
	for rest := whole[len(dbMagic)+8:]; len(rest) > 0; {
		kind, length := binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[4:])
		body := rest[8 : 8+length]
		rest = rest[8+length:]
		small, turned := slices.Clone(body), slices.Clone(body)
		if kind == chunkClient {
			small = slices.Delete(small, 20, 24)
		}
		swap(turned)
		if kind == chunkSub {
			turned = body
		}
		if kind == chunkMessage {
			swap(turned[8:])
		}
		for to, b := range map[*[]byte][]byte{&i386: small, &big: turned} {
			*to = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(*to, kind), uint32(len(b)))
			*to = append(*to, b...)
		}
	}
	for name, file := range map[string][]byte{"i386": i386, "big-endian": big} {
		got, err := readMosquittoDB(bytes.NewReader(file))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if a, b := tellDB(got, 6), tellDB(want, 6); a != b {
			t.Errorf("%s:\n%s\nwant\n%s", name, a, b)
		}
		for i, c := range got.clients {
			if w := want.clients[i]; c.expires != w.expires || c.expiry != w.expiry || c.user != w.user {
				t.Errorf("%s: client %+v, want %+v", name, c, w)
			}
		}
	}
}

// Whatever is damaged is one clear sentence, before anything is imported.
func TestDamagedMosquittoDBImportsNothing(t *testing.T) {
	whole := fixtureDB(t)
	for cut := range len(whole) {
		if _, err := readMosquittoDB(bytes.NewReader(whole[:cut])); err != nil && strings.Contains(err.Error(), "\n") {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "mosquitto.db")
	if err := os.WriteFile(file, whole[:len(whole)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := newStoreImport()
	cmd.SetArgs([]string{"-d", filepath.Join(dir, "data"), file})
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.Execute()
	if err == nil || !strings.Contains(err.Error(), "mosquitto.db: it ends within a record, at byte ") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("a data folder was made")
	}
}

// An import that ends early leaves no store where there was none, and an older
// one as it was.
func TestImportIsWholeOrNot(t *testing.T) {
	db, err := readMosquittoDB(bytes.NewReader(fixtureDB(t)))
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	dir := filepath.Join(t.TempDir(), "store")
	if _, err := importInto(ended, dir, store.Options{}, db, fixtureTime); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	if names, _ := filepath.Glob(dir + "*"); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
	if _, err := importInto(t.Context(), dir, store.Options{}, &mosquittoDB{clients: []*dbClient{{id: "old", expiry: 1<<32 - 1}}}, fixtureTime); err != nil {
		t.Fatal(err)
	}
	before := dumped(t, dir)
	full := errors.New("no space left")
	n := 0
	o := store.Options{BeforeWrite: func() error {
		if n++; n >= 3 {
			return full
		}
		return nil
	}}
	if _, err := importInto(t.Context(), dir, o, db, fixtureTime); err == nil {
		t.Fatal("no error although the disk was full")
	}
	if after := dumped(t, dir); !slices.Equal(after, before) {
		t.Errorf("the store holds\n%q\nbefore it held\n%q", after, before)
	}
	if names, _ := filepath.Glob(dir + ".*"); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
	done, err := importInto(t.Context(), dir, store.Options{}, db, fixtureTime)
	if want := (imported{retained: 3, sessions: 4, subscriptions: 3, messages: 5, released: 1}); err != nil || done != want {
		t.Errorf("%+v, %v; want %+v", done, err, want)
	}
}

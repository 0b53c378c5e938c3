package mqtt

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// FuzzDecode: whatever decodes encodes to bytes that decode to the same, and
// nothing panics.
func FuzzDecode(f *testing.F) {
	for _, p := range samples() {
		for _, v := range []Version{V31, V311, V5} {
			if wire := p.Append(nil, v); len(wire) < 1000 {
				f.Add(byte(v), wire)
			}
		}
	}
	f.Fuzz(func(t *testing.T, v byte, b []byte) {
		p, err := Decode(Version(v), b)
		if err != nil {
			if !CodeOf(err).Failed() {
				t.Fatalf("error without a code: %v", err)
			}
			return
		}
		wire := p.Append(nil, Version(v))
		if c, ok := p.(*Connect); ok {
			v = byte(c.Version)
		}
		q, err := Decode(Version(v), wire)
		if err != nil {
			t.Fatalf("% x decoded to %#v, whose bytes % x do not: %v", b, p, wire, err)
		}
		if diff := cmp.Diff(p, q, sameFields); diff != "" {
			t.Fatalf("round trip (-first +second):\n%s", diff)
		}
		if again := q.Append(nil, Version(v)); !bytes.Equal(wire, again) {
			t.Fatalf("not stable: % x, then % x", wire, again)
		}
	})
}

// FuzzSplit: a stream cut anywhere splits the same way.
func FuzzSplit(f *testing.F) {
	f.Add([]byte{0xc0, 0, 0x30, 3, 0, 1, 'a'}, 100)
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, 0)
	f.Fuzz(func(t *testing.T, b []byte, max int) {
		n, err := Split(b, max)
		if n < 0 || n > len(b) || err != nil && n != 0 {
			t.Fatalf("Split = %d, %v of %d bytes", n, err, len(b))
		}
		if max > 0 && n > max {
			t.Fatalf("Split = %d above %d", n, max)
		}
		for i := range b {
			m, cut := Split(b[:i], max)
			switch {
			case m != 0 && m != n:
				t.Fatalf("%d of the first %d bytes, %d of all", m, i, n)
			case cut != nil && err == nil:
				t.Fatalf("%v after %d bytes, accepted whole", cut, i)
			}
		}
	})
}

// FuzzProperties: a store's copy of a message's properties is the same again.
func FuzzProperties(f *testing.F) {
	f.Add([]byte{1, 1, 3, 0, 1, 'a', 0x26, 0, 1, 'k', 0, 1, 'v'})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again Message
		if m.ParseProperties(b) != nil {
			return
		}
		kept := m.AppendProperties(nil)
		if err := again.ParseProperties(kept); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, again); diff != "" {
			t.Fatalf("kept properties (-before +after):\n%s", diff)
		}
	})
}

func FuzzUTF8(f *testing.F) {
	f.Add([]byte("temperature/räume"))
	f.Add([]byte("12345678\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := ValidUTF8(b), utf8.Valid(b) && bytes.IndexByte(b, 0) < 0; got != want {
			t.Errorf("ValidUTF8(%q) = %v", b, got)
		}
		if got, want := hasWildcard(b), bytes.ContainsAny(b, "+#"); got != want && utf8.Valid(b) {
			t.Errorf("hasWildcard(%q) = %v", b, got)
		}
	})
}

package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/CONFIGURATION.md and the schema")

// The page and the schema in the repository are those of the structs.
func TestReferenceIsCurrent(t *testing.T) {
	for file, want := range map[string][]byte{"../docs/CONFIGURATION.md": Reference(), "../docs/gatewayd.schema.json": Schema()} {
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is out of date: go test ./config -run Reference -update", file)
		}
	}
}

func TestSchemaNamesEveryKey(t *testing.T) {
	var s map[string]any
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	top := s["properties"].(map[string]any)
	for _, f := range fieldsOf(reflect.TypeFor[Config]()) {
		if _, ok := top[f.key]; !ok {
			t.Errorf("%s is missing", f.key)
		}
	}
	if s["additionalProperties"] != false {
		t.Error("unknown keys must be refused")
	}
}

// Every key of every struct says what it is for, and its tags parse.
func TestEveryKeyIsExplained(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(t reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] || typ == reflect.TypeFor[Filter]() {
			return
		}
		seen[typ] = true
		setDefaults(reflect.New(typ).Elem())
		for _, f := range fieldsOf(typ) {
			if doc := f.tag.Get("doc"); !strings.HasSuffix(doc, ".") {
				t.Errorf("%s.%s: doc %q", typ, f.key, doc)
			}
			if name := f.tag.Get("check"); name != "" && checks[name] == nil {
				t.Errorf("%s.%s: no check %q", typ, f.key, name)
			}
			for _, bound := range []string{"min", "max"} {
				if text, ok := f.tag.Lookup(bound); ok {
					tagNumber(f.typ, text)
				}
			}
			walk(f.typ)
		}
	}
	walk(reflect.TypeFor[Config]())
}

func FuzzParse(f *testing.F) {
	f.Add(builtIn)
	f.Add([]byte("a: &a [1]\nb: *a\n"))
	f.Add([]byte("listeners: [{address: ':1', tls: {}}]\nbridges:\n- name: x\n  topics: [{}]\n"))
	f.Add([]byte("gateway: {id: '${env:A}${file:b}$${'}\n"))
	f.Add([]byte("? [a]\n: !!str |\n  x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		o := Options{Environment: env(map[string]string{"b": "x"}, map[string]string{"A": "y"})}
		c, err := Parse("g.yaml", text, o)
		if err != nil {
			for _, e := range asErrors(err) {
				if strings.ContainsRune(e.Error(), '\n') {
					t.Fatalf("%q is more than one line", e.Error())
				}
			}
			return
		}
		again, err := Parse("g.yaml", c.Show(), o)
		if err != nil {
			t.Fatalf("%s\ndoes not read: %v", c.Show(), err)
		}
		if !bytes.Equal(again.Show(), c.Show()) {
			t.Fatalf("%s\nread again is\n%s", c.Show(), again.Show())
		}
	})
}

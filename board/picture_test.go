package board

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

//go:generate go test -run TestPicturesAreCurrent -update .

var update = flag.Bool("update", false, "write generated documents anew")

// docs/boards is made of the tables that the gateway itself uses.
func TestPicturesAreCurrent(t *testing.T) {
	files := map[string][]byte{"README.md": PicturePage()}
	for _, p := range Pictures() {
		files[p.Name+".svg"] = p.SVG()
	}
	for name, want := range files {
		path := filepath.Join("..", "docs", "boards", name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		have, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s is not what the tables say (%v): go generate ./board", path, err)
		}
	}
}

// A picture is XML, names every pin once, and shows each where names find it.
func TestPictures(t *testing.T) {
	for _, p := range Pictures() {
		text := string(p.SVG())
		d := xml.NewDecoder(strings.NewReader(text))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", p.Name, err)
			}
		}
		for pin := 1; pin <= 40; pin++ {
			if !strings.Contains(text, fmt.Sprintf(">%d</text>", pin)) || label(pin) == "" {
				t.Errorf("%s has no pin %d", p.Name, pin)
			}
			name, err := lineName(fmt.Sprint("pin ", pin))
			if err == nil && !strings.HasPrefix(label(pin), name) {
				t.Errorf("pin %d is %s and its label %q", pin, name, label(pin))
			}
		}
	}
	power := 0
	for pin := 1; pin <= 40; pin++ {
		if headerLines[pin] == 0 {
			power++
		}
	}
	if power != 14 { // two of 3.3 V, two of 5 V, eight of ground, two of the EEPROM
		t.Errorf("%d pins are no GPIO, want 14", power)
	}
	if _, err := os.Stat("../scripts/image.sh"); err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("../scripts/image.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range Pictures() {
		if !bytes.Contains(script, []byte(p.Name)) {
			t.Errorf("%s has a picture and no card image", p.Name)
		}
	}
}

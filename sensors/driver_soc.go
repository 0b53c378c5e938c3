package sensors

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// The temperature of the processor, from the kernel's thermal zones.
var driverSoC = Driver{
	Name: "soc", Part: "processor temperature", Bus: BusSys,
	Quantities: []string{"temperature"}, Options: []string{"zone"},
	Open: openSoC,
}

type socProbe struct {
	sys  fs.FS
	file string
}

func openSoC(b Buses, p Params) (Probe, error) {
	sys := b.Sys()
	zones, err := fs.Glob(sys, "class/thermal/thermal_zone*")
	if err != nil {
		return nil, err
	}
	want := p.optText("zone", "")
	var first string
	for _, z := range zones {
		kind, _ := readText(sys, path.Join(z, "type"))
		if want != "" && kind != want && path.Base(z) != want {
			continue
		}
		if _, err := readNumber(sys, path.Join(z, "temp")); err != nil {
			continue
		}
		// The processor's own zone has such a name on all boards known.
		if want != "" || strings.Contains(kind, "cpu") || strings.Contains(kind, "soc") || strings.Contains(kind, "x86_pkg") {
			return &socProbe{sys, path.Join(z, "temp")}, nil
		}
		if first == "" {
			first = path.Join(z, "temp")
		}
	}
	if first == "" {
		return nil, errors.New("the kernel shows no thermal zone")
	}
	return &socProbe{sys, first}, nil
}

func (p *socProbe) Read(_ context.Context, emit func(Reading)) error {
	v, err := readNumber(p.sys, p.file)
	if err != nil {
		return err
	}
	emit(Of("temperature", v/1000))
	return nil
}

func (p *socProbe) Close() error { return nil }

func readText(f fs.FS, name string) (string, error) {
	b, err := fs.ReadFile(f, name)
	return strings.TrimSpace(string(b)), err
}

func readNumber(f fs.FS, name string) (float64, error) {
	s, err := readText(f, name)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is not a number", name, s)
	}
	return v, nil
}

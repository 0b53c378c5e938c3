package config

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// DefaultFiles is where a configuration is looked for when none is named.
var DefaultFiles = []string{"gatewayd.yaml", "/etc/gatewayd/gatewayd.yaml"}

//go:embed default.yaml
var builtIn []byte

// BuiltIn is the text of the built-in default.
func BuiltIn() string { return string(builtIn) }

// Options is where things are read from and what the command line puts over
// them.
type Options struct {
	Environment Environment // zero: the process's own
	Port        int         // port of the first MQTT listener
	DataDir     string
	Board       string
}

// System is the process's own environment.
func System() Environment {
	return Environment{LookupEnv: os.LookupEnv, ReadFile: os.ReadFile, ReadDir: readDir}
}

func (e Environment) withDefaults() Environment {
	s := System()
	if e.LookupEnv == nil {
		e.LookupEnv = s.LookupEnv
	}
	if e.ReadFile == nil {
		e.ReadFile = s.ReadFile
	}
	if e.ReadDir == nil {
		e.ReadDir = s.ReadDir
	}
	return e
}

// readDir names the files of a folder; a folder that does not exist has none.
func readDir(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// Find returns the first of DefaultFiles that exists, or "".
func Find() string {
	for _, f := range DefaultFiles {
		if _, err := os.Stat(f); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return f
		}
	}
	return ""
}

// Load reads file and conf.d/*.yaml beside it, in byte order of their names.
// With file "" it is the built-in default.
func Load(file string, o Options) (*Config, error) {
	env := o.Environment.withDefaults()
	if file == "" {
		return finish(nil, mustParse(builtIn), env, o)
	}
	text, err := env.ReadFile(file)
	if err != nil {
		return nil, Errors{{Pos: Position{File: file}, Problem: fileProblem("the configuration", err), Remedy: "name an existing file with --config"}}
	}
	root, err := parseNode(file, text)
	if err != nil {
		return nil, asErrors(err)
	}
	files := []string{file}
	dir := filepath.Join(filepath.Dir(file), "conf.d")
	names, err := env.ReadDir(dir)
	if err != nil {
		return nil, Errors{{Pos: Position{File: dir}, Problem: fileProblem("the folder", err), Remedy: "let gatewayd read it"}}
	}
	slices.Sort(names)
	for _, name := range names {
		if !strings.HasSuffix(name, ".yaml") || strings.HasPrefix(name, ".") {
			continue
		}
		path := filepath.Join(dir, name)
		text, err := env.ReadFile(path)
		if err != nil {
			return nil, Errors{{Pos: Position{File: path}, Problem: fileProblem("the file", err), Remedy: "let gatewayd read it, or remove it"}}
		}
		part, err := parseNode(path, text)
		if err != nil {
			return nil, asErrors(err)
		}
		root = overlay(root, part)
		files = append(files, path)
	}
	return finish(files, root, env, o)
}

// Parse reads one text; name stands for it in messages, and paths in it are
// relative to the folder of name.
func Parse(name string, text []byte, o Options) (*Config, error) {
	root, err := parseNode(name, text)
	if err != nil {
		return nil, asErrors(err)
	}
	return finish([]string{name}, root, o.Environment.withDefaults(), o)
}

func mustParse(text []byte) *node {
	n, err := parseNode("built-in default", text)
	if err != nil {
		panic(err)
	}
	return n
}

// overlay puts a conf.d file over what was read before: keys are joined, list
// entries with the same name likewise, other entries are added, and a single
// value is replaced.
func overlay(base, over *node) *node {
	switch {
	case base.kind == mapping && over.kind == mapping:
		out := &node{kind: mapping, pos: base.pos, fields: slices.Clone(base.fields)}
		for _, f := range over.fields {
			i := slices.IndexFunc(out.fields, func(g field) bool { return g.key == f.key })
			if i < 0 {
				out.fields = append(out.fields, f)
				continue
			}
			out.fields[i] = field{f.key, f.pos, overlay(out.fields[i].value, f.value)}
		}
		return out
	case base.kind == list && over.kind == list && (structured(base) || structured(over)):
		out := &node{kind: list, pos: base.pos, items: slices.Clone(base.items)}
		for _, item := range over.items {
			i := slices.IndexFunc(out.items, func(b *node) bool { return sameName(b, item) })
			if i < 0 {
				out.items = append(out.items, item)
				continue
			}
			out.items[i] = overlay(out.items[i], item)
		}
		return out
	}
	return over
}

// structured reports whether a list is of things rather than of words.
func structured(n *node) bool { return len(n.items) > 0 && n.items[0].kind == mapping }

func sameName(a, b *node) bool {
	x, y := a.field("name"), b.field("name")
	return x != nil && y != nil && x.kind == scalar && y.kind == scalar && x.text == y.text
}

// finish turns the joined text into a checked Config.
func finish(files []string, root *node, env Environment, o Options) (*Config, error) {
	c := &Config{files: files, positions: map[string]Position{}, refs: map[string]string{}, byName: map[string]bool{}, changed: map[string]bool{}}
	d := &decoder{c: c}
	expand(root, "", env, &d.errs, map[*node]bool{})
	if len(d.errs) > 0 {
		return nil, d.errs.sorted(files)
	}
	v := reflect.ValueOf(c).Elem()
	setDefaults(v)
	d.mapping(root, v, "")
	if c.Listeners == nil {
		c.Listeners = defaultListeners(c)
	}
	if o.Port != 0 {
		d.override(c, o.Port)
	}
	if o.DataDir != "" {
		c.Gateway.DataDir = o.DataDir
	}
	if o.Board != "" {
		c.Board.Kind = o.Board
	}
	if c.Gateway.DataDir == "" {
		c.Gateway.DataDir = defaultDataDir(env)
	}
	c.derive()
	if len(d.errs) == 0 { // what follows would only repeat them
		d.errs = c.validate()
	}
	if len(d.errs) > 0 {
		return nil, d.errs.sorted(files)
	}
	return c, nil
}

// defaultListeners is what a configuration without listeners gets.
func defaultListeners(c *Config) []Listener {
	var out []Listener
	for _, address := range []string{"127.0.0.1:1883", "127.0.0.1:8083"} {
		var l Listener
		setDefaults(reflect.ValueOf(&l).Elem())
		l.inherit(c)
		l.Address, l.WebSocket = address, address == "127.0.0.1:8083"
		out = append(out, l)
	}
	return out
}

func defaultDataDir(env Environment) string {
	if dirs, ok := env.LookupEnv("STATE_DIRECTORY"); ok && dirs != "" {
		first, _, _ := strings.Cut(dirs, ":") // systemd joins several with colons
		return first
	}
	return "data"
}

// override is --port: the first listener for plain MQTT moves there.
func (d *decoder) override(c *Config, port int) {
	if port < 1 || port > 65535 {
		d.errs = append(d.errs, &Error{Problem: fmt.Sprintf("--port %d is not a port", port), Remedy: "ports go from 1 to 65535"})
		return
	}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if cut := strings.LastIndexByte(l.Address, ':'); cut >= 0 && !l.WebSocket && !strings.HasPrefix(l.Address, "unix:") {
			l.Address = l.Address[:cut+1] + strconv.Itoa(port)
			return
		}
	}
	d.errs = append(d.errs, &Error{Problem: "--port has no MQTT listener to move", Remedy: "add one under listeners, or leave --port out"})
}

// fileProblem says in words why a file could not be read.
func fileProblem(name string, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return name + " does not exist"
	case errors.Is(err, fs.ErrPermission):
		return name + " may not be read"
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return name + " cannot be read: " + pe.Err.Error()
	}
	return name + " cannot be read: " + err.Error()
}

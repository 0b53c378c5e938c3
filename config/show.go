package config

import (
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Show is the effective configuration as YAML: every default filled in,
// secrets masked, ${…} as it was written.
func (c *Config) Show() []byte {
	w := writer{c: c, all: true}
	w.mapping(reflect.ValueOf(c).Elem(), reflect.Value{}, "", 0)
	return []byte(w.String())
}

// Write is the configuration as YAML with what differs from the defaults,
// secrets included: what convert prints.
func (c *Config) Write() []byte {
	w := writer{c: c, reveal: true}
	d := &Config{}
	setDefaults(reflect.ValueOf(d).Elem())
	w.mapping(reflect.ValueOf(c).Elem(), reflect.ValueOf(d).Elem(), "", 0)
	return []byte(w.String())
}

// Tree is the effective configuration as maps and lists, for JSON.
func (c *Config) Tree() any {
	n, err := parseNode("", c.Show())
	if err != nil {
		panic(err) // we wrote it
	}
	d := &decoder{c: &Config{positions: map[string]Position{}, refs: map[string]string{}}}
	return d.free(n, "")
}

// writer writes structs as YAML.
type writer struct {
	strings.Builder
	c      *Config
	all    bool // defaults too
	reveal bool // secrets too
}

// mapping writes the keys of v; base holds the defaults to leave out.
func (w *writer) mapping(v, base reflect.Value, path string, indent int) {
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.index)
		var fb reflect.Value
		if base.IsValid() {
			fb = base.FieldByIndex(f.index)
		}
		if !w.all && fb.IsValid() && reflect.DeepEqual(fv.Interface(), fb.Interface()) && f.tag.Get("required") != "true" {
			continue
		}
		if (fv.Kind() == reflect.Pointer || fv.Kind() == reflect.Map) && fv.IsNil() || fv.Kind() == reflect.Slice && fv.Len() == 0 && w.all {
			continue
		}
		if fv.Kind() == reflect.String && fv.String() == "" && strings.Contains(f.tag.Get("enum"), ",") && f.tag.Get("default") == "" {
			continue // not said, and the empty word is no value of it
		}
		if fv.Kind() == reflect.String && fv.String() == "" && f.tag.Get("check") != "" {
			continue
		}
		w.indent(indent)
		w.WriteString(f.key + ":")
		w.value(fv, fb, join(path, f.key), indent)
	}
}

func (w *writer) indent(n int) { w.WriteString(strings.Repeat("  ", n)) }

func (w *writer) value(v, base reflect.Value, path string, indent int) {
	switch {
	case v.Type() == reflect.TypeFor[Filter]():
		f := v.Interface().(Filter)
		w.WriteString(" {" + quote(f.Name) + ": " + flow(f.Arg) + "}\n")
	case v.Kind() == reflect.Pointer:
		fresh := reflect.New(v.Type().Elem()).Elem()
		setDefaults(fresh)
		w.WriteByte('\n')
		w.mapping(v.Elem(), fresh, path, indent+1)
	case v.Kind() == reflect.Struct:
		w.WriteByte('\n')
		w.mapping(v, base, path, indent+1)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Struct:
		var words []string
		for i := range v.Len() {
			words = append(words, w.word(v.Index(i), fmt.Sprintf("%s[%d]", path, i)))
		}
		w.WriteString(" [" + strings.Join(words, ", ") + "]\n")
	case v.Kind() == reflect.Slice:
		w.list(v, path, indent)
	case v.Kind() == reflect.Map:
		w.WriteByte('\n')
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			w.indent(indent + 1)
			w.WriteString(quote(k.String()) + ":")
			w.value(v.MapIndex(k), reflect.Value{}, join(path, k.String()), indent+1)
		}
	case v.Kind() == reflect.Interface:
		text := flow(v.Interface())
		if ref, ok := w.c.refs[path]; ok {
			text = quote(ref)
		}
		w.WriteString(" " + text + "\n")
	default:
		w.WriteString(" " + w.word(v, path) + "\n")
	}
}

func (w *writer) list(v reflect.Value, path string, indent int) {
	w.WriteByte('\n')
	for i := range v.Len() {
		e, p := v.Index(i), fmt.Sprintf("%s[%d]", path, i)
		w.indent(indent + 1)
		w.WriteString("-")
		if e.Type() == reflect.TypeFor[Filter]() {
			w.value(e, reflect.Value{}, p, indent+1)
			continue
		}
		base := reflect.New(e.Type())
		setDefaults(base.Elem())
		if h, ok := base.Interface().(inheritor); ok {
			h.inherit(w.c)
		}
		inner := writer{c: w.c, all: w.all, reveal: w.reveal}
		inner.mapping(e, base.Elem(), p, indent+2)
		text := inner.String()
		if text == "" {
			w.WriteString(" {}\n")
			continue
		}
		w.WriteString(" " + strings.TrimLeft(text, " "))
	}
}

// word is one value as YAML, masked where it is secret.
func (w *writer) word(v reflect.Value, path string) string {
	if ref, ok := w.c.refs[path]; ok {
		return quote(ref)
	}
	switch x := v.Interface().(type) {
	case Secret:
		if w.reveal {
			return quote(literal(string(x)))
		}
		return quote(x.String())
	case string:
		if !w.reveal && strings.Contains(x, "://") {
			x = maskURL(x)
		}
		return quote(literal(x))
	case bool:
		return strconv.FormatBool(x)
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	case fmt.Stringer:
		return x.String()
	}
	return fmt.Sprint(v.Interface())
}

// literal keeps a value from being taken for a reference.
func literal(s string) string { return strings.ReplaceAll(s, "${", "$${") }

// maskURL hides the password in a proxy's URL.
func maskURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.User == nil {
		return s
	}
	if _, has := u.User.Password(); !has {
		return s
	}
	return strings.Replace(s, u.User.String()+"@", url.User(u.User.Username()).String()+":"+masked+"@", 1)
}

// Words that need no quotes: not to be taken for numbers, truth values,
// nothing, or syntax.
var (
	plain     = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./-]*$`)
	ambiguous = regexp.MustCompile(`(?i)^(true|false|yes|no|on|off|null|y|n|nan|inf)$`)
)

func quote(s string) string {
	if plain.MatchString(s) && !ambiguous.MatchString(s) {
		return s
	}
	return strconv.Quote(s)
}

// flow is a value of no fixed shape on one line.
func flow(v any) string {
	switch v := v.(type) {
	case string:
		return quote(literal(v))
	case []any:
		var parts []string
		for _, e := range v {
			parts = append(parts, flow(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		var parts []string
		for k, e := range v {
			parts = append(parts, quote(k)+": "+flow(e))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(v)
}

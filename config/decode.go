package config

import (
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// decoder fills structs from nodes by their tags:
//
//	yaml:"name"        the key; ",inline" takes the keys of an embedded struct
//	default:"10s"      as it would be written; a list with commas
//	enum:"a,b"         the values there are
//	min:"1" max:"9"    bounds, written like the value
//	required:"true"    must be written
//	path:"file|dir"    relative to the folder of the file it stands in
//	check:"topic"      one of checks
//	doc:"…"            for the reference and the schema
type decoder struct {
	c    *Config
	errs Errors
}

// inheritor is a list entry whose defaults come from elsewhere in the
// configuration.
type inheritor interface{ inherit(*Config) }

// scalarStruct is a struct that may also be written as a single value, which
// is then the value of that key.
type scalarStruct interface{ scalarKey() string }

func (d *decoder) fail(pos Position, path, remedy, format string, args ...any) {
	d.errs = append(d.errs, &Error{Pos: pos, Path: path, Problem: fmt.Sprintf(format, args...), Remedy: remedy})
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// fieldInfo is one key of a struct.
type fieldInfo struct {
	key   string
	index []int
	tag   reflect.StructTag
	typ   reflect.Type
}

// fieldsOf lists the keys of t in order, with those of inlined structs.
func fieldsOf(t reflect.Type) []fieldInfo {
	var out []fieldInfo
	for f := range t.Fields() {
		name, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case option == "inline":
			for _, in := range fieldsOf(f.Type) {
				in.index = append(slices.Clone(f.Index), in.index...)
				out = append(out, in)
			}
		case name != "":
			out = append(out, fieldInfo{key: name, index: f.Index, tag: f.Tag, typ: f.Type})
		}
	}
	return out
}

// setDefaults fills v, a struct, and the structs in it. A tag that does not
// parse is a mistake of ours, found by any test.
func setDefaults(v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.index)
		text, ok := f.tag.Lookup("default")
		if !ok {
			if fv.Kind() == reflect.Struct {
				setDefaults(fv)
			}
			continue
		}
		if err := setText(fv, text); err != nil {
			panic(fmt.Sprintf("default of %s.%s: %v", v.Type(), f.key, err))
		}
	}
}

// setText sets a scalar, or a list of scalars with commas between.
func setText(v reflect.Value, text string) error {
	if v.Kind() == reflect.Slice {
		v.SetZero()
		for _, part := range strings.Split(text, ",") {
			e := reflect.New(v.Type().Elem()).Elem()
			if err := setText(e, part); err != nil {
				return err
			}
			v.Set(reflect.Append(v, e))
		}
		return nil
	}
	d := decoder{c: &Config{positions: map[string]Position{}, refs: map[string]string{}, byName: map[string]bool{}, changed: map[string]bool{}}}
	d.scalar(&node{kind: scalar, text: text}, v, "", "")
	if len(d.errs) > 0 {
		return d.errs
	}
	return nil
}

// mapping decodes n into the struct v, whose defaults are set.
func (d *decoder) mapping(n *node, v reflect.Value, path string) {
	if n.kind == null {
		return
	}
	if s, ok := v.Interface().(scalarStruct); ok && n.kind == scalar {
		n = &node{kind: mapping, pos: n.pos, fields: []field{{s.scalarKey(), n.pos, n}}}
	}
	if n.kind != mapping {
		d.fail(n.pos, path, "write key: value below it", "needs keys, not %s", n.kind)
		return
	}
	fields := fieldsOf(v.Type())
	var known []string
	for _, f := range fields {
		known = append(known, f.key)
	}
	for _, f := range n.fields {
		if !slices.Contains(known, f.key) {
			in := path
			if in == "" {
				in = "the configuration"
			}
			d.fail(f.pos, "", didYouMean(f.key, known), "unknown key %q in %s", f.key, in)
		}
	}
	for _, f := range fields {
		p := join(path, f.key)
		i := slices.IndexFunc(n.fields, func(nf field) bool { return nf.key == f.key })
		if i < 0 {
			if f.tag.Get("required") == "true" {
				d.fail(n.pos, path, fmt.Sprintf("add %s: …", f.key), "%s is missing", f.key)
			}
			continue
		}
		value := n.fields[i].value
		d.c.positions[p] = value.pos
		if value.kind == mapping || value.kind == null {
			d.c.positions[p] = n.fields[i].pos
		}
		d.c.byName[p] = true
		fv := v.FieldByIndex(f.index)
		before := reflect.ValueOf(fv.Interface())
		d.value(value, fv, p, f.tag)
		if before.IsValid() && !reflect.DeepEqual(before.Interface(), fv.Interface()) {
			d.c.changed[p] = true
		}
	}
}

// value decodes n into v of any type.
func (d *decoder) value(n *node, v reflect.Value, path string, tag reflect.StructTag) {
	t := v.Type()
	switch {
	case t == reflect.TypeFor[Filter]():
		d.filter(n, v.Addr().Interface().(*Filter), path)
	case t.Kind() == reflect.Interface:
		v.Set(reflect.ValueOf(d.free(n, path)))
	case t.Kind() == reflect.Pointer:
		if n.kind == null {
			d.fail(d.c.Pos(path), path, "write what belongs there or remove the key", "has no value")
			return
		}
		v.Set(reflect.New(t.Elem()))
		setDefaults(v.Elem())
		d.mapping(n, v.Elem(), path)
	case t.Kind() == reflect.Struct:
		d.mapping(n, v, path)
	case t.Kind() == reflect.Slice:
		d.list(n, v, path, tag)
	case t.Kind() == reflect.Map:
		d.dictionary(n, v, path)
	case n.kind != scalar:
		if n.kind == null {
			d.fail(d.c.Pos(path), path, "write one or remove the key", "has no value")
			return
		}
		d.fail(d.c.Pos(path), path, "write "+example(t, tag), "needs a single value, not %s", n.kind)
	default:
		if n.ref != "" {
			d.c.refs[path] = n.ref
		}
		d.scalar(n, v, path, tag)
	}
}

func (d *decoder) list(n *node, v reflect.Value, path string, tag reflect.StructTag) {
	items := n.items
	switch n.kind {
	case null:
		v.SetZero()
		return
	case scalar:
		if v.Type().Elem().Kind() == reflect.Struct {
			d.fail(n.pos, path, "write - before each entry", "needs a list, not a single value")
			return
		}
		items = []*node{n} // a single value is a list of one
	case mapping:
		d.fail(d.c.Pos(path), path, "write - before each entry", "needs a list, not a mapping")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	for i, item := range items {
		p := fmt.Sprintf("%s[%d]", path, i)
		d.c.positions[p] = item.pos
		d.c.byName[p] = true
		e := v.Index(i)
		if e.Kind() == reflect.Struct && e.Type() != reflect.TypeFor[Filter]() {
			if item.kind == null {
				d.fail(item.pos, p, "write what belongs there or remove the -", "is empty")
				continue
			}
			setDefaults(e)
			if h, ok := e.Addr().Interface().(inheritor); ok {
				h.inherit(d.c)
			}
		}
		d.value(item, e, p, tag)
	}
}

func (d *decoder) dictionary(n *node, v reflect.Value, path string) {
	if n.kind == null {
		return
	}
	if n.kind != mapping {
		d.fail(n.pos, path, "write key: value below it", "needs keys, not %s", n.kind)
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.fields)))
	for _, f := range n.fields {
		p := join(path, f.key)
		d.c.positions[p], d.c.byName[p] = f.pos, true
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(f.value, e, p, "")
		v.SetMapIndex(reflect.ValueOf(f.key), e)
	}
}

// filter decodes {name: argument}, or a name alone.
func (d *decoder) filter(n *node, f *Filter, path string) {
	switch {
	case n.kind == mapping && len(n.fields) == 1:
		f.Name = n.fields[0].key
		f.Arg = d.free(n.fields[0].value, join(path, f.Name))
	case n.kind == scalar:
		f.Name = n.text
	default:
		d.fail(n.pos, path, "write {name: argument}, such as {offset: -0.4}, one for each step", "is not a filter")
	}
}

// free decodes what has no fixed shape: numbers, truth values, text, lists
// and maps of them.
func (d *decoder) free(n *node, path string) any {
	d.c.positions[path] = n.pos
	switch n.kind {
	case scalar:
		if n.ref != "" {
			d.c.refs[path] = n.ref
		}
		if n.quoted || n.ref != "" {
			return n.text
		}
		if i, err := strconv.ParseInt(n.text, 0, 64); err == nil {
			return int(i)
		}
		if f, err := strconv.ParseFloat(n.text, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return f
		}
		if n.text == "true" || n.text == "false" {
			return n.text == "true"
		}
		return n.text
	case list:
		out := make([]any, len(n.items))
		for i, item := range n.items {
			out[i] = d.free(item, fmt.Sprintf("%s[%d]", path, i))
		}
		return out
	case mapping:
		out := make(map[string]any, len(n.fields))
		for _, f := range n.fields {
			out[f.key] = d.free(f.value, join(path, f.key))
		}
		return out
	}
	return ""
}

// scalar decodes one word into v and holds it against the tags.
func (d *decoder) scalar(n *node, v reflect.Value, path string, tag reflect.StructTag) {
	wrong := func() {
		d.fail(n.pos, path, "write "+example(v.Type(), tag), "%s is not %s", show(n, v), typeName(v.Type()))
	}
	switch p := v.Addr().Interface().(type) {
	case *Duration, *Size, *Rate:
		x, err := parseValue(v.Type(), n.text)
		if err != nil {
			d.fail(n.pos, path, "write "+example(v.Type(), tag), "%s", err)
			return
		}
		v.Set(x)
	case *bool:
		if n.quoted || n.text != "true" && n.text != "false" {
			wrong()
			return
		}
		*p = n.text == "true"
	case *int:
		i, err := strconv.ParseInt(strings.TrimSpace(n.text), 0, 64)
		if err != nil || i > math.MaxInt32 || i < math.MinInt32 {
			wrong()
			return
		}
		*p = int(i)
	case *float64:
		f, err := strconv.ParseFloat(strings.TrimSpace(n.text), 64)
		if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			wrong()
			return
		}
		*p = f
	case *Secret:
		*p = Secret(n.text)
	case *string:
		*p = n.text
		if tag.Get("path") != "" && n.text != "" && !filepath.IsAbs(n.text) && n.pos.File != "" {
			*p = filepath.Join(filepath.Dir(n.pos.File), n.text)
		}
		if problem, remedy := runCheck(tag.Get("check"), n.text); problem != "" {
			d.fail(n.pos, path, remedy, "%q %s", n.text, problem)
		}
		if strings.ContainsRune(n.text, 0) {
			d.fail(n.pos, path, "remove it", "contains a NUL character")
		}
	default:
		panic(fmt.Sprintf("config: no way to read a %s", v.Type()))
	}
	d.bounds(n, v, path, tag)
}

func (d *decoder) bounds(n *node, v reflect.Value, path string, tag reflect.StructTag) {
	if list, ok := tag.Lookup("enum"); ok {
		words := strings.Split(list, ",")
		if !slices.Contains(words, n.text) {
			d.fail(n.pos, path, remedyForWord(n.text, words), "%q is not a value it can have", n.text)
		}
	}
	low, hasLow := tag.Lookup("min")
	high, hasHigh := tag.Lookup("max")
	if hasLow && number(v) < tagNumber(v.Type(), low) {
		d.fail(n.pos, path, fmt.Sprintf("write %s or more", low), "%s is too small", n.text)
	}
	if hasHigh && number(v) > tagNumber(v.Type(), high) {
		d.fail(n.pos, path, fmt.Sprintf("write %s or less", high), "%s is too large", n.text)
	}
}

func remedyForWord(word string, words []string) string {
	if near := nearest(word, words); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "write " + orWords(words)
}

// number is v as a number, for bounds; 0 for what is none.
func number(v reflect.Value) float64 {
	switch {
	case v.CanInt():
		return float64(v.Int())
	case v.CanFloat():
		return v.Float()
	}
	return 0
}

func tagNumber(t reflect.Type, text string) float64 {
	v := reflect.New(t).Elem()
	if err := setText(v, text); err != nil {
		panic(fmt.Sprintf("config: bound %q: %v", text, err))
	}
	return number(v)
}

func parseValue(t reflect.Type, text string) (reflect.Value, error) {
	switch t {
	case reflect.TypeFor[Duration]():
		x, err := ParseDuration(text)
		return reflect.ValueOf(x), err
	case reflect.TypeFor[Size]():
		x, err := parseSize(text)
		return reflect.ValueOf(x), err
	}
	x, err := parseRate(text)
	return reflect.ValueOf(x), err
}

// show is the value for a message, unless it came from a secret place.
func show(n *node, v reflect.Value) string {
	if n.ref != "" || v.Type() == reflect.TypeFor[Secret]() {
		return "the value"
	}
	return strconv.Quote(n.text)
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "a truth value"
	case reflect.Int:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	}
	return "a value"
}

// example is what could be written, for a remedy.
func example(t reflect.Type, tag reflect.StructTag) string {
	if words := tag.Get("enum"); words != "" {
		return orWords(strings.Split(words, ","))
	}
	switch t {
	case reflect.TypeFor[Duration]():
		return "a number with a unit, such as 250ms, 10s, 5m, 2h or 1d"
	case reflect.TypeFor[Size]():
		return "a number of bytes, such as 512, 64kB or 2MB"
	case reflect.TypeFor[Rate]():
		return "a number a second, such as 100, or 600/m"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Float64:
		low, high := tag.Get("min"), tag.Get("max")
		switch {
		case low != "" && high != "":
			return fmt.Sprintf("a number from %s to %s", low, high)
		case low != "":
			return fmt.Sprintf("a number, %s or more", low)
		}
		return "a number"
	}
	return "one value"
}

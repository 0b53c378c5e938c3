package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// Schema is the JSON Schema (2020-12) of the configuration, for editors.
func Schema() []byte {
	s := schemaOf(reflect.TypeFor[Config](), "")
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "gatewayd.yaml"
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(err) // maps of strings, numbers and maps
	}
	return append(b, '\n')
}

const (
	durationPattern = `^(0|([0-9]+(\.[0-9]+)?(us|µs|ms|s|m|h|d|w))+)$`
	sizePattern     = `^[0-9]+(\.[0-9]+)? ?(B|k|kB|KB|K|M|MB|G|GB|T|TB|kiB|KiB|MiB|GiB|TiB)?$`
	ratePattern     = `^[0-9]+(\.[0-9]+)?(/[smh])?$`
	reference       = `^.*\$\{(env|file):.+\}.*$`
)

func schemaOf(t reflect.Type, tag reflect.StructTag) map[string]any {
	text := func(pattern string) map[string]any {
		return map[string]any{"type": []string{"string", "integer"}, "pattern": pattern + "|" + reference}
	}
	switch t {
	case reflect.TypeFor[Duration]():
		return text(durationPattern)
	case reflect.TypeFor[Size]():
		return text(sizePattern)
	case reflect.TypeFor[Rate]():
		return map[string]any{"type": []string{"string", "number"}, "pattern": ratePattern + "|" + reference}
	case reflect.TypeFor[Filter]():
		return map[string]any{"type": []string{"object", "string"}, "minProperties": 1, "maxProperties": 1}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem(), tag)
	case reflect.Struct:
		return schemaOfStruct(t)
	case reflect.Slice:
		items := schemaOf(t.Elem(), tag)
		if t.Elem().Kind() == reflect.Struct {
			return map[string]any{"type": []string{"array", "null"}, "items": items}
		}
		return map[string]any{"anyOf": []any{map[string]any{"type": "array", "items": items}, items}}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem(), "")}
	case reflect.Bool:
		return orReference(map[string]any{"type": "boolean"})
	case reflect.Int, reflect.Float64:
		s := map[string]any{"type": map[reflect.Kind]string{reflect.Int: "integer", reflect.Float64: "number"}[t.Kind()]}
		if low, ok := tag.Lookup("min"); ok {
			s["minimum"] = tagNumber(t, low)
		}
		if high, ok := tag.Lookup("max"); ok {
			s["maximum"] = tagNumber(t, high)
		}
		return orReference(s)
	case reflect.String:
		if words := tag.Get("enum"); words != "" {
			var values []any
			for _, w := range strings.Split(words, ",") {
				values = append(values, w)
				var n any // a word that is also a number may be written as one
				if json.Unmarshal([]byte(w), &n) == nil {
					values = append(values, n)
				}
			}
			return orReference(map[string]any{"enum": values})
		}
		return map[string]any{"type": []string{"string", "number", "boolean"}}
	}
	return map[string]any{} // anything
}

// orReference lets ${env:…} and ${file:…} stand for a value that is no text.
func orReference(s map[string]any) map[string]any {
	return map[string]any{"anyOf": []any{s, map[string]any{"type": "string", "pattern": reference}}}
}

func schemaOfStruct(t reflect.Type) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, f := range fieldsOf(t) {
		s := schemaOf(f.typ, f.tag)
		s["description"] = f.tag.Get("doc")
		if d, ok := f.tag.Lookup("default"); ok {
			s["default"] = schemaDefault(f, d)
		}
		if f.tag.Get("required") == "true" {
			required = append(required, f.key)
		}
		properties[f.key] = s
	}
	out := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	if s, ok := reflect.Zero(t).Interface().(scalarStruct); ok {
		for _, f := range fieldsOf(t) {
			if f.key == s.scalarKey() {
				return map[string]any{"anyOf": []any{out, schemaOf(f.typ, f.tag)}}
			}
		}
	}
	return out
}

func schemaDefault(f fieldInfo, text string) any {
	v := reflect.New(f.typ).Elem()
	if err := setText(v, text); err != nil {
		panic(fmt.Sprintf("default of %s: %v", f.key, err))
	}
	return v.Interface()
}

// Reference is the page docs/CONFIGURATION.md: every key with its default and
// what it means.
func Reference() []byte {
	var b strings.Builder
	b.WriteString(referenceHead)
	b.WriteString("## Built-in default\n\nWithout any configuration file gatewayd runs this:\n\n```yaml\n" + BuiltIn() + "```\n")
	for _, f := range fieldsOf(reflect.TypeFor[Config]()) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", f.key, f.tag.Get("doc"))
		referenceTable(&b, f.key, f.typ)
	}
	return []byte(b.String())
}

const referenceHead = `# Configuration reference

<!-- Made from the structs in package config by "gatewayd config reference"; a test holds it current. -->

gatewayd reads ` + "`gatewayd.yaml`" + ` in the current folder, else ` + "`/etc/gatewayd/gatewayd.yaml`" + `, else the built-in default;
` + "`--config FILE`" + ` names another. ` + "`conf.d/*.yaml`" + ` beside it are put over it in byte order of their names: keys are
joined, list entries with the same ` + "`name`" + ` are joined, other list entries are added, single values are replaced.

- An unknown key is an error, with file, line, column and the nearest known key. ` + "`gatewayd check`" + ` says what is wrong
  and ` + "`gatewayd check --explain`" + ` what the gateway would do. Exit code 78 means the configuration is wrong.
- Durations: ` + "`250ms`, `10s`, `5m`, `1h30m`, `2d`, `1w`" + `. Sizes: ` + "`512`, `64kB`, `2MB`, `1GiB`" + `. Rates: ` + "`100` or `100/s`, `600/m`" + `.
- ` + "`${env:NAME}` and `${file:PATH}`" + ` in a value are replaced by the environment variable or the content of the file;
  ` + "`$${`" + ` stands for the characters themselves.
- Files are looked for beside the file that names them.
- A list of words may be written as a single word.
- ` + "`gatewayd config schema`" + ` prints the JSON Schema for editors, ` + "`gatewayd config show`" + ` the effective configuration with
  secrets masked.

`

func referenceTable(b *strings.Builder, path string, t reflect.Type) {
	list := ""
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		if t.Kind() == reflect.Slice {
			list = "[]"
		}
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[Filter]() {
		return
	}
	fmt.Fprintf(b, "\n| key | default | meaning |\n|---|---|---|\n")
	var nested []fieldInfo
	for _, f := range fieldsOf(t) {
		inner := f.typ
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[Filter]() {
			nested = append(nested, f)
			fmt.Fprintf(b, "| `%s` | | %s See [below](#%s). |\n", f.key, f.tag.Get("doc"), anchor(path+list+"."+f.key))
			continue
		}
		doc := f.tag.Get("doc")
		if words := f.tag.Get("enum"); words != "" {
			doc += " One of `" + strings.ReplaceAll(words, ",", "`, `") + "`."
		}
		low, high := f.tag.Get("min"), f.tag.Get("max")
		switch {
		case low != "" && high != "":
			doc += fmt.Sprintf(" From %s to %s.", low, high)
		case low != "" && low != "0":
			doc += fmt.Sprintf(" At least %s.", low)
		case high != "":
			doc += fmt.Sprintf(" At most %s.", high)
		}
		value := ""
		if d, ok := f.tag.Lookup("default"); ok {
			value = "`" + strings.ReplaceAll(d, ",", ", ") + "`"
		} else if f.tag.Get("required") == "true" {
			value = "*required*"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", f.key, value, strings.ReplaceAll(doc, "|", "\\|"))
	}
	for _, f := range nested {
		fmt.Fprintf(b, "\n### %s\n\n%s\n", path+list+"."+f.key, f.tag.Get("doc"))
		referenceTable(b, path+list+"."+f.key, f.typ)
	}
}

// anchor is the name a Markdown heading gets in a page.
func anchor(heading string) string {
	return strings.NewReplacer(".", "", "[", "", "]", "").Replace(strings.ToLower(heading))
}

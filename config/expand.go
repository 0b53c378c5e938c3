package config

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Environment is where ${env:NAME} and ${file:PATH} get their values, and
// where Load reads files.
type Environment struct {
	LookupEnv func(name string) (string, bool)
	ReadFile  func(path string) ([]byte, error)
	ReadDir   func(path string) ([]string, error) // names of the files in a folder
}

// expand fills in the references of every scalar below n, in place. They are
// filled in after the YAML was understood, so a value cannot become syntax.
func expand(n *node, path string, env Environment, errs *Errors, seen map[*node]bool) {
	if seen[n] { // an alias: done where its anchor stands
		return
	}
	seen[n] = true
	switch n.kind {
	case scalar:
		if !strings.Contains(n.text, "${") {
			return
		}
		text, err := expandText(n, env)
		if err != nil {
			err.Path = path
			*errs = append(*errs, err)
			return
		}
		if text != strings.ReplaceAll(n.text, "$${", "${") {
			n.ref = n.text
			n.quoted = n.quoted || text == "" // an empty value is a value, not a missing one
		}
		n.text = text
	case list:
		for i, item := range n.items {
			expand(item, fmt.Sprintf("%s[%d]", path, i), env, errs, seen)
		}
	case mapping:
		for _, f := range n.fields {
			expand(f.value, join(path, f.key), env, errs, seen)
		}
	}
}

// expandText replaces ${env:NAME} and ${file:PATH}; $${ stands for ${.
func expandText(n *node, env Environment) (string, *Error) {
	fault := func(remedy, format string, args ...any) (string, *Error) {
		return "", &Error{Pos: n.pos, Problem: fmt.Sprintf(format, args...), Remedy: remedy}
	}
	var out strings.Builder
	rest := n.text
	for {
		i := strings.Index(rest, "${")
		if i < 0 {
			out.WriteString(rest)
			return out.String(), nil
		}
		if i > 0 && rest[i-1] == '$' {
			out.WriteString(rest[:i-1] + "${")
			rest = rest[i+2:]
			continue
		}
		out.WriteString(rest[:i])
		end := strings.IndexByte(rest[i:], '}')
		if end < 0 {
			return fault("close it, or write $${ for the characters themselves", "%q has a ${ without }", n.text)
		}
		inside := rest[i+2 : i+end]
		what, name, _ := strings.Cut(inside, ":")
		rest = rest[i+end+1:]
		switch what {
		case "env":
			v, ok := env.LookupEnv(name)
			if !ok {
				return fault("set it where gatewayd is started", "the environment variable %s is not set", name)
			}
			out.WriteString(v)
		case "file":
			if !filepath.IsAbs(name) {
				name = filepath.Join(filepath.Dir(n.pos.File), name)
			}
			b, err := env.ReadFile(name)
			if err != nil {
				return fault("create the file or let gatewayd read it", "%s", fileProblem(name, err))
			}
			out.WriteString(strings.TrimRight(string(b), "\r\n"))
		default:
			return fault("write ${env:NAME} or ${file:PATH}, or $${ for the characters themselves", "${%s} is not known", inside)
		}
	}
}

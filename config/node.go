package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

type kind uint8

const (
	null kind = iota
	scalar
	list
	mapping
)

func (k kind) String() string {
	return [...]string{"nothing", "a single value", "a list", "a mapping"}[k]
}

// node is a piece of YAML with its place: what is left of the syntax tree
// once anchors, aliases, tags and quoting have been resolved.
type node struct {
	kind   kind
	pos    Position
	text   string // scalar: as written, without quotes
	quoted bool   // scalar: a string whatever it looks like
	ref    string // scalar: the text before ${…} was filled in, where there was one
	items  []*node
	fields []field // mapping, in the order of the text
}

type field struct {
	key   string
	pos   Position
	value *node
}

func (n *node) field(key string) *node {
	for _, f := range n.fields {
		if f.key == key {
			return f.value
		}
	}
	return nil
}

const (
	maxText  = 4 << 20 // bytes of one file
	maxNodes = 200_000 // values after aliases are followed: a bound for alias bombs
	maxDepth = 64
)

// parseNode turns one YAML document into nodes.
func parseNode(file string, text []byte) (n *node, err error) {
	at := Position{File: file}
	if len(text) > maxText {
		return nil, &Error{Pos: at, Problem: fmt.Sprintf("the file has %d bytes, more than %s", len(text), Size(maxText)), Remedy: "split it into conf.d/*.yaml"}
	}
	if e := checkNesting(file, text); e != nil {
		return nil, e
	}
	// The library has had panics on broken input; text from outside must not
	// take the gateway down with it.
	defer func() {
		if r := recover(); r != nil {
			n, err = nil, &Error{Pos: at, Problem: fmt.Sprintf("this is not YAML (%v)", r), Remedy: "check quotes, brackets and indentation"}
		}
	}()
	doc, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, syntaxError(file, err)
	}
	b := builder{file: file, anchors: map[string]*node{}}
	for _, d := range doc.Docs {
		if d.Body == nil {
			continue
		}
		if n != nil {
			return nil, &Error{Pos: b.at(d.Body.GetToken()), Problem: "a second YAML document begins here", Remedy: "keep one document a file and put more into conf.d/*.yaml"}
		}
		n = b.node(d.Body, 0)
	}
	if b.err != nil {
		return nil, b.err
	}
	if n == nil {
		n = &node{kind: mapping, pos: Position{File: file, Line: 1, Column: 1}}
	}
	return n, nil
}

// checkNesting refuses brackets nested so deep that the parser's recursion
// would be the limit.
func checkNesting(file string, text []byte) error {
	depth, line := 0, 1
	for _, c := range text {
		switch c {
		case '\n':
			line++
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(depth-1, 0)
		}
		if depth > 4*maxDepth {
			return &Error{Pos: Position{File: file, Line: line}, Problem: "brackets are nested too deep", Remedy: "close them"}
		}
	}
	return nil
}

func syntaxError(file string, err error) *Error {
	e := &Error{Pos: Position{File: file}, Problem: "this is not valid YAML"}
	var located yaml.Error
	if !errors.As(err, &located) {
		e.Problem += ": " + err.Error()
		return e
	}
	if t := located.GetToken(); t != nil && t.Position != nil {
		e.Pos.Line, e.Pos.Column = t.Position.Line, t.Position.Column
	}
	e.Problem += ": " + located.GetMessage()
	if strings.Contains(located.GetMessage(), "already defined") {
		e.Problem = strings.TrimPrefix(e.Problem, "this is not valid YAML: ")
		e.Remedy = "keep one of the two"
	}
	return e
}

// builder turns the library's tree into ours. The first fault stays in err.
type builder struct {
	file    string
	anchors map[string]*node
	count   int
	err     *Error
}

func (b *builder) at(t *token.Token) Position {
	if t == nil || t.Position == nil {
		return Position{File: b.file}
	}
	return Position{File: b.file, Line: t.Position.Line, Column: t.Position.Column}
}

func (b *builder) fail(pos Position, problem, remedy string) *node {
	if b.err == nil {
		b.err = &Error{Pos: pos, Problem: problem, Remedy: remedy}
	}
	return &node{pos: pos}
}

func (b *builder) node(n ast.Node, depth int) *node {
	if b.err != nil || n == nil {
		return &node{pos: Position{File: b.file}}
	}
	pos := b.at(n.GetToken())
	if depth > maxDepth {
		return b.fail(pos, "the value is nested too deep", "flatten it")
	}
	if b.count++; b.count > maxNodes {
		return b.fail(pos, "the file has too many values", "split it or use fewer aliases")
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		m := &node{kind: mapping, pos: pos}
		b.fill(m, n.Values, depth)
		if len(m.fields) > 0 && !n.IsFlowStyle {
			m.pos = m.fields[0].pos
		}
		return m
	case *ast.MappingValueNode:
		m := &node{kind: mapping, pos: pos}
		b.fill(m, []*ast.MappingValueNode{n}, depth)
		if len(m.fields) > 0 {
			m.pos = m.fields[0].pos
		}
		return m
	case *ast.SequenceNode:
		l := &node{kind: list, pos: pos}
		for _, v := range n.Values {
			if t, text := unseparated(v); t != nil {
				l.items = append(l.items, &node{kind: scalar, pos: b.at(t), text: text})
				continue
			}
			l.items = append(l.items, b.node(v, depth+1))
		}
		return l
	case *ast.AnchorNode:
		v := b.node(n.Value, depth+1)
		b.anchors[n.Name.GetToken().Value] = v
		return v
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		v, ok := b.anchors[name]
		if !ok {
			return b.fail(pos, fmt.Sprintf("alias *%s has no anchor before it", name), fmt.Sprintf("write &%s where the value stands first", name))
		}
		b.count += v.weight(maxNodes)
		return v
	case *ast.NullNode:
		return &node{kind: null, pos: pos}
	case *ast.LiteralNode:
		return &node{kind: scalar, pos: pos, text: n.Value.Value, quoted: true}
	case *ast.StringNode:
		t := n.GetToken()
		quoted := t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType
		return &node{kind: scalar, pos: pos, text: n.Value, quoted: quoted}
	case *ast.TagNode:
		return b.fail(pos, fmt.Sprintf("the tag %s is not used here", n.Start.Value), "leave it out")
	case *ast.CommentNode, *ast.CommentGroupNode:
		return &node{kind: null, pos: pos}
	case ast.ScalarNode:
		return &node{kind: scalar, pos: pos, text: n.GetToken().Value}
	}
	return b.fail(pos, fmt.Sprintf("a %s cannot stand here", strings.ToLower(n.Type().String())), "write plain YAML")
}

// unseparated undoes a fault of the library: in a list within braces it takes
// host:1883 for a mapping, although a colon separates only before a space.
func unseparated(n ast.Node) (*token.Token, string) {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) == 1 && (m.Start == nil || m.Start.Value != "{") {
		n = m.Values[0]
	}
	v, ok := n.(*ast.MappingValueNode)
	if !ok || v.Start == nil || v.Value == nil {
		return nil, ""
	}
	key, value := v.Key.GetToken(), v.Value.GetToken()
	scalar, ok := v.Value.(ast.ScalarNode)
	if !ok || key.Type == token.SingleQuoteType || key.Type == token.DoubleQuoteType || v.Start.Position.Offset+1 != value.Position.Offset {
		return nil, ""
	}
	return key, key.Value + ":" + scalar.GetToken().Value
}

// weight counts the values below n, up to limit: what an alias adds.
func (n *node) weight(limit int) int {
	w := 1
	for _, c := range n.items {
		if w < limit {
			w += c.weight(limit - w)
		}
	}
	for _, f := range n.fields {
		if w < limit {
			w += f.value.weight(limit - w)
		}
	}
	return w
}

func (b *builder) fill(m *node, values []*ast.MappingValueNode, depth int) {
	for _, v := range values {
		if v.Key.IsMergeKey() {
			b.merge(m, b.node(v.Value, depth+1), b.at(v.Key.GetToken()))
			continue
		}
		t := v.Key.GetToken()
		key := t.Value
		if s, ok := v.Key.(*ast.StringNode); ok {
			key = s.Value
		}
		pos := b.at(t)
		value := b.node(v.Value, depth+1)
		if value.kind == null && value.pos.Line == 0 {
			value.pos = pos
		}
		set := false
		for i := range m.fields {
			if m.fields[i].key == key { // an explicit key wins over a merged one
				m.fields[i], set = field{key, pos, value}, true
			}
		}
		if !set {
			m.fields = append(m.fields, field{key, pos, value})
		}
	}
}

// merge is YAML's "<<": keys that are not there yet come from the alias.
func (b *builder) merge(m, from *node, pos Position) {
	switch from.kind {
	case mapping:
		for _, f := range from.fields {
			if m.field(f.key) == nil {
				m.fields = append(m.fields, f)
			}
		}
	case list:
		for _, item := range from.items {
			b.merge(m, item, pos)
		}
	default:
		b.fail(pos, "<< needs a mapping to take keys from", "write <<: *anchor")
	}
}

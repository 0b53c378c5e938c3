package topic

import (
	"strings"
	"sync/atomic"
)

// Tree maps topic filters to the values that were added under them and finds
// those whose filter matches a name. It has no lock inside: see the package
// comment.
type Tree[V comparable] struct {
	root node[V]
	gen  atomic.Uint64
	n    int
}

// node is one level of one or more filters. '+' and '#' have fields of their
// own, so that a match looks them up without hashing.
type node[V comparable] struct {
	level  string
	parent *node[V] // nil at the root
	kids   children[V]
	plus   *node[V]
	hash   *node[V]
	values values[V]
}

// Gen grows with every change. Matches that were computed at a generation hold
// until Gen returns another. It may be called without the owner's lock.
func (t *Tree[V]) Gen() uint64 { return t.gen.Load() }

// Len is the number of values in the tree, a value under two filters counted
// twice.
func (t *Tree[V]) Len() int { return t.n }

// Add puts v under a valid filter. It reports false when v was there already.
func (t *Tree[V]) Add(filter string, v V) (added bool) {
	at := &t.root
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = cutLevel(rest)
		at = at.grow(level)
	}
	if !at.values.add(v) {
		return false
	}
	t.n++
	t.gen.Add(1)
	return true
}

// Remove takes v from under filter. It reports false when v was not there.
func (t *Tree[V]) Remove(filter string, v V) bool {
	at := t.find(filter)
	if at == nil || !at.values.remove(v) {
		return false
	}
	for at.parent != nil && at.empty() {
		parent := at.parent
		parent.drop(at)
		at = parent
	}
	t.n--
	t.gen.Add(1)
	return true
}

// Values returns what stands under exactly this filter; the slice is the
// tree's own and good until the next change.
func (t *Tree[V]) Values(filter string) []V {
	if at := t.find(filter); at != nil {
		return at.values.list
	}
	return nil
}

func (t *Tree[V]) find(filter string) *node[V] {
	at := &t.root
	for rest, more := filter, true; more && at != nil; {
		var level string
		level, rest, more = cutLevel(rest)
		at = at.child(level)
	}
	return at
}

// branch is a part of the tree that a match has yet to look at: what is left
// of the name, below at.
type branch[V comparable] struct {
	at   *node[V]
	rest string
	more bool
}

// AppendMatches appends the values of every filter that matches a valid name.
// A value under several matching filters is appended once for each. It does
// not allocate when dst has room, unless more than 24 '+' alternatives are
// open at once.
func (t *Tree[V]) AppendMatches(dst []V, name string) []V {
	var room [24]branch[V]
	open := room[:0]
	at, rest, more := &t.root, name, true
	first := true
	for {
		plus := at.plus
		if first && hidden(name) {
			plus = nil // [MQTT-4.7.2-1]
		} else if at.hash != nil {
			dst = append(dst, at.hash.values.list...) // 4.7.1.2: the parent and all below
		}
		first = false
		if !more {
			dst = append(dst, at.values.list...)
			at = nil
		} else {
			var level string
			level, rest, more = cutLevel(rest)
			at = at.kids.get(level)
			switch {
			case at == nil:
				at = plus
			case plus != nil:
				open = append(open, branch[V]{plus, rest, more})
			}
		}
		if at == nil {
			if len(open) == 0 {
				return dst
			}
			last := open[len(open)-1]
			open = open[:len(open)-1]
			at, rest, more = last.at, last.rest, last.more
		}
	}
}

// Walk yields every filter with each of its values until yield returns false.
// The order is arbitrary.
func (t *Tree[V]) Walk(yield func(filter string, v V) bool) {
	open := []*node[V]{&t.root}
	for len(open) > 0 {
		at := open[len(open)-1]
		open = open[:len(open)-1]
		if len(at.values.list) > 0 {
			filter := at.filter()
			for _, v := range at.values.list {
				if !yield(filter, v) {
					return
				}
			}
		}
		open = at.kids.appendTo(open)
		if at.plus != nil {
			open = append(open, at.plus)
		}
		if at.hash != nil {
			open = append(open, at.hash)
		}
	}
}

// filter spells the filter that ends at n.
func (n *node[V]) filter() string {
	var levels []string
	for ; n.parent != nil; n = n.parent {
		levels = append(levels, n.level)
	}
	var b strings.Builder
	for i := len(levels) - 1; i >= 0; i-- {
		b.WriteString(levels[i])
		if i > 0 {
			b.WriteByte('/')
		}
	}
	return b.String()
}

func (n *node[V]) child(level string) *node[V] {
	switch level {
	case "+":
		return n.plus
	case "#":
		return n.hash
	}
	return n.kids.get(level)
}

// grow returns the child for level and makes it when there is none. The level
// is cloned: the filter it was cut from may alias a read buffer.
func (n *node[V]) grow(level string) *node[V] {
	if c := n.child(level); c != nil {
		return c
	}
	c := &node[V]{parent: n}
	switch level {
	case "+":
		c.level, n.plus = "+", c
	case "#":
		c.level, n.hash = "#", c
	default:
		c.level = strings.Clone(level)
		n.kids.put(c)
	}
	return c
}

func (n *node[V]) drop(c *node[V]) {
	switch c {
	case n.plus:
		n.plus = nil
	case n.hash:
		n.hash = nil
	default:
		n.kids.delete(c)
	}
}

func (n *node[V]) empty() bool {
	return len(n.values.list) == 0 && n.plus == nil && n.hash == nil && n.kids.len() == 0
}

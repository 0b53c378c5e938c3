package topic

import "slices"

// fewChildren is how many children a node looks through one by one; with more
// it keeps a map.
const fewChildren = 6

// children are the literal children of a node: a short list, or a map once
// there are many. One of the two is nil.
type children[V comparable] struct {
	more *childMap[V]
	few  []*node[V]
}

type childMap[V comparable] struct {
	byLevel map[string]*node[V]
}

func (c *children[V]) get(level string) *node[V] {
	if c.more != nil {
		return c.more.byLevel[level]
	}
	for _, n := range c.few {
		if n.level == level {
			return n
		}
	}
	return nil
}

func (c *children[V]) put(n *node[V]) {
	switch {
	case c.more != nil:
		c.more.byLevel[n.level] = n
	case len(c.few) < fewChildren:
		c.few = append(c.few, n)
	default:
		byLevel := make(map[string]*node[V], 2*fewChildren)
		for _, old := range c.few {
			byLevel[old.level] = old
		}
		byLevel[n.level] = n
		c.more, c.few = &childMap[V]{byLevel}, nil
	}
}

// delete drops n. A map goes when its last child goes, not before, so that a
// client that subscribes and leaves does not make the node change shape each
// time; its buckets, which never shrink by themselves, go with it.
func (c *children[V]) delete(n *node[V]) {
	if c.more != nil {
		delete(c.more.byLevel, n.level)
		if len(c.more.byLevel) == 0 {
			c.more = nil
		}
		return
	}
	if i := slices.Index(c.few, n); i >= 0 {
		last := len(c.few) - 1
		c.few[i], c.few[last] = c.few[last], nil
		c.few = c.few[:last]
	}
	if len(c.few) == 0 {
		c.few = nil
	}
}

func (c *children[V]) len() int {
	if c.more != nil {
		return len(c.more.byLevel)
	}
	return len(c.few)
}

func (c *children[V]) appendTo(dst []*node[V]) []*node[V] {
	if c.more != nil {
		for _, n := range c.more.byLevel {
			dst = append(dst, n)
		}
		return dst
	}
	return append(dst, c.few...)
}

// manyValues is when a set starts an index: thousands of clients under one
// filter come and go in constant time each.
const manyValues = 32

// values is the set of values under one filter.
type values[V comparable] struct {
	list  []V
	index map[V]int // place in list; nil while there are few
}

func (s *values[V]) find(v V) int {
	if s.index != nil {
		if i, ok := s.index[v]; ok {
			return i
		}
		return -1
	}
	return slices.Index(s.list, v)
}

func (s *values[V]) add(v V) bool {
	if s.find(v) >= 0 {
		return false
	}
	s.list = append(s.list, v)
	switch {
	case s.index != nil:
		s.index[v] = len(s.list) - 1
	case len(s.list) > manyValues:
		s.index = make(map[V]int, len(s.list)*2)
		for i, v := range s.list {
			s.index[v] = i
		}
	}
	return true
}

// remove puts the last value into the gap. The list is given back when three
// quarters of it are unused.
func (s *values[V]) remove(v V) bool {
	i := s.find(v)
	if i < 0 {
		return false
	}
	last := len(s.list) - 1
	s.list[i] = s.list[last]
	if s.index != nil {
		s.index[s.list[i]] = i
		delete(s.index, v)
	}
	clear(s.list[last:])
	s.list = s.list[:last]
	if last == 0 {
		*s = values[V]{}
	} else if cap(s.list) > 4*manyValues && last < cap(s.list)/4 {
		s.list = append(make([]V, 0, 2*last), s.list...)
		s.index = nil
		if last > manyValues {
			s.index = make(map[V]int, 2*last)
			for i, v := range s.list {
				s.index[v] = i
			}
		}
	}
	return true
}

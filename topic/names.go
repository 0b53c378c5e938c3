package topic

import "strings"

// Names keeps one value for each of many topic names, in byte order. It is a
// B+ tree over whole names, not a tree of levels: 100,000 names cost about 40
// bytes each beside their text, and a name of thousands of levels is one key
// like any other. It has no lock inside: see the package comment.
//
// A name handed to Set is kept as it is; it must not alias a buffer that
// changes.
type Names[V any] struct {
	root page[V]
	n    int
}

// Len is the number of names.
func (s *Names[V]) Len() int { return s.n }

// Get returns the value of name.
func (s *Names[V]) Get(name string) (v V, ok bool) {
	leaf, i, found := s.seek(name)
	if !found {
		return v, false
	}
	return leaf.values[i], true
}

// Set gives name a value and returns the one it had.
func (s *Names[V]) Set(name string, v V) (old V, had bool) {
	old, had = s.root.set(name, v)
	if len(s.root.keys) >= pageKeys {
		left := s.root
		first, right := left.split(left.cut())
		s.root = page[V]{keys: []string{first}, kids: []*page[V]{&left, right}}
	}
	if !had {
		s.n++
	}
	return old, had
}

// Delete drops name and returns its value.
func (s *Names[V]) Delete(name string) (old V, had bool) {
	old, had = s.root.delete(name)
	if !had {
		return old, false
	}
	s.n--
	if len(s.root.kids) == 1 {
		s.root = *s.root.kids[0]
	}
	return old, true
}

// Walk yields, in byte order, every name that a valid filter selects, with its
// value, until yield returns false. yield must not change the Names.
func (s *Names[V]) Walk(filter string, yield func(name string, v V) bool) {
	s.WalkSome(filter, "", s.n, yield)
}

// WalkFrom is Walk for the names after one that an earlier walk yielded; that
// name need not exist any more. "" starts at the beginning.
func (s *Names[V]) WalkFrom(filter, after string, yield func(name string, v V) bool) {
	s.WalkSome(filter, after, s.n, yield)
}

// WalkSome is WalkFrom that looks at no more than most names, so that a filter
// that selects few of many does not hold the owner's lock for long. It returns
// where to go on (the next call's after) and whether the walk is complete; it is
// not when yield returned false.
func (s *Names[V]) WalkSome(filter, after string, most int, yield func(name string, v V) bool) (last string, done bool) {
	prefix := literalPrefix(filter)
	if prefix == filter {
		if v, ok := s.Get(filter); ok && after < filter && !yield(filter, v) {
			return filter, false
		}
		return filter, true
	}
	if parent := strings.TrimSuffix(filter, "/#"); len(parent) == len(prefix)-1 && after < parent {
		// "a/#" selects "a" too, which lies outside of what begins with "a/".
		if v, ok := s.Get(parent); ok && !yield(parent, v) {
			return parent, false
		}
	}
	leaf, i, found := s.seek(max(prefix, after))
	if found && after >= prefix && after != "" {
		i++
	}
	last = after
	for misses := 0; ; most-- {
		for leaf != nil && i >= len(leaf.keys) {
			leaf, i = leaf.next, 0
		}
		if leaf == nil || !strings.HasPrefix(leaf.keys[i], prefix) {
			return last, true
		}
		if most <= 0 {
			return last, false
		}
		last = leaf.keys[i]
		if Match(filter, last) {
			if !yield(last, leaf.values[i]) {
				return last, false
			}
			misses, i = 0, i+1
			continue
		}
		misses, i = misses+1, i+1
		if misses > stepsBeforeSeek {
			if next := bound(filter, last); next > last {
				leaf, i, _ = s.seek(next)
				misses = 0
			}
		}
	}
}

// stepsBeforeSeek is how many names a walk steps over that the filter does not
// select before it looks from the root for the next one that may be: a step is
// some ten times cheaper.
const stepsBeforeSeek = 8

// literalPrefix is what every name selected by filter begins with, the parent
// that a '#' includes apart.
func literalPrefix(filter string) string {
	if i := strings.IndexAny(filter, "+#"); i >= 0 {
		return filter[:i]
	}
	return filter
}

// bound takes a name that filter does not select and returns where to look
// next: filter selects nothing that lies between name and the bound. It returns
// name when it cannot skip. Below, before is the part of name ahead of the level
// under comparison; '0' is the byte after '/', so before+have+"0" is the end of
// everything under before+have.
func bound(filter, name string) string {
	if hidden(name) && (filter[0] == '+' || filter[0] == '#') {
		return "%" // the byte after '$'
	}
	before := 0
	rest, more := name, true
	for more {
		var want, have string
		var deeper bool
		want, filter, deeper = cutLevel(filter)
		have, rest, more = cutLevel(rest)
		end := before + len(have)
		switch {
		case want == have || want == "+":
			if !deeper {
				return name[:end] + "0" // name is deeper than the filter
			}
			if !more && want == have {
				return name + "/" // name is not as deep
			}
		case have < want && name < name[:before]+want:
			return name[:before] + want
		case deeper && strings.HasPrefix(have, want) && have[len(want)] < '/':
			return name[:before] + want + "/" // "a!" lies ahead of "a/"
		case before == 0:
			return name
		default:
			return name[:before-1] + "0" // past what is wanted at this level
		}
		before = end + 1
	}
	return name
}

// seek finds the leaf and place of name, or of the first name after it; the
// place may be one past the leaf's end.
func (s *Names[V]) seek(name string) (leaf *page[V], i int, found bool) {
	leaf = &s.root
	for !leaf.leaf() {
		leaf = leaf.kids[leaf.kid(name)]
	}
	i, found = leaf.place(name)
	return leaf, i, found
}

package topic

import "slices"

// A page is split when it holds pageKeys keys and joined with a neighbour, or
// evened out with it, when it holds fewer than a quarter. 64 keys of 16 bytes
// fill an allocation class exactly.
const pageKeys = 64

// page is one node of the B+ tree. A leaf has values and the leaf that follows
// it; an inner page has one kid more than keys, and keys[i] is not above the
// first name under kids[i+1] and above every name under kids[i].
type page[V any] struct {
	keys   []string
	values []V
	kids   []*page[V]
	next   *page[V]
}

func (p *page[V]) leaf() bool { return p.kids == nil }

// place is the first key not below name.
func (p *page[V]) place(name string) (i int, found bool) {
	lo, hi := 0, len(p.keys)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if p.keys[mid] < name {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < len(p.keys) && p.keys[lo] == name
}

// kid is the place of the kid under which name belongs.
func (p *page[V]) kid(name string) int {
	i, found := p.place(name)
	if found {
		i++
	}
	return i
}

// set recurses over pages, of which there are a handful between root and leaf.
func (p *page[V]) set(name string, v V) (old V, had bool) {
	if !p.leaf() {
		k := p.kid(name)
		kid := p.kids[k]
		if old, had = kid.set(name, v); len(kid.keys) >= pageKeys {
			first, right := kid.split(kid.cut())
			p.keys = slices.Insert(p.keys, k, first)
			p.kids = slices.Insert(p.kids, k+1, right)
		}
		return old, had
	}
	i, found := p.place(name)
	if found {
		old, p.values[i] = p.values[i], v
		p.keys[i] = name // the caller's newer string: the older one can be freed
		return old, true
	}
	p.keys = slices.Insert(p.keys, i, name)
	p.values = slices.Insert(p.values, i, v)
	return old, false
}

// cut is where a full page is split. The last leaf keeps nearly all: names that
// arrive in order fill their pages.
func (p *page[V]) cut() int {
	if p.leaf() && p.next == nil {
		return len(p.keys) - 4
	}
	return len(p.keys) / 2
}

// split moves the keys from cut on to a new page and returns it with the key
// that parts the two.
func (p *page[V]) split(cut int) (first string, right *page[V]) {
	right = &page[V]{next: p.next}
	first = p.keys[cut]
	if p.leaf() {
		right.keys = append(make([]string, 0, pageKeys), p.keys[cut:]...)
		right.values = append(make([]V, 0, pageKeys), p.values[cut:]...)
		clear(p.values[cut:])
		p.values = p.values[:cut]
		p.next = right
	} else {
		right.keys = append(make([]string, 0, pageKeys), p.keys[cut+1:]...)
		right.kids = append(make([]*page[V], 0, pageKeys+1), p.kids[cut+1:]...)
		clear(p.kids[cut+1:])
		p.kids = p.kids[:cut+1]
	}
	clear(p.keys[cut:])
	p.keys = p.keys[:cut]
	return first, right
}

func (p *page[V]) delete(name string) (old V, had bool) {
	if !p.leaf() {
		k := p.kid(name)
		if old, had = p.kids[k].delete(name); had && len(p.kids[k].keys) < pageKeys/4 {
			p.even(max(k-1, 0))
		}
		return old, had
	}
	i, found := p.place(name)
	if !found {
		return old, false
	}
	old = p.values[i]
	p.keys = slices.Delete(p.keys, i, i+1)
	p.values = slices.Delete(p.values, i, i+1)
	return old, true
}

// even joins kids k and k+1, or gives each half when they do not fit in one.
func (p *page[V]) even(k int) {
	a, b := p.kids[k], p.kids[k+1]
	if a.leaf() {
		a.keys = append(a.keys, b.keys...)
		a.values = append(a.values, b.values...)
		a.next = b.next
	} else {
		a.keys = append(append(a.keys, p.keys[k]), b.keys...)
		a.kids = append(a.kids, b.kids...)
	}
	if len(a.keys) < pageKeys*7/8 {
		p.keys = slices.Delete(p.keys, k, k+1)
		p.kids = slices.Delete(p.kids, k+1, k+2)
		return
	}
	p.keys[k], p.kids[k+1] = a.split(len(a.keys) / 2)
	a.keys = append(make([]string, 0, pageKeys), a.keys...) // may have outgrown a page
	if a.leaf() {
		a.values = append(make([]V, 0, pageKeys), a.values...)
	} else {
		a.kids = append(make([]*page[V], 0, pageKeys+1), a.kids...)
	}
}

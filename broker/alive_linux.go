package broker

// count is the number of event loops.
func (ls *loops) count() int { return len(ls.all) }

// each runs fn once on every event loop, with its number.
func (ls *loops) each(fn func(i int)) {
	for i, l := range ls.all {
		l.post(nil, func(*turn) { fn(i) })
	}
}

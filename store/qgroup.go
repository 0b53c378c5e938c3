package store

import (
	"slices"
	"sort"
)

// qgroup is what one session still needs of one packed group: the memory image
// of a q/ record. rec is as it was last written; once something of it is done,
// open holds the entries with what is gone marked, until it is written again.
type qgroup struct {
	gid     uint64
	rec     []byte
	open    *openGroup
	oldest  int64 // Time of the first message when it was written
	newest  int64
	expires int64 // when the last one expires, 0: never
	bytes   int64 // of the live entries
	n       int32 // live entries
	dirty   bool  // waits in Store.chores to be written
	body    int32 // bytes of the group's record
	chunked bool  // its one body lies in parts
}

type openGroup struct {
	entries []openEntry
	head    int // entries before it are gone
	subs    [][]uint32
}

type openEntry struct {
	id      MessageID
	size    uint32
	subs    uint32 // index+1 into openGroup.subs
	qos     byte
	options byte
	gone    bool
}

// unpack decodes rec so that entries can be marked.
func (g *qgroup) unpack() *openGroup {
	if g.open != nil {
		return g.open
	}
	o := &openGroup{entries: make([]openEntry, 0, g.n)}
	r := readEntries(g.gid, g.rec)
	for r.next() {
		o.entries = append(o.entries, o.pack(r.e))
	}
	g.open = o
	return o
}

func (o *openGroup) pack(e entry) openEntry {
	x := openEntry{id: e.id, size: e.size, qos: e.qos, options: e.options}
	if len(e.subs) > 0 {
		if n := len(o.subs); n == 0 || !slices.Equal(o.subs[n-1], e.subs) {
			o.subs = append(o.subs, e.subs)
		}
		x.subs = uint32(len(o.subs))
	}
	return x
}

func (o *openGroup) entry(i int) entry {
	x := o.entries[i]
	e := entry{id: x.id, size: x.size, qos: x.qos, options: x.options}
	if x.subs > 0 {
		e.subs = o.subs[x.subs-1]
	}
	return e
}

// find returns the index of a live entry, or -1.
func (o *openGroup) find(id MessageID) int {
	if h := o.head; h < len(o.entries) && o.entries[h].id == id { // drained in order
		return h
	}
	i := sort.Search(len(o.entries), func(i int) bool { return o.entries[i].id >= id })
	if i == len(o.entries) || o.entries[i].id != id || o.entries[i].gone {
		return -1
	}
	return i
}

// remove marks the message as gone.
func (g *qgroup) remove(id MessageID) (e entry, ok bool) {
	o := g.unpack()
	i := o.find(id)
	if i < 0 {
		return e, false
	}
	e = o.entry(i)
	o.entries[i].gone = true
	for o.head < len(o.entries) && o.entries[o.head].gone {
		o.head++
	}
	g.n--
	g.bytes -= int64(e.size)
	return e, true
}

// insert adds an entry in its place; false when the message is there already.
func (g *qgroup) insert(e entry) bool {
	o := g.unpack()
	i := sort.Search(len(o.entries), func(i int) bool { return o.entries[i].id >= e.id })
	if i < len(o.entries) && o.entries[i].id == e.id {
		if !o.entries[i].gone {
			return false
		}
		o.entries[i] = o.pack(e)
	} else {
		o.entries = slices.Insert(o.entries, i, o.pack(e))
	}
	o.head = min(o.head, i)
	g.n++
	g.bytes += int64(e.size)
	return true
}

// after returns the first live entry with a greater id.
func (g *qgroup) after(id MessageID) (found entry, ok bool) {
	g.walk(id, func(e entry) bool {
		found, ok = e, true
		return false
	})
	return found, ok
}

// walk calls f for the live entries with a greater id, in order.
func (g *qgroup) walk(after MessageID, f func(entry) bool) bool {
	if o := g.open; o != nil {
		i := o.head
		if i < len(o.entries) && o.entries[i].id <= after {
			i = sort.Search(len(o.entries), func(i int) bool { return o.entries[i].id > after })
		}
		for ; i < len(o.entries); i++ {
			if !o.entries[i].gone && !f(o.entry(i)) {
				return false
			}
		}
		return true
	}
	r := readEntries(g.gid, g.rec)
	for r.next() {
		if r.e.id > after && !f(r.e) {
			return false
		}
	}
	return true
}

// repack encodes the live entries anew and drops the open form.
func (g *qgroup) repack(w *entryWriter) {
	if g.open == nil {
		return
	}
	w.reset(g.gid)
	for i := g.open.head; i < len(g.open.entries); i++ {
		if !g.open.entries[i].gone {
			w.add(g.open.entry(i))
		}
	}
	g.rec = slices.Clone(w.buf)
	g.open = nil
}

// record is the q/ record's value.
func (g *qgroup) record(dst []byte) []byte {
	r := queueRecord{Version: recordVersion, Oldest: g.oldest, Newest: g.newest, Expires: g.expires, Body: g.body, Chunked: g.chunked, Entries: g.rec}
	dst, _ = r.MarshalMsg(dst) // a tuple of plain fields cannot fail
	return dst
}

// readQgroup takes a q/ record apart; value is copied.
func readQgroup(gid uint64, value []byte) (qgroup, error) {
	var r queueRecord
	if _, err := r.UnmarshalMsg(value); err != nil {
		return qgroup{}, err
	}
	if r.Version != recordVersion {
		return qgroup{}, badVersion("queue", r.Version)
	}
	g := qgroup{gid: gid, rec: r.Entries, oldest: r.Oldest, newest: r.Newest, expires: r.Expires, body: r.Body, chunked: r.Chunked}
	rd := readEntries(gid, g.rec)
	for rd.next() {
		g.n++
		g.bytes += int64(rd.e.size)
	}
	return g, rd.err
}

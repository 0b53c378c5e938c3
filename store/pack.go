package store

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// packer builds the records of a group: bodies, and for each session what it
// needs of them. The committer owns it.
type packer struct {
	gid     uint64
	ids     []uint64
	ends    []uint32
	bodies  []byte
	touched []*session // with something in this group
	free    []*queueBuilder
}

// queueBuilder is one session's record of the group being packed.
type queueBuilder struct {
	w       entryWriter
	bytes   int64
	oldest  int64
	newest  int64
	expires int64
	forever bool // one message never expires
}

// built is a record that was packed, to be put into memory once it is on disk.
type built struct {
	ss   *session
	g    qgroup
	upto MessageID // the last message of the group
}

// packMessages packs the messages of the cut that somebody still needs.
func (s *Store) packMessages(c *cut) error {
	p := &c.pack
	for _, sub := range c.subs {
		for i := range sub.msgs {
			m := &sub.msgs[i]
			if m.live == 0 || m.msg.Class == Memory {
				if m.msg.Body != nil { // nobody needs it any more
					c.chunks = append(c.chunks, m.msg.Body.id)
				}
				continue
			}
			id := sub.first + MessageID(i)
			large := int(m.size) > s.tune.largeMessage || m.msg.Body != nil
			if len(p.ids) > 0 && (large || len(p.bodies)+int(m.size)+12*len(p.ids) > s.tune.record) {
				s.sealGroup(c, 0)
			}
			if len(p.ids) == 0 {
				p.gid = uint64(id)
			}
			rec := m.msg.record()
			parted := 0
			switch b := m.msg.Body; {
			case b != nil:
				rec.Chunks, rec.Size, parted = b.parts, uint32(b.size), b.size
				c.full.put(appendKey(nil, prefixParts, p.gid), appendID(nil, b.id))
			case large:
				parted = len(rec.Payload)
				var err error
				if rec.Chunks, err = s.writeChunks(p.gid, rec.Payload); err != nil {
					return err
				}
				rec.Size, rec.Payload = uint32(len(rec.Payload)), nil
			}
			p.bodies, _ = rec.MarshalMsg(p.bodies)
			p.ids = append(p.ids, uint64(id)-p.gid)
			p.ends = append(p.ends, uint32(len(p.bodies)))
			for j := m.from; j < m.to; j++ {
				if r := &sub.rcpt[j]; !r.gone {
					p.add(r, id, m)
				}
			}
			if large {
				s.sealGroup(c, parted)
			}
		}
	}
	if len(p.ids) > 0 {
		s.sealGroup(c, 0)
	}
	return nil
}

func (p *packer) add(r *pendingRecipient, id MessageID, m *pendingMessage) {
	q := r.ss.build
	if q == nil {
		if n := len(p.free); n > 0 {
			q, p.free = p.free[n-1], p.free[:n-1]
		} else {
			q = new(queueBuilder)
		}
		q.w.reset(p.gid)
		q.bytes, q.oldest, q.newest, q.expires, q.forever = 0, m.msg.Time, m.msg.Time, 0, false
		r.ss.build = q
		p.touched = append(p.touched, r.ss)
	}
	q.w.add(entry{id: id, size: m.size, qos: r.qos, options: r.options, subs: r.subs})
	q.bytes += int64(m.size)
	q.oldest, q.newest = min(q.oldest, m.msg.Time), max(q.newest, m.msg.Time)
	q.expires = max(q.expires, m.msg.Expires)
	q.forever = q.forever || m.msg.Expires == 0
}

// sealGroup ends the group: its body record and its queue records join the
// transaction. parted bytes of it lie in parts.
func (s *Store) sealGroup(c *cut, parted int) {
	p := &c.pack
	body := bodyRecord{Version: recordVersion, IDs: p.ids, Ends: p.ends, Sum: crc32.Checksum(p.bodies, castagnoli), Bodies: p.bodies}
	key := c.full.key(prefixGroup, p.gid)
	at := len(c.full.arena)
	c.full.arena, _ = body.MarshalMsg(c.full.arena)
	value := c.full.arena[at:len(c.full.arena):len(c.full.arena)]
	c.full.put(key, value)
	upto := MessageID(p.gid + p.ids[len(p.ids)-1])
	bytes := int32(len(value) + parted)
	for _, ss := range p.touched {
		q := ss.build
		ss.build = nil
		if q.forever {
			q.expires = 0
		}
		rec := queueRecord{Version: recordVersion, Oldest: q.oldest, Newest: q.newest, Expires: q.expires, Body: bytes, Chunked: parted > 0, Entries: q.w.buf}
		v, _ := rec.MarshalMsg(make([]byte, 0, len(q.w.buf)+36))
		c.full.put(c.full.key(prefixQueue, uint64(ss.id), p.gid), v)
		c.built = append(c.built, built{
			ss: ss, upto: upto,
			g: qgroup{
				gid: p.gid, rec: v[len(v)-len(q.w.buf) : len(v) : len(v)], n: int32(q.w.n), bytes: q.bytes,
				oldest: q.oldest, newest: q.newest, expires: q.expires, body: bytes, chunked: parted > 0,
			},
		})
		q.w.prev.subs = nil
		p.free = append(p.free, q)
	}
	clear(p.touched)
	p.touched, p.ids, p.ends, p.bodies = p.touched[:0], p.ids[:0], p.ends[:0], p.bodies[:0]
}

package main

import (
	"encoding/binary"
	"io"

	"gatewayd/mqtt"
)

// oldRecord reads a record of the formats 2 to 4 (Mosquitto 1.0 to 1.5). As
// Mosquitto itself does, it goes by the fields: the length is only needed to skip
// records that are not known, and to tell how long a time is.
func (r *dbReader) oldRecord(kind, length uint32) error {
	c := &oldCursor{r: r}
	start := r.offset
	switch kind {
	case chunkConfig:
		c.u8() // whether Mosquitto was stopping
		if size := c.u8(); c.err == nil && size != 8 {
			return errDBDamaged
		}
		r.guessOrder(c.take(8))
	case chunkMessage:
		m := &dbMessage{id: c.u64(), source: c.string()}
		if r.format == 4 {
			m.user = c.string()
			c.u16() // the port at its source
		}
		c.u16() // the packet id at its source
		c.u16() // and a packet id
		m.publish.Topic = c.string()
		m.publish.QoS, m.publish.Retain = mqtt.QoS(c.u8()), c.u8() != 0
		m.publish.Payload = c.take(int(min(c.u32(), dbMaxRecord)))
		if c.err == nil {
			r.db.messages[m.id] = m
		}
	case chunkDelivery:
		cl := r.byID[c.string()]
		d := dbDelivery{message: c.u64(), mid: c.u16(), qos: c.u8(), retain: c.u8() != 0, inward: c.u8() == 0, state: c.u8()}
		c.u8() // whether it was repeated
		if cl != nil && c.err == nil {
			cl.queue = append(cl.queue, d)
		}
	case chunkRetained:
		if id := c.u64(); c.err == nil {
			r.db.retained = append(r.db.retained, id)
		}
	case chunkSub:
		s := dbSub{client: c.string(), filter: c.string(), qos: c.u8()}
		if c.err == nil {
			r.db.subs = append(r.db.subs, s)
		}
	case chunkClient:
		cl := &dbClient{id: c.string(), expiry: 1<<32 - 1} // there was no other
		c.u16()                                            // the last packet id
		if r.format > 2 {                                  // since when it was away
			time := 8
			if int64(length)-(r.offset-start) == 4 {
				time = 4 // a 32-bit machine
			}
			c.take(time)
		}
		if c.err == nil {
			r.db.clients = append(r.db.clients, cl)
			r.byID[cl.id] = cl
		}
	default:
		if length > dbMaxRecord {
			return errDBDamaged
		}
		c.take(int(length))
	}
	return c.err
}

// oldCursor reads fields from the file itself; err is set when it ended too early.
type oldCursor struct {
	r   *dbReader
	err error
}

func (c *oldCursor) take(n int) []byte {
	if c.err != nil {
		return make([]byte, min(n, 8))
	}
	b, err := io.ReadAll(io.LimitReader(c.r.in, int64(n))) // grows as it reads: n may be wrong
	if err != nil || len(b) != n {
		c.err = errDBCut
		return make([]byte, min(n, 8))
	}
	c.r.offset += int64(n)
	return b
}

func (c *oldCursor) u8() byte       { return c.take(1)[0] }
func (c *oldCursor) u16() uint16    { return binary.BigEndian.Uint16(c.take(2)) }
func (c *oldCursor) u32() uint32    { return binary.BigEndian.Uint32(c.take(4)) }
func (c *oldCursor) u64() uint64    { return c.r.order.Uint64(c.take(8)) }
func (c *oldCursor) string() string { return string(c.take(int(c.u16()))) }

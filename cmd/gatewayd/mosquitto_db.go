package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"gatewayd/mqtt"
)

// mosquittoDB is what a mosquitto.db of format 2 to 6 (Mosquitto 1.0 to 2.1)
// holds. Numbers of 16 and 32 bits are stored big-endian, those of 64 bits as the
// machine has them. Formats 5 and 6 are structs as they lie in memory, with their
// padding; the older ones are fields, one after the other.
type mosquittoDB struct {
	messages map[uint64]*dbMessage
	clients  []*dbClient
	retained []uint64 // of messages
	subs     []dbSub
}

type dbMessage struct {
	id      uint64
	expires int64 // Unix seconds; 0: never
	source  string
	user    string // of the source
	publish mqtt.Publish
}

type dbClient struct {
	id, user string
	expiry   uint32 // seconds after which the session ends; all ones: never
	expires  int64  // Unix seconds when it ended, for a session that is away; 0: never
	queue    []dbDelivery
}

// dbDelivery is a message of a client's, outward or, at QoS 2, inward.
type dbDelivery struct {
	message uint64
	mid     uint16
	qos     byte
	state   byte
	inward  bool
	retain  bool
	subID   uint32
}

// States of a delivery that tell apart what has been sent.
const (
	dbPublishQoS2  = 4
	dbWaitPubrec   = 5
	dbResendPubrel = 6
	dbWaitPubcomp  = 9
)

type dbSub struct {
	client, filter string
	id             uint32
	qos, options   byte
}

const (
	chunkConfig = iota + 1
	chunkMessage
	chunkDelivery
	chunkRetained
	chunkSub
	chunkClient
)

var dbMagic = []byte("\x00\xb5\x00mosquitto db")

// readMosquittoDB reads a whole mosquitto.db.
func readMosquittoDB(r io.Reader) (*mosquittoDB, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	head := make([]byte, len(dbMagic)+8)
	if _, err := io.ReadFull(in, head); err != nil || !bytes.HasPrefix(head, dbMagic) {
		return nil, errors.New("this is no mosquitto.db")
	}
	format := binary.BigEndian.Uint32(head[len(dbMagic)+4:])
	if format < 2 || format > 6 {
		return nil, fmt.Errorf("it has format %d; formats 2 to 6 are known (Mosquitto 1.0 to 2.1)", format)
	}
	db := &mosquittoDB{messages: map[uint64]*dbMessage{}}
	records := &dbReader{in: in, db: db, format: format, order: binary.LittleEndian, byID: map[string]*dbClient{}, offset: int64(len(head))}
	for {
		at := records.offset
		switch more, err := records.record(); {
		case err != nil:
			return nil, fmt.Errorf("%w, at byte %d of it", err, at)
		case !more:
			return db, nil
		}
	}
}

var (
	errDBCut     = errors.New("it ends within a record")
	errDBDamaged = errors.New("a record is damaged")
)

// dbReader reads a mosquitto.db record by record.
type dbReader struct {
	in     *bufio.Reader
	db     *mosquittoDB
	format uint32
	order  binary.ByteOrder // of numbers of 64 bits
	byID   map[string]*dbClient
	offset int64
}

const dbMaxRecord = 512 << 20

// record reads the next record; false at the end.
func (r *dbReader) record() (bool, error) {
	var h [8]byte
	size := 8
	if r.format < 5 {
		size = 6
	}
	if n, err := io.ReadFull(r.in, h[:size]); n == 0 && errors.Is(err, io.EOF) {
		return false, nil
	} else if err != nil {
		return false, errDBCut
	}
	r.offset += int64(size)
	if r.format < 5 {
		return true, r.oldRecord(uint32(binary.BigEndian.Uint16(h[:])), binary.BigEndian.Uint32(h[2:]))
	}
	kind, length := binary.BigEndian.Uint32(h[:]), binary.BigEndian.Uint32(h[4:])
	if length > dbMaxRecord {
		return false, errDBDamaged
	}
	body, err := io.ReadAll(io.LimitReader(r.in, int64(length)))
	if err != nil || len(body) != int(length) {
		return false, errDBCut
	}
	r.offset += int64(length)
	c := &dbCursor{b: body, order: r.order}
	if kind == chunkConfig {
		r.guessOrder(c.take(8))
	} else {
		r.db.record(kind, c, r.format, r.byID)
	}
	if c.short {
		return false, errDBDamaged
	}
	return true, nil
}

// guessOrder finds out by the last message's id, which counts from one in
// Mosquitto up to 2.0, how the machine that wrote the file stores numbers.
func (r *dbReader) guessOrder(last []byte) {
	const likely = 1 << 40
	if binary.LittleEndian.Uint64(last) >= likely && binary.BigEndian.Uint64(last) < likely {
		r.order = binary.BigEndian
	}
}

// record takes one record in.
func (db *mosquittoDB) record(kind uint32, c *dbCursor, format uint32, byID map[string]*dbClient) {
	switch kind {
	case chunkMessage:
		if m := c.message(); !c.short {
			db.messages[m.id] = m
		}
	case chunkRetained:
		if id := c.u64(); !c.short {
			db.retained = append(db.retained, id)
		}
	case chunkClient:
		cl := &dbClient{expires: int64(c.u64()), expiry: c.u32()}
		c.u16() // the last packet id
		idLen := int(c.u16())
		userLen := 0
		if format == 6 {
			c.u16() // the listener's port
			userLen = int(c.u16())
			c.pad(idLen+userLen, 4) // none on i386
		}
		cl.id, cl.user = string(c.take(idLen)), string(c.take(userLen))
		if !c.short {
			db.clients = append(db.clients, cl)
			byID[cl.id] = cl
		}
	case chunkDelivery:
		d := dbDelivery{message: c.u64(), mid: c.u16()}
		idLen := int(c.u16())
		d.qos, d.state = c.u8(), c.u8()
		d.retain = c.u8()&0xF0 != 0
		d.inward = c.u8() == 0
		id := c.take(idLen)
		if p := c.properties(); p != nil && len(p.SubscriptionIDs) > 0 {
			d.subID = p.SubscriptionIDs[0]
		}
		if cl := byID[string(id)]; cl != nil && !c.short {
			cl.queue = append(cl.queue, d)
		}
	case chunkSub:
		s := dbSub{id: c.u32()}
		idLen, topicLen := int(c.u16()), int(c.u16())
		s.qos, s.options = c.u8(), c.u8()
		c.pad(idLen+topicLen, 2)
		s.client, s.filter = string(c.take(idLen)), string(c.take(topicLen))
		if !c.short {
			db.subs = append(db.subs, s)
		}
	}
}

// dbCursor walks one record; short is set when it ended too early.
type dbCursor struct {
	b     []byte
	order binary.ByteOrder
	short bool
}

// pad skips what lies before the last rest bytes, at most most.
func (c *dbCursor) pad(rest, most int) {
	c.take(min(max(len(c.b)-rest, 0), most))
}

func (c *dbCursor) take(n int) []byte {
	if n > len(c.b) {
		c.short, c.b = true, nil
		return make([]byte, min(n, 8))
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *dbCursor) u8() byte    { return c.take(1)[0] }
func (c *dbCursor) u16() uint16 { return binary.BigEndian.Uint16(c.take(2)) }
func (c *dbCursor) u32() uint32 { return binary.BigEndian.Uint32(c.take(4)) }
func (c *dbCursor) u64() uint64 { return c.order.Uint64(c.take(8)) }

func (c *dbCursor) message() *dbMessage {
	m := &dbMessage{id: c.u64(), expires: int64(c.u64())}
	payload := int(c.u32())
	c.u16() // the packet id at its source
	source, user, name := int(c.u16()), int(c.u16()), int(c.u16())
	c.u16() // the port at its source
	m.publish.QoS, m.publish.Retain = mqtt.QoS(c.u8()), c.u8() != 0
	m.source = string(c.take(source))
	m.user = string(c.take(user))
	m.publish.Topic = string(c.take(name))
	if payload > len(c.b) {
		c.short = true
		return m
	}
	m.publish.Payload = c.take(payload)
	m.publish.Properties = c.properties()
	return m
}

// properties reads what is left as the properties of a PUBLISH.
func (c *dbCursor) properties() *mqtt.Properties {
	if c.short || len(c.b) == 0 {
		return nil
	}
	// The codec reads whole packets: these make one of them.
	body := append([]byte{0, 1, 'x'}, c.b...)
	packet := []byte{byte(mqtt.PUBLISH) << 4}
	for n := len(body); ; {
		b := byte(n & 0x7f)
		if n >>= 7; n > 0 {
			packet = append(packet, b|0x80)
			continue
		}
		packet = append(packet, b)
		break
	}
	var p mqtt.Publish
	if p.Decode(mqtt.V5, append(packet, body...)) != nil {
		c.short = true
		return nil
	}
	return p.Properties
}

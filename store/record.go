package store

import "fmt"

//go:generate go tool msgp -file record.go -o record_gen.go -tests=false -io=false -unexported

// Records are msgp tuples. A record that stands alone begins with the version
// of its form; a reader refuses versions it does not know.
const recordVersion = 1

// formatVersion is the version of the whole store; a newer one is not opened.
// Version 1 had a record for each retained message, version 2 no p/ records.
const formatVersion = 3

// flagTomb marks an entry of a retainedGroupRecord that deletes its topic's value.
const flagTomb = 1 << 5

//msgp:tuple formatRecord
type formatRecord struct {
	Version uint32
	Created int64 // ms
}

// idsRecord reserves ids: none at or above the limits was ever given out.
//
//msgp:tuple idsRecord
type idsRecord struct {
	Version  uint8
	Messages uint64
	Sessions uint64
}

//msgp:tuple sessionRecord
type sessionRecord struct {
	Version        uint8
	ClientID       string
	User           string
	Protocol       uint8
	ExpiryInterval uint32
	DisconnectedAt int64
	Data           []byte
}

//msgp:tuple subscriptionRecord
type subscriptionRecord struct {
	Version uint8
	Filter  string
	Options uint8
	ID      uint32
	Data    []byte
}

// messageRecord is one message inside another record. A body too large for a
// group lies in Chunks parts under its group's id, or the one that p/ names, and
// Payload is empty.
//
//msgp:tuple messageRecord
type messageRecord struct {
	Topic      string
	Payload    []byte
	Properties []byte
	Flags      uint8 // QoS, bit 2 retain, bits 3–4 class, flagTomb
	Time       int64
	Expires    int64
	Publisher  string
	Chunks     uint32
	Size       uint32 // of a chunked payload
}

//msgp:tuple willRecord
type willRecord struct {
	Version uint8
	Delay   uint32
	Due     int64
	Message messageRecord
}

//msgp:tuple retainedRecord
type retainedRecord struct {
	Version uint8
	ChunkID uint64 // key of the chunks, 0: none
	Message messageRecord
}

// retainedGroupRecord is what a transaction changed of the retained messages:
// Count messageRecords, one after the other; flagTomb marks a deletion.
//
//msgp:tuple retainedGroupRecord
type retainedGroupRecord struct {
	Version uint8
	Twice   bool // a topic is in it more than once: the last counts
	Count   uint32
	Sum     uint32 // CRC-32C of Entries
	Entries []byte
}

// bodyRecord is a packed group: message IDs[i] is Bodies[Ends[i-1]:Ends[i]], a
// messageRecord. IDs count from the group's id.
//
//msgp:tuple bodyRecord
type bodyRecord struct {
	Version uint8
	IDs     []uint64
	Ends    []uint32
	Sum     uint32 // CRC-32C of Bodies
	Bodies  []byte
}

// queueRecord is what one session needs of one group, see entryWriter.
//
//msgp:tuple queueRecord
type queueRecord struct {
	Version uint8
	Oldest  int64 // Time of the oldest message
	Newest  int64 // Time of the newest
	Expires int64 // when the last of them expires, 0: one never does
	Body    int32 // bytes of the group's record, so that a start needs not read it
	Chunked bool  // its one body lies in parts
	Entries []byte
}

// flightRecord is a session's outbound QoS 2 state in order of sending.
//
//msgp:tuple flightRecord
type flightRecord struct {
	Version  uint8
	Mark     uint16
	Packets  []uint16
	Messages []uint64
	Released []uint8
}

// holdRecord is a session's inbound QoS 2 state, in order of packet ids.
//
//msgp:tuple holdRecord
type holdRecord struct {
	Version uint8
	Packets []uint16
	Digests []uint64
}

func badVersion(what string, v uint8) error {
	return fmt.Errorf("store: %s record of version %d, this program knows %d", what, v, recordVersion)
}

func (m *Message) record() messageRecord {
	flags := m.QoS & 3
	if m.Retain {
		flags |= 4
	}
	return messageRecord{
		Topic: m.Topic, Payload: m.Payload, Properties: m.Properties,
		Flags: flags | uint8(m.Class)<<3,
		Time:  m.Time, Expires: m.Expires, Publisher: m.Publisher,
	}
}

func (r *messageRecord) message() Message {
	return Message{
		Topic: r.Topic, Payload: r.Payload, Properties: r.Properties,
		QoS: r.Flags & 3, Retain: r.Flags&4 != 0, Class: Class(r.Flags >> 3 & 3),
		Time: r.Time, Expires: r.Expires, Publisher: r.Publisher,
	}
}

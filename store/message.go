package store

// SessionID names one incarnation of a session. It comes from NewSessionID and
// is never used again, so what an old connection submitted cannot land in the
// session that replaced it.
type SessionID uint64

// MessageID is a message's place in the order of every queue. Submit gives it,
// in order of submission; moving a message never changes it. Zero is no
// message.
type MessageID uint64

// Class says how durable a message or a retained value has to be.
type Class uint8

const (
	Commit Class = iota // synced before the receipt
	Lazy                // the receipt does not wait; written within Options.LazyInterval and at Close
	Memory              // never written; gone after a restart
)

// Message is one application message. It is read-only once it has been given
// to a Batch; the store keeps the pointer until the message is written.
type Message struct {
	Topic      string
	Payload    []byte
	Body       *Body  // the payload, when it is in the store and not in memory; Payload is empty then
	Properties []byte // opaque to the store
	QoS        byte
	Retain     bool
	Class      Class
	Time       int64 // ms on the broker's clock when it was received
	Expires    int64 // ms on the same clock, 0: never
	Publisher  string
}

// size is what a message counts for in every bound of the store, in bytes.
func (m *Message) size() int {
	return len(m.Topic) + m.Len() + len(m.Properties) + len(m.Publisher) + messageOverhead
}

// Len is the payload's length, wherever it is.
func (m *Message) Len() int { return len(m.Payload) + m.Body.Len() }

// messageOverhead stands for a message's fixed fields and index entries.
const messageOverhead = 24

// MaxWindow is how many packet ids of one session may be held, and how many may
// be bound to messages. All of either are in one record, which must be small
// enough for badger's log: what is larger goes to another that is not synced.
const MaxWindow = 16384

// Recipient is one persistent session that needs a message.
type Recipient struct {
	Session         SessionID
	QoS             byte
	Options         uint8    // opaque to the store
	SubscriptionIDs []uint32 // copied
	PacketID        uint16   // QoS 2 that goes out on this receipt: bound in the same batch
	Sent            bool     // goes out now and an acknowledgement is expected: worth the commit delay, not counted against the session's bound
}

// Queued is one message in a session's queue.
type Queued struct {
	ID              MessageID
	Message         *Message // read-only
	QoS             byte
	Options         uint8
	SubscriptionIDs []uint32
}

// Session is what outlives a connection. All but ID and ClientID is the
// broker's to fill and to understand.
type Session struct {
	ID             SessionID
	ClientID       string
	User           string
	Version        byte   // protocol version last spoken
	ExpiryInterval uint32 // seconds, 0xFFFFFFFF: never
	DisconnectedAt int64  // ms on the broker's clock, 0: connected
	Data           []byte // opaque to the store
}

// Subscription is one filter of a session.
type Subscription struct {
	Filter  string // as the client gave it, $share/… included
	Options uint8  // opaque to the store: QoS, no local, retain as published, retain handling
	ID      uint32 // subscription identifier, 0: none
	Data    []byte // opaque to the store
}

// Will is a session's stored will.
type Will struct {
	Message Message
	Delay   uint32 // seconds
	Due     int64  // ms on the broker's clock when it is to be published, 0: the client is connected
}

// Flight is an outbound QoS 2 delivery that was under way.
type Flight struct {
	PacketID uint16
	Released bool // PUBREC was received: only PUBREL may be sent, Message is nil
	Queued
}

// Receipt is the answer to a batch.
type Receipt struct {
	Err    error // nil: durable, or cancelled out
	Elided bool  // nothing of it had to be written
	Lazy   bool  // given before it is on the disk: all of it is of class Lazy
}

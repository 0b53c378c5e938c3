package store

import (
	"errors"
	"slices"
	"sync"
)

// Batch is what one event must save. Its operations become durable together,
// as long as they fit one transaction (a quarter of a megabyte on a small
// board; the messages' payloads and one session's queue may be larger).
// Messages come after the other operations, whatever the order of the calls.
//
// It may be reused, after Reset, as soon as Submit or TrySubmit has returned:
// the store takes its content. After an error the content is still there. Not
// safe for concurrent use.
type Batch struct {
	sub   *submission
	first MessageID // given by Submit
}

type opKind uint8

const (
	opNone opKind = iota
	opPutSession
	opDeleteSession
	opPutSubscription
	opDeleteSubscription
	opPutWill
	opDeleteWill
	opPutRetained
	opDeleteRetained
	opHold
	opRelease
	opBind
	opReleased
	opDone
	opDonePacket
	opMark
	opMove
	opPut
	opPutLazy
	opDelete
	opPart
	opDropParts
)

// op is one operation other than a message.
type op struct {
	kind    opKind
	pid     uint16
	session SessionID
	ss      *session  // found by Submit; nil: the session is gone, the operation void
	id      MessageID // or the digest of a hold
	to      SessionID
	key     string
	value   []byte // an encoded record, or a value
	message *Message
	ids     []MessageID
}

type pendingMessage struct {
	msg      *Message
	from, to int32 // its recipients
	live     int32 // recipients that still need it
	size     uint32
	held     uint32 // of size, what is in memory until it is written
}

type pendingRecipient struct {
	session SessionID
	ss      *session
	subs    []uint32
	pid     uint16
	qos     byte
	options byte
	sent    bool
	gone    bool // before the group was cut: not written
	late    bool // while it was being written: taken out afterwards
	exact   bool // late, and the queue record has to say so with the next transaction
}

// submission is a batch on its way. Store.mu guards it once it was submitted;
// while writing is set the committer reads it without, and nobody changes what
// it reads.
type submission struct {
	ops      []op
	msgs     []pendingMessage
	rcpt     []pendingRecipient
	subs     []uint32           // backs the recipients' subscription ids
	moved    []pendingRecipient // got a message while it was being written, see movedIDs
	movedIDs []MessageID
	err      error // found while the batch was made

	done  func(Receipt)
	seq   uint64
	first MessageID
	bytes int   // of it, what counts against MaxPending
	large int   // of bytes, payloads that go into chunks
	live  int   // messages somebody still needs
	refs  int   // pendRefs that point here, and one while it is pending
	due   int64 // when the committer should write it, ns since Store.start

	entries int  // keys it may write
	must    bool // has more to write than messages
	flight  bool // touches QoS 2 state out
	writing bool
	over    bool // cancelled out, or answered
}

var submissions = sync.Pool{New: func() any { return new(submission) }}

// opOverhead is what an operation counts for beside its value, in bytes.
const opOverhead = 48

var (
	errValueKey   = errors.New("store: a value's key begins with y/, a/ or x/ and has at most 1024 bytes")
	errValueLarge = errors.New("store: a record is too large")
)

// maxRecord bounds what may be stored as one record other than a message.
const maxRecord = 200 << 10

func (sub *submission) reset() {
	clear(sub.ops)
	clear(sub.msgs)
	clear(sub.rcpt)
	*sub = submission{ops: sub.ops[:0], msgs: sub.msgs[:0], rcpt: sub.rcpt[:0], subs: sub.subs[:0]}
}

// recycle gives a submission back once nothing points at it.
func (sub *submission) recycle() {
	if cap(sub.ops) > 1024 || cap(sub.rcpt) > 4096 {
		return
	}
	sub.reset()
	submissions.Put(sub)
}

func (b *Batch) take() *submission {
	if b.sub == nil {
		b.sub = submissions.Get().(*submission)
	}
	return b.sub
}

func (b *Batch) add(o op) {
	sub := b.take()
	sub.ops = append(sub.ops, o)
	sub.bytes += len(o.value) + len(o.key) + opOverhead
	sub.entries++
	if len(o.value) > maxRecord && sub.err == nil {
		sub.err = errValueLarge
	}
}

// Reset empties the batch.
func (b *Batch) Reset() {
	if b.sub != nil {
		b.sub.reset()
	}
	b.first = 0
}

// Len is the number of operations and messages in the batch.
func (b *Batch) Len() int {
	if b.sub == nil {
		return 0
	}
	return len(b.sub.ops) + len(b.sub.msgs)
}

// PutSession creates the session or replaces what is known of it.
func (b *Batch) PutSession(s Session) {
	r := sessionRecord{
		Version: recordVersion, ClientID: s.ClientID, User: s.User, Protocol: s.Version,
		ExpiryInterval: s.ExpiryInterval, DisconnectedAt: s.DisconnectedAt, Data: s.Data,
	}
	v, _ := r.MarshalMsg(nil)
	b.add(op{kind: opPutSession, session: s.ID, value: v})
}

// DeleteSession removes the session with all it owns.
func (b *Batch) DeleteSession(id SessionID) { b.add(op{kind: opDeleteSession, session: id}) }

// PutSubscription adds or replaces the subscription with the same filter.
func (b *Batch) PutSubscription(id SessionID, s Subscription) {
	r := subscriptionRecord{Version: recordVersion, Filter: s.Filter, Options: s.Options, ID: s.ID, Data: s.Data}
	v, _ := r.MarshalMsg(nil)
	b.add(op{kind: opPutSubscription, session: id, key: s.Filter, value: v})
}

// DeleteSubscription removes a subscription.
func (b *Batch) DeleteSubscription(id SessionID, filter string) {
	b.add(op{kind: opDeleteSubscription, session: id, key: filter})
}

// PutWill stores the session's will.
func (b *Batch) PutWill(id SessionID, w Will) {
	r := willRecord{Version: recordVersion, Delay: w.Delay, Due: w.Due, Message: w.Message.record()}
	v, _ := r.MarshalMsg(nil)
	b.add(op{kind: opPutWill, session: id, value: v})
}

// DeleteWill removes the session's will.
func (b *Batch) DeleteWill(id SessionID) { b.add(op{kind: opDeleteWill, session: id}) }

// AddMessage queues m for the recipients and returns its index for ID. The
// recipients are copied, m is kept. A recipient must not be named twice.
func (b *Batch) AddMessage(m *Message, to []Recipient) (i int) {
	sub := b.take()
	from := int32(len(sub.rcpt))
	for i := range to {
		t := &to[i]
		r := pendingRecipient{session: t.Session, pid: t.PacketID, qos: t.QoS, options: t.Options, sent: t.Sent}
		if n := len(t.SubscriptionIDs); n > 0 {
			sub.subs = append(sub.subs, t.SubscriptionIDs...)
			r.subs = slices.Clip(sub.subs[len(sub.subs)-n:])
		}
		sub.rcpt = append(sub.rcpt, r)
	}
	size := m.size()
	sub.msgs = append(sub.msgs, pendingMessage{msg: m, from: from, to: int32(len(sub.rcpt)), size: uint32(size), held: uint32(size - m.Body.Len())})
	sub.bytes += size - m.Body.Len()
	sub.entries += len(to) + 1
	return len(sub.msgs) - 1
}

// PutRetained makes m the retained message of its topic, as durable as its
// Class says.
func (b *Batch) PutRetained(m *Message) {
	b.add(op{kind: opPutRetained, key: m.Topic, message: m})
	b.sub.bytes += len(m.Payload) + len(m.Properties)
}

// DeleteRetained removes the topic's retained message.
func (b *Batch) DeleteRetained(topic string) { b.add(op{kind: opDeleteRetained, key: topic}) }

// Hold remembers an inbound QoS 2 packet id and a digest of its message.
func (b *Batch) Hold(id SessionID, pid uint16, digest uint64) {
	b.add(op{kind: opHold, session: id, pid: pid, id: MessageID(digest)})
}

// Release forgets a held packet id.
func (b *Batch) Release(id SessionID, pid uint16) { b.add(op{kind: opRelease, session: id, pid: pid}) }

// Bind gives a queued message the packet id it goes out with at QoS 2.
func (b *Batch) Bind(id SessionID, pid uint16, m MessageID) {
	b.add(op{kind: opBind, session: id, pid: pid, id: m})
}

// Released says that PUBREC was received: the message leaves the queue, the
// packet id stays until DonePacket.
func (b *Batch) Released(id SessionID, pid uint16) {
	b.add(op{kind: opReleased, session: id, pid: pid})
}

// Done says that the session needs the message no more.
func (b *Batch) Done(id SessionID, m MessageID) { b.add(op{kind: opDone, session: id, id: m}) }

// DonePacket frees a packet id and the message m it was bound to. When it is bound
// to another by now, it stays: the client has acknowledged, the packet id was
// given to the next message at once, and that was submitted first.
func (b *Batch) DonePacket(id SessionID, pid uint16, m MessageID) {
	b.add(op{kind: opDonePacket, session: id, pid: pid, id: m})
}

// Mark keeps the packet id from which QoS 1 goes on after a restart. It goes to
// the disk at once, and takes no message along that may still cancel out: the
// receipt of a batch that has nothing else to write does not wait for it, so a
// mark is set well before it is needed.
func (b *Batch) Mark(id SessionID, pidHighWater uint16) {
	b.add(op{kind: opMark, session: id, pid: pidHighWater})
}

// Move hands queued messages from one session to another; their places in the
// order stay. What the other has already, and what is gone, is left out.
func (b *Batch) Move(from, to SessionID, ids []MessageID) {
	b.add(op{kind: opMove, session: from, to: to, ids: slices.Clone(ids)})
}

// Put stores a value of a room above. The key begins with y/, a/ or x/.
func (b *Batch) Put(key string, value []byte) { b.put(opPut, key, value) }

// PutLazy is Put with class Lazy: a later value of the key replaces it before
// it is written.
func (b *Batch) PutLazy(key string, value []byte) { b.put(opPutLazy, key, value) }

// Delete removes a value.
func (b *Batch) Delete(key string) { b.put(opDelete, key, nil) }

func (b *Batch) put(kind opKind, key string, value []byte) {
	b.add(op{kind: kind, key: key, value: slices.Clone(value)})
	if !validValueKey(key) && b.sub.err == nil {
		b.sub.err = errValueKey
	}
}

// ID is the id of the i-th message added, known once the batch was submitted.
func (b *Batch) ID(i int) MessageID { return b.first + MessageID(i) }

package store

// Batch is what one event must save. Its operations become durable together.
// It may be reused, after Reset, once Submit or TrySubmit has returned: the
// store takes its content. Not safe for concurrent use.
type Batch struct {
	ops   *ops
	first MessageID // given by Submit
}

// Reset empties the batch.
func (b *Batch) Reset() {}

// Len is the number of operations in the batch.
func (b *Batch) Len() int { return 0 }

// PutSession creates the session or replaces what is known of it.
func (b *Batch) PutSession(s Session) {}

// DeleteSession removes the session with all it owns.
func (b *Batch) DeleteSession(id SessionID) {}

// PutSubscription adds or replaces the subscription with the same filter.
func (b *Batch) PutSubscription(id SessionID, s Subscription) {}

// DeleteSubscription removes a subscription.
func (b *Batch) DeleteSubscription(id SessionID, filter string) {}

// PutWill stores the session's will.
func (b *Batch) PutWill(id SessionID, w Will) {}

// DeleteWill removes the session's will.
func (b *Batch) DeleteWill(id SessionID) {}

// AddMessage queues m for the recipients and returns its index for ID. The
// recipients are copied, m is kept.
func (b *Batch) AddMessage(m *Message, to []Recipient) (i int) { return 0 }

// PutRetained makes m the retained message of its topic, as durable as its
// Class says.
func (b *Batch) PutRetained(m *Message) {}

// DeleteRetained removes the topic's retained message.
func (b *Batch) DeleteRetained(topic string) {}

// Hold remembers an inbound QoS 2 packet id and a digest of its message.
func (b *Batch) Hold(id SessionID, pid uint16, digest uint64) {}

// Release forgets a held packet id.
func (b *Batch) Release(id SessionID, pid uint16) {}

// Bind gives a queued message the packet id it goes out with at QoS 2.
func (b *Batch) Bind(id SessionID, pid uint16, m MessageID) {}

// Released says that PUBREC was received: the message leaves the queue, the
// packet id stays until DonePacket.
func (b *Batch) Released(id SessionID, pid uint16) {}

// Done says that the session needs the message no more.
func (b *Batch) Done(id SessionID, m MessageID) {}

// DonePacket frees a packet id and what it was bound to.
func (b *Batch) DonePacket(id SessionID, pid uint16) {}

// Mark keeps the packet id from which QoS 1 goes on after a restart.
func (b *Batch) Mark(id SessionID, pidHighWater uint16) {}

// Move hands queued messages from one session to another; their places in the
// order stay.
func (b *Batch) Move(from, to SessionID, ids []MessageID) {}

// Put stores a value of a room above. The key begins with y/, a/ or x/.
func (b *Batch) Put(key string, value []byte) {}

// PutLazy is Put with class Lazy.
func (b *Batch) PutLazy(key string, value []byte) {}

// Delete removes a value.
func (b *Batch) Delete(key string) {}

// ID is the id of the i-th message added, known once the batch was submitted.
func (b *Batch) ID(i int) MessageID { return b.first + MessageID(i) }

type ops struct{}

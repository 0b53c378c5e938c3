package store

// OnFull is the answer of a session's queue that is at its bound.
type OnFull uint8

const (
	Reject         OnFull = iota // the whole batch is refused with ErrQuota
	DropOldest                   // the oldest message not yet handed out makes room
	DropNewest                   // the new message is not queued for this session
	LatestPerTopic               // an older message of the same topic makes room, else the oldest
)

// Limits bound one session's queue. Zero means no bound.
type Limits struct {
	Messages int
	Bytes    int64
	Age      int64 // ms
	OnFull   OnFull
}

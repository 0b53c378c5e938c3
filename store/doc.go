// Package store keeps what must survive a power cut: sessions, subscriptions,
// wills, queued messages, QoS 2 state, retained messages, and small values of
// the rooms above.
//
// Writes go through one pipeline. A Batch is what one event must save; Submit
// and TrySubmit hand it over, give its messages their place in every queue
// (MessageID) and return. One committer joins what waits into one transaction,
// syncs it once, and the deliverer then runs each batch's done function. A
// Receipt without an error means: on the card, or no longer needed by anyone
// (Receipt.Elided).
//
// The messages of a group are packed: their bodies are one record, and each
// session that needs some of them gets one small record that names which. What
// stays in memory is that index (one or two bytes a queued message), never the
// messages, so a million queued messages cost disk, not RAM.
//
// Progress of QoS 1 (Done) is applied at once in memory and written behind
// within a second: a power cut costs duplicates, never a loss. Progress of
// QoS 2 (Hold, Release, Bind, Released, DonePacket) is exact.
//
// A Store opened with an empty directory keeps everything in memory, with the
// same behaviour and no durability.
//
// Every method may be called from any goroutine. Queue, Load, Check and the
// tools may read the disk; the others never do.
package store

package store

import (
	"crypto/sha256"
	"encoding/binary"
)

// Keys begin with one letter and a slash. Numbers follow in big-endian, so that
// the order of keys is the order of ids:
//
//	g/group           bodies of one packed group
//	g/group part      a part of a body too large for a group
//	h/session         QoS 2 inbound     i/session         QoS 2 outbound
//	m/…               what the store knows of itself
//	p/group           the parts of its one body, when they came before it
//	q/session group   what of that group this session still needs
//	r/topic           retained message in parts
//	s/session         session           u/session filter  subscription
//	t/group           retained messages of one transaction
//	v/…               values of the rooms above
//	w/session         will
//
// Bodies come first and grow upwards: a compaction rewrites the tables between
// its least and its greatest key, so with anything that changes below them each
// would rewrite the whole backlog.
const (
	prefixGroup        = "g/"
	prefixHold         = "h/"
	prefixFlight       = "i/"
	prefixMeta         = "m/"
	prefixParts        = "p/"
	prefixQueue        = "q/"
	prefixRetained     = "r/"
	prefixSession      = "s/"
	prefixTopics       = "t/"
	prefixSubscription = "u/"
	prefixValue        = "v/"
	prefixWill         = "w/"

	keyFormat = prefixMeta + "format"
	keyIDs    = prefixMeta + "ids"
	keyPad    = prefixMeta + "pad/"
)

// isPart tells the key of a part from that of a group.
func isPart(key []byte) bool { return len(key) > len(prefixGroup)+8 }

// maxKeyText bounds the text in a key; longer topics and filters are hashed,
// badger takes keys of 65,000 bytes only.
const maxKeyText = 1024

func appendKey(dst []byte, prefix string, ids ...uint64) []byte {
	dst = append(dst, prefix...)
	for _, id := range ids {
		dst = binary.BigEndian.AppendUint64(dst, id)
	}
	return dst
}

func appendID(dst []byte, id uint64) []byte { return binary.BigEndian.AppendUint64(dst, id) }

func appendKeyText(dst []byte, text string) []byte {
	if len(text) <= maxKeyText {
		return append(dst, text...)
	}
	sum := sha256.Sum256([]byte(text))
	dst = append(dst, text[:maxKeyText/2]...)
	dst = append(dst, 0) // no topic holds a NUL, so no short topic has this key
	return append(dst, sum[:]...)
}

func appendSubscriptionKey(dst []byte, id SessionID, filter string) []byte {
	return appendKeyText(appendKey(dst, prefixSubscription, uint64(id)), filter)
}

func appendRetainedKey(dst []byte, topic string) []byte {
	return appendKeyText(append(dst, prefixRetained...), topic)
}

// keyID reads the n-th id of a key; ok is false when the key is too short.
func keyID(key []byte, n int) (id uint64, ok bool) {
	at := 2 + 8*n
	if len(key) < at+8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[at:]), true
}

// validValueKey says whether a room above may use the key.
func validValueKey(key string) bool {
	if len(key) < 3 || len(key) > maxKeyText || key[1] != '/' {
		return false
	}
	return key[0] == 'y' || key[0] == 'a' || key[0] == 'x'
}

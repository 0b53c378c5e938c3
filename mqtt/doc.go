// Package mqtt turns bytes into packets and packets into bytes for MQTT 3.1,
// 3.1.1 and 5.0, for servers and clients alike. It knows no broker, starts no
// goroutine and does no I/O.
//
// Split finds the end of the first packet in a buffer; Decode reads one whole
// packet; every packet's Append writes it. What Decode returns aliases the
// buffer it was given: clone what must outlive it. Publish, Puback, Pubrec,
// Pubrel and Pubcomp also decode into a caller's struct without allocating.
//
// Decode checks everything a packet alone can show to be wrong: reserved bits,
// lengths, UTF-8, wildcards in topic names, packet id zero, properties and
// reason codes that the packet does not allow, duplicates. An error is a
// *ReasonError with the code the peer is to be told; errors.Is tells
// ErrMalformed, ErrProtocol, ErrTooLarge and ErrUnsupportedVersion apart. What
// depends on direction or state (a client sending subscription identifiers, an
// alias above the maximum, no-local on a shared subscription, topic filters)
// is the broker's business.
//
// Message is what a broker routes. Frame is a Message encoded once for many
// receivers: each adds its own header, so that fan-out does not encode again.
// Both are read-only once they are shared between goroutines.
package mqtt

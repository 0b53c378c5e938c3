// Package sequence has MQTT 3.1.1 clients that keep books: a Publisher that
// numbers its messages and knows which were acknowledged, a Subscriber that
// knows which arrived and how often. Both hold a persistent session, reconnect
// for as long as they are told to, and play the QoS 2 state machines by the
// letter, so that what is missing or double in their books is the broker's
// doing.
package sequence

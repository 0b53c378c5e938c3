// Package powercut cuts the power of a whole board under load and sees whether
// the gateway kept its word.
//
// A board is an emulated ARM Linux (package rig) whose ext4 lies on a disk with
// a volatile write cache (package disk). A Cycle boots it, runs the gateway's
// own verification of its store, lets every client go on where the last cut
// left it, compares what was acknowledged with what arrives, and then loads the
// gateway from several clients at once until the power goes at a moment that
// the seed chose.
//
// What the clients know (Model) lives on the host and survives the cuts, as a
// real client's memory would: what was sent, what was acknowledged, which
// packet ids are in flight. A publisher of QoS 2 goes on as MQTT demands, with
// PUBREL for what was received and PUBLISH with DUP for what was not; a
// subscriber keeps the packet ids that it has not released. So a message that
// arrives twice at QoS 2 is the gateway's fault and nobody else's.
//
// The rig's own test runs a stand-in broker that forgets to sync, and must
// catch it.
package powercut

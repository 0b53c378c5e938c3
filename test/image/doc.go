// Package image boots the SD-card image, as it is, in QEMU by UEFI, and sees
// from the host that the gateway on it does its job: it asks for the password,
// shows the simulated sensors, and keeps what it acknowledged over the loss of
// power.
package image

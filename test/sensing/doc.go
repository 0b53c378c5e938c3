// Package sensing holds the tests of sensors and lines over a real connection: the gateway runs with a simulated board,
// and Eclipse Paho's clients ask, command and listen as a user's program does.
package sensing

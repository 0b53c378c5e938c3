// Package discovery tells Home Assistant what hangs on the gateway, by MQTT
// discovery in its device-based form: one retained document for the gateway and
// one for each sensor, under <prefix>/device/<object id>/config.
//
// Announcer owns those topics. It compares what it would say with what is
// retained already, so a restart that changes nothing writes nothing; a device
// or a component that is gone is taken back the way Home Assistant asks for.
// When Home Assistant comes up (its birth message on <prefix>/status) everything
// is said again.
package discovery

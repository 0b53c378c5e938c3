// Package sparkplug makes the gateway a Sparkplug B edge node (version 3.0 of
// the Eclipse specification): each sensor and each line is a device, each
// quantity a metric with a name and an alias.
//
// Node hears of every reading, state and availability from the sensors'
// scheduler and publishes births, data and deaths through the local broker, so
// they reach another broker over an ordinary bridge. It is alive while its
// server is there: always where hosts connect here, while the bridge is
// connected where they do not, and, where a primary host is named, while that
// host says that it is online. What is measured meanwhile waits in bounded
// memory and follows the births, marked as historical.
//
// One goroutine (Run) owns the state; Observe and Will may be called from
// anywhere and only queue or read.
package sparkplug

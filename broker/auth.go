package broker

import (
	"crypto/tls"

	"gatewayd/mqtt"
)

// Authorizer decides who may do what. Its methods are called from the event
// loops: they must not block and they hold up everyone else's traffic. Answers
// to Publish, Subscribe and Deliver are cached until Broker.Reload.
type Authorizer interface {
	// Connect decides on a CONNECT. It calls answer exactly once, at once or
	// later, from any goroutine.
	Connect(r *ConnectRequest, answer func(ConnectResult))
	// Publish says whether the client may publish to the topic name. It is asked
	// for wills too, at CONNECT and when they are published.
	Publish(c *Client, topic string, qos mqtt.QoS, retain bool) bool
	// Subscribe says whether the client may subscribe to the filter, which comes
	// without $share/group/.
	Subscribe(c *Client, filter string, qos mqtt.QoS) bool
	// Deliver says whether the client may receive messages of the topic name.
	Deliver(c *Client, topic string) bool
}

// Revalidator is an Authorizer that knows whether a client that is connected
// could still connect. Broker.Reload closes the connections of those that could
// not.
type Revalidator interface {
	StillValid(c *Client) bool
}

// EnhancedAuthorizer is an Authorizer that speaks authentication methods of
// MQTT 5 [MQTT5 4.12].
type EnhancedAuthorizer interface {
	Authorizer
	// Exchange takes the client's next authentication data; the first ones come
	// with CONNECT or with an AUTH of ReAuthenticate. state is what the last
	// answer of this exchange carried, nil at first. It calls answer exactly
	// once, from any goroutine.
	Exchange(r *ConnectRequest, method string, data []byte, state any, answer func(AuthStep))
}

// AuthStep is one answer in an enhanced authentication.
type AuthStep struct {
	// Code is ContinueAuthentication, Success, or why it failed.
	Code   mqtt.ReasonCode
	Data   []byte
	Reason string
	State  any
	// Result completes Success at CONNECT.
	Result ConnectResult
}

// ConnectRequest is what an Authorizer knows about a client that connects.
type ConnectRequest struct {
	Client
	Password    []byte
	HasUsername bool
	HasPassword bool
	Anonymous   bool     // the listener lets clients without a user name in
	Methods     []string // the authentication methods of the listener
}

// ConnectResult is the answer to a ConnectRequest.
type ConnectResult struct {
	Code            mqtt.ReasonCode // Success, or why not
	Reason          string          // reason string for MQTT 5
	ServerReference string          // for UseAnotherServer and ServerMoved
	Username        string          // not empty: the user name to go on with
}

// Client is who is at the other end. It is immutable.
type Client struct {
	ID       string
	Username string
	Listener string
	Remote   string // address and port
	Version  mqtt.Version
	TLS      *tls.ConnectionState // nil without TLS
	// CertName is the user name that the client certificate gave.
	CertName string
	// Method is the authentication method of MQTT 5 that the client has used.
	Method string
	// Local is set for a Link and for publishers inside the process: rights are
	// not checked for them.
	Local bool
}

// mayPublish, maySubscribe and mayDeliver ask the Authorizer, if there is one
// and the client is subject to it.
func (b *Broker) mayPublish(c *Client, topic string, qos mqtt.QoS, retain bool) bool {
	a := b.auth()
	return a == nil || c == nil || c.Local || a.Publish(c, topic, qos, retain)
}

func (b *Broker) maySubscribe(c *Client, filter string, qos mqtt.QoS) bool {
	a := b.auth()
	return a == nil || c == nil || c.Local || a.Subscribe(c, filter, qos)
}

func (b *Broker) mayDeliver(c *Client, topic string) bool {
	a := b.auth()
	return a == nil || c == nil || c.Local || a.Deliver(c, topic)
}

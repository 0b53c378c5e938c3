package mqtt

import "fmt"

// PropertyID names a property of MQTT 5 [MQTT5 2.2.2.2].
type PropertyID byte

// The properties.
const (
	PropPayloadFormat        PropertyID = 0x01
	PropMessageExpiry        PropertyID = 0x02
	PropContentType          PropertyID = 0x03
	PropResponseTopic        PropertyID = 0x08
	PropCorrelationData      PropertyID = 0x09
	PropSubscriptionID       PropertyID = 0x0B
	PropSessionExpiry        PropertyID = 0x11
	PropAssignedClientID     PropertyID = 0x12
	PropServerKeepAlive      PropertyID = 0x13
	PropAuthMethod           PropertyID = 0x15
	PropAuthData             PropertyID = 0x16
	PropRequestProblemInfo   PropertyID = 0x17
	PropWillDelay            PropertyID = 0x18
	PropRequestResponseInfo  PropertyID = 0x19
	PropResponseInfo         PropertyID = 0x1A
	PropServerReference      PropertyID = 0x1C
	PropReasonString         PropertyID = 0x1F
	PropReceiveMaximum       PropertyID = 0x21
	PropTopicAliasMaximum    PropertyID = 0x22
	PropTopicAlias           PropertyID = 0x23
	PropMaximumQoS           PropertyID = 0x24
	PropRetainAvailable      PropertyID = 0x25
	PropUser                 PropertyID = 0x26
	PropMaximumPacketSize    PropertyID = 0x27
	PropWildcardSubAvailable PropertyID = 0x28
	PropSubIDsAvailable      PropertyID = 0x29
	PropSharedSubAvailable   PropertyID = 0x2A

	maxProperty = PropSharedSubAvailable
)

// propertyKind is a property's data type.
type propertyKind byte

const (
	kindNone   propertyKind = iota
	kindFlag                // a byte that is 0 or 1
	kindUint16              // two bytes
	kindUint32              // four bytes
	kindVarint              // variable byte integer
	kindString              // UTF-8 string
	kindBinary              // length and bytes
	kindPair                // two UTF-8 strings
)

type propertyRule struct {
	name string // as flow scripts, tools and logs call it
	kind propertyKind
	in   packets
}

const (
	publishing = inWill | 1<<PUBLISH
	answering  = 1<<CONNACK | 1<<PUBACK | 1<<PUBREC | 1<<PUBREL | 1<<PUBCOMP | 1<<SUBACK | 1<<UNSUBACK | 1<<DISCONNECT | 1<<AUTH
	everywhere = answering | publishing | 1<<CONNECT | 1<<SUBSCRIBE | 1<<UNSUBSCRIBE
	connecting = 1<<CONNECT | 1<<CONNACK
)

// propertyTable says what type each property has and where it is valid
// [MQTT5 2.2.2.2 table 2-4].
var propertyTable = [maxProperty + 1]propertyRule{
	PropPayloadFormat:        {"payload-format-indicator", kindFlag, publishing},
	PropMessageExpiry:        {"message-expiry-interval", kindUint32, publishing},
	PropContentType:          {"content-type", kindString, publishing},
	PropResponseTopic:        {"response-topic", kindString, publishing},
	PropCorrelationData:      {"correlation-data", kindBinary, publishing},
	PropSubscriptionID:       {"subscription-identifier", kindVarint, 1<<PUBLISH | 1<<SUBSCRIBE},
	PropSessionExpiry:        {"session-expiry-interval", kindUint32, connecting | 1<<DISCONNECT},
	PropAssignedClientID:     {"assigned-client-identifier", kindString, 1 << CONNACK},
	PropServerKeepAlive:      {"server-keep-alive", kindUint16, 1 << CONNACK},
	PropAuthMethod:           {"authentication-method", kindString, connecting | 1<<AUTH},
	PropAuthData:             {"authentication-data", kindBinary, connecting | 1<<AUTH},
	PropRequestProblemInfo:   {"request-problem-information", kindFlag, 1 << CONNECT},
	PropWillDelay:            {"will-delay-interval", kindUint32, inWill},
	PropRequestResponseInfo:  {"request-response-information", kindFlag, 1 << CONNECT},
	PropResponseInfo:         {"response-information", kindString, 1 << CONNACK},
	PropServerReference:      {"server-reference", kindString, 1<<CONNACK | 1<<DISCONNECT},
	PropReasonString:         {"reason-string", kindString, answering},
	PropReceiveMaximum:       {"receive-maximum", kindUint16, connecting},
	PropTopicAliasMaximum:    {"topic-alias-maximum", kindUint16, connecting},
	PropTopicAlias:           {"topic-alias", kindUint16, 1 << PUBLISH},
	PropMaximumQoS:           {"maximum-qos", kindFlag, 1 << CONNACK},
	PropRetainAvailable:      {"retain-available", kindFlag, 1 << CONNACK},
	PropUser:                 {"user-property", kindPair, everywhere},
	PropMaximumPacketSize:    {"maximum-packet-size", kindUint32, connecting},
	PropWildcardSubAvailable: {"wildcard-subscription-available", kindFlag, 1 << CONNACK},
	PropSubIDsAvailable:      {"subscription-identifier-available", kindFlag, 1 << CONNACK},
	PropSharedSubAvailable:   {"shared-subscription-available", kindFlag, 1 << CONNACK},
}

// String returns the specification's name in lower case with hyphens.
func (id PropertyID) String() string {
	if id <= maxProperty && propertyTable[id].kind != kindNone {
		return propertyTable[id].name
	}
	return fmt.Sprintf("property 0x%02x", byte(id))
}

// AllowedIn reports whether packets of type t may carry the property; type 0
// stands for the will inside CONNECT.
func (id PropertyID) AllowedIn(t PacketType) bool {
	return id <= maxProperty && propertyTable[id].in.has(t)
}

// PropertySet is a set of properties, one bit each.
type PropertySet uint64

// PropertiesOf returns the set of ids.
func PropertiesOf(ids ...PropertyID) PropertySet {
	var s PropertySet
	for _, id := range ids {
		s |= 1 << id
	}
	return s
}

// Has reports whether id is in the set.
func (s PropertySet) Has(id PropertyID) bool { return s>>id&1 != 0 }

package mqtt

import (
	"errors"
	"fmt"
)

// ReasonCode is the result of an operation, in MQTT 5's numbering. The return
// codes of 3.x are translated on the way in and out.
type ReasonCode byte

// The reason codes [MQTT5 2.4].
const (
	Success                     ReasonCode = 0x00 // also normal disconnection, granted QoS 0
	GrantedQoS1                 ReasonCode = 0x01
	GrantedQoS2                 ReasonCode = 0x02
	DisconnectWithWill          ReasonCode = 0x04
	NoMatchingSubscribers       ReasonCode = 0x10
	NoSubscriptionExisted       ReasonCode = 0x11
	ContinueAuthentication      ReasonCode = 0x18
	ReAuthenticate              ReasonCode = 0x19
	UnspecifiedError            ReasonCode = 0x80
	MalformedPacket             ReasonCode = 0x81
	ProtocolError               ReasonCode = 0x82
	ImplementationSpecificError ReasonCode = 0x83
	UnsupportedProtocolVersion  ReasonCode = 0x84
	ClientIDNotValid            ReasonCode = 0x85
	BadUsernameOrPassword       ReasonCode = 0x86
	NotAuthorized               ReasonCode = 0x87
	ServerUnavailable           ReasonCode = 0x88
	ServerBusy                  ReasonCode = 0x89
	Banned                      ReasonCode = 0x8A
	ServerShuttingDown          ReasonCode = 0x8B
	BadAuthenticationMethod     ReasonCode = 0x8C
	KeepAliveTimeout            ReasonCode = 0x8D
	SessionTakenOver            ReasonCode = 0x8E
	TopicFilterInvalid          ReasonCode = 0x8F
	TopicNameInvalid            ReasonCode = 0x90
	PacketIDInUse               ReasonCode = 0x91
	PacketIDNotFound            ReasonCode = 0x92
	ReceiveMaximumExceeded      ReasonCode = 0x93
	TopicAliasInvalid           ReasonCode = 0x94
	PacketTooLarge              ReasonCode = 0x95
	MessageRateTooHigh          ReasonCode = 0x96
	QuotaExceeded               ReasonCode = 0x97
	AdministrativeAction        ReasonCode = 0x98
	PayloadFormatInvalid        ReasonCode = 0x99
	RetainNotSupported          ReasonCode = 0x9A
	QoSNotSupported             ReasonCode = 0x9B
	UseAnotherServer            ReasonCode = 0x9C
	ServerMoved                 ReasonCode = 0x9D
	SharedSubsNotSupported      ReasonCode = 0x9E
	ConnectionRateExceeded      ReasonCode = 0x9F
	MaximumConnectTime          ReasonCode = 0xA0
	SubIDsNotSupported          ReasonCode = 0xA1
	WildcardSubsNotSupported    ReasonCode = 0xA2
)

// packets is a set of packet types, one bit each; bit 0 stands for the will
// inside CONNECT, which has properties of its own.
type packets uint16

const inWill packets = 1

func in(types ...PacketType) packets {
	var s packets
	for _, t := range types {
		s |= 1 << t
	}
	return s
}

func (s packets) has(t PacketType) bool { return s>>t&1 != 0 }

type reasonRule struct {
	name string
	in   packets
}

// reasonTable says which packets may carry which code [MQTT5 2.4 table 2-6].
var reasonTable = [256]reasonRule{
	Success:                     {"success", in(CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH)},
	GrantedQoS1:                 {"granted QoS 1", in(SUBACK)},
	GrantedQoS2:                 {"granted QoS 2", in(SUBACK)},
	DisconnectWithWill:          {"disconnect with will message", in(DISCONNECT)},
	NoMatchingSubscribers:       {"no matching subscribers", in(PUBACK, PUBREC)},
	NoSubscriptionExisted:       {"no subscription existed", in(UNSUBACK)},
	ContinueAuthentication:      {"continue authentication", in(AUTH)},
	ReAuthenticate:              {"re-authenticate", in(AUTH)},
	UnspecifiedError:            {"unspecified error", in(CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT)},
	MalformedPacket:             {"malformed packet", in(CONNACK, DISCONNECT)},
	ProtocolError:               {"protocol error", in(CONNACK, DISCONNECT)},
	ImplementationSpecificError: {"implementation specific error", in(CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT)},
	UnsupportedProtocolVersion:  {"unsupported protocol version", in(CONNACK)},
	ClientIDNotValid:            {"client identifier not valid", in(CONNACK)},
	BadUsernameOrPassword:       {"bad user name or password", in(CONNACK)},
	NotAuthorized:               {"not authorized", in(CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT)},
	ServerUnavailable:           {"server unavailable", in(CONNACK)},
	ServerBusy:                  {"server busy", in(CONNACK, DISCONNECT)},
	Banned:                      {"banned", in(CONNACK)},
	ServerShuttingDown:          {"server shutting down", in(DISCONNECT)},
	BadAuthenticationMethod:     {"bad authentication method", in(CONNACK, DISCONNECT)},
	KeepAliveTimeout:            {"keep alive timeout", in(DISCONNECT)},
	SessionTakenOver:            {"session taken over", in(DISCONNECT)},
	TopicFilterInvalid:          {"topic filter invalid", in(SUBACK, UNSUBACK, DISCONNECT)},
	TopicNameInvalid:            {"topic name invalid", in(CONNACK, PUBACK, PUBREC, DISCONNECT)},
	PacketIDInUse:               {"packet identifier in use", in(PUBACK, PUBREC, SUBACK, UNSUBACK)},
	PacketIDNotFound:            {"packet identifier not found", in(PUBREL, PUBCOMP)},
	ReceiveMaximumExceeded:      {"receive maximum exceeded", in(DISCONNECT)},
	TopicAliasInvalid:           {"topic alias invalid", in(DISCONNECT)},
	PacketTooLarge:              {"packet too large", in(CONNACK, DISCONNECT)},
	MessageRateTooHigh:          {"message rate too high", in(DISCONNECT)},
	QuotaExceeded:               {"quota exceeded", in(CONNACK, PUBACK, PUBREC, SUBACK, DISCONNECT)},
	AdministrativeAction:        {"administrative action", in(DISCONNECT)},
	PayloadFormatInvalid:        {"payload format invalid", in(CONNACK, PUBACK, PUBREC, DISCONNECT)},
	RetainNotSupported:          {"retain not supported", in(CONNACK, DISCONNECT)},
	QoSNotSupported:             {"QoS not supported", in(CONNACK, DISCONNECT)},
	UseAnotherServer:            {"use another server", in(CONNACK, DISCONNECT)},
	ServerMoved:                 {"server moved", in(CONNACK, DISCONNECT)},
	SharedSubsNotSupported:      {"shared subscriptions not supported", in(SUBACK, DISCONNECT)},
	ConnectionRateExceeded:      {"connection rate exceeded", in(CONNACK, DISCONNECT)},
	MaximumConnectTime:          {"maximum connect time", in(DISCONNECT)},
	SubIDsNotSupported:          {"subscription identifiers not supported", in(SUBACK, DISCONNECT)},
	WildcardSubsNotSupported:    {"wildcard subscriptions not supported", in(SUBACK, DISCONNECT)},
}

// Failed reports whether the code tells of a failure.
func (c ReasonCode) Failed() bool { return c >= 0x80 }

// AllowedIn reports whether a packet of type t may carry the code.
func (c ReasonCode) AllowedIn(t PacketType) bool { return reasonTable[c].in.has(t) }

// String returns the specification's name in lower case.
func (c ReasonCode) String() string {
	if n := reasonTable[c].name; n != "" {
		return n
	}
	return fmt.Sprintf("reason code 0x%02x", byte(c))
}

// returnCode31 translates a reason code to a CONNACK return code of 3.x.
func returnCode31(c ReasonCode) byte {
	switch c {
	case Success:
		return 0
	case UnsupportedProtocolVersion:
		return 1
	case ClientIDNotValid:
		return 2
	case BadUsernameOrPassword:
		return 4
	case NotAuthorized, Banned, BadAuthenticationMethod:
		return 5
	}
	return 3 // server unavailable: the only one that says nothing of the client
}

var fromReturnCode31 = [...]ReasonCode{
	Success, UnsupportedProtocolVersion, ClientIDNotValid, ServerUnavailable, BadUsernameOrPassword, NotAuthorized,
}

// The kinds of error Decode and Split return, always inside a *ReasonError.
var (
	ErrMalformed          = errors.New("malformed packet")
	ErrProtocol           = errors.New("protocol error")
	ErrTooLarge           = errors.New("packet too large")
	ErrUnsupportedVersion = errors.New("unsupported protocol version")
)

// ReasonError carries the code the peer is told; Err says why, for our log.
type ReasonError struct {
	Code ReasonCode
	Err  error
}

func (e *ReasonError) Error() string { return e.Code.String() + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *ReasonError) Unwrap() error { return e.Err }

// CodeOf returns the code of the *ReasonError in err's chain, or
// UnspecifiedError when there is none, or Success when err is nil.
func CodeOf(err error) ReasonCode {
	if err == nil {
		return Success
	}
	var re *ReasonError
	if errors.As(err, &re) {
		return re.Code
	}
	return UnspecifiedError
}

// VersionError is the cause of a *ReasonError for a CONNECT whose protocol
// name or level is not ours. A server answers with the CONNACK of the level
// the client asked for: 0x84 when V5Form, return code 1 otherwise.
type VersionError struct {
	Name  string
	Level byte
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("%v: name %q, level %d", ErrUnsupportedVersion, e.Name, e.Level)
}

// Unwrap returns ErrUnsupportedVersion.
func (e *VersionError) Unwrap() error { return ErrUnsupportedVersion }

// V5Form reports whether the client is likely to read a CONNACK of MQTT 5.
func (e *VersionError) V5Form() bool { return e.Level&^bridgeBit > byte(V311) }

// detail is a kind of error together with what was wrong.
type detail struct {
	kind error
	what string
}

func (d *detail) Error() string { return d.what }
func (d *detail) Unwrap() error { return d.kind }

func malformed(what string) error {
	return &ReasonError{MalformedPacket, &detail{ErrMalformed, what}}
}

func protocolError(what string) error {
	return &ReasonError{ProtocolError, &detail{ErrProtocol, what}}
}

func reasonError(code ReasonCode, what string) error {
	return &ReasonError{code, &detail{ErrProtocol, what}}
}

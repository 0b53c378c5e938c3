// Package mqtttest runs scripted MQTT conversations against a server: flows.
//
// A flow is a text file, one step a line. Everything from a # that follows
// white space (or starts the line) is a comment; name the statement the flow
// proves in one. Clients have names of letters and digits and connect the
// first time they send.
//
//	versions 4 5                 run the whole flow once for each version (default 5)
//	A> CONNECT id=a clean=1      A sends a packet
//	A> hex 30 03 00 01 61        A sends raw bytes
//	A< CONNACK sp=0 code=0       A's next packet must be this one
//	A<~ PUBACK pid=1             the first packet of A's that matches, later or earlier ones stay
//	A< hex 40 02 00 01           A's next packet must be these bytes
//	A< nothing 50ms              A receives no packet for so long
//	A< closed                    the server ends A's connection, no packet before it unless there was a drain
//	A! close                     A ends its connection without DISCONNECT
//	A! open                      A connects without sending
//	A! drain 50ms                throws away what comes until it is quiet for so long
//	A! version 4                 A speaks this version (a CONNECT packet sets it itself)
//	wait 20ms                    nothing happens for so long
//	! restart now                calls the Runner's Hook with restart, now
//
// A packet is its type in capitals and fields, name=value. A value with spaces
// is quoted as in Go. Binary values are text, x:0aff for hexadecimal, or
// len:1000 for so many bytes of a pattern. The fields:
//
//	CONNECT      v= id= clean= (1) keepalive= bridge= username= password=
//	             will.topic= will.payload= will.qos= will.retain= will.<property>=
//	CONNACK      sp= code=
//	PUBLISH      topic= payload= qos= retain= dup= pid=
//	PUBACK PUBREC PUBREL PUBCOMP     pid= code=
//	SUBSCRIBE    pid= filter= qos= nl= rap= rh= (filter= repeats, options follow theirs)
//	SUBACK UNSUBACK                  pid= codes=0,1,0x87
//	UNSUBSCRIBE  pid= filter= (repeats)
//	DISCONNECT AUTH                  code=
//
// and in 5.0 every property by the specification's name in lower case, as in
// message-expiry-interval=10 or user-property=name:value (repeats).
//
// What an expected packet does not name must be zero, but for the packet id
// and, outside PUBLISH, the properties, which may be anything; a last field of
// ... lets everything else be anything. A value of * matches anything that is
// there. $name takes the value it meets first and stands for it from then on,
// when sending too: A< PUBLISH qos=1 pid=$p, then A> PUBACK pid=$p. What has a /
// is a topic, as $share/group/filter. A property of - must be absent.
package mqtttest

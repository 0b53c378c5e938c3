package mqtt

import (
	"errors"
	"strings"
	"testing"
)

// TestRefused: what a packet alone shows to be wrong, with the code to send.
func TestRefused(t *testing.T) {
	const connect5 = "0004 4d515454 05 "
	for _, tc := range []struct {
		why  string
		v    Version
		wire string
		code ReasonCode
	}{
		{"packet type 0", V5, "00 00", MalformedPacket},
		{"shorter than its length", V5, "c0 01", MalformedPacket},
		{"longer than its length", V5, "c0 00 00", MalformedPacket},
		{"flags of PINGREQ [MQTT-2.1.3-1]", V5, "c1 00", MalformedPacket},
		{"flags of PUBREL", V5, "60 02 0001", MalformedPacket},
		{"flags of SUBSCRIBE", V311, "80 06 0001 0001 61 00", MalformedPacket},
		{"length not shortest [MQTT-1.5.5-1]", V5, "c0 8000", MalformedPacket},
		{"CONNECT's length not shortest [MQTT-1.5.5-1]", V5, "10 8e00 0004 4d515454 05 02 003c 00 0001 61", MalformedPacket},
		{"AUTH before 5", V311, "f0 00", MalformedPacket},

		{"protocol name", V5, "10 0c 0004 4d515458 05 02 0000 00 0000", MalformedPacket},
		{"level 6", V5, "10 0d 0004 4d515454 06 02 0000 00 0000", UnsupportedProtocolVersion},
		{"level 5 with the bridge bit", V5, "10 0d 0004 4d515454 85 02 0000 00 0000", UnsupportedProtocolVersion},
		{"MQIsdp 4", V5, "10 0e 0006 4d5149736470 04 02 0000 0000", UnsupportedProtocolVersion},
		{"MQTT 3", V5, "10 0c 0004 4d515454 03 02 0000 0000", UnsupportedProtocolVersion},
		{"reserved flag [MQTT-3.1.2-3]", V5, "10 0d " + connect5 + "03 0000 00 0000", MalformedPacket},
		{"will QoS without will [MQTT-3.1.2-11]", V5, "10 0d " + connect5 + "0a 0000 00 0000", MalformedPacket},
		{"will retain without will [MQTT-3.1.2-13]", V5, "10 0d " + connect5 + "22 0000 00 0000", MalformedPacket},
		{"will QoS 3 [MQTT-3.1.2-12]", V5, "10 13 " + connect5 + "1e 0000 00 0000 00 0001 61 0000", MalformedPacket},
		{"password alone in 3.1.1 [MQTT-3.1.2-22]", V311, "10 0f 0004 4d515454 04 42 0000 0000 0001 70", MalformedPacket},
		{"will topic with wildcard", V5, "10 13 " + connect5 + "06 0000 00 0000 00 0001 23 0000", TopicNameInvalid},
		{"will topic empty", V5, "10 12 " + connect5 + "06 0000 00 0000 00 0000 0000", TopicNameInvalid},
		{"bytes behind", V5, "10 0e " + connect5 + "02 0000 00 0000 00", MalformedPacket},
		{"user name missing", V5, "10 0d " + connect5 + "82 0000 00 0000", MalformedPacket},
		{"client id with U+0000", V5, "10 0e " + connect5 + "02 0000 00 0001 00", MalformedPacket},
		{"receive maximum 0", V5, "10 10 " + connect5 + "02 0000 03 21 0000 0000", ProtocolError},
		{"maximum packet 0", V5, "10 12 " + connect5 + "02 0000 05 27 00000000 0000", ProtocolError},
		{"request problem 2", V5, "10 0f " + connect5 + "02 0000 02 17 02 0000", ProtocolError},
		{"authentication data alone", V5, "10 11 " + connect5 + "02 0000 04 16 0001 61 0000", ProtocolError},
		{"property of another packet", V5, "10 0f " + connect5 + "02 0000 02 24 01 0000", MalformedPacket},
		{"will delay outside the will", V5, "10 12 " + connect5 + "02 0000 05 18 00000001 0000", MalformedPacket},
		{"unknown property", V5, "10 0f " + connect5 + "02 0000 02 7f 01 0000", MalformedPacket},
		{"property length past the end", V5, "10 0d " + connect5 + "02 0000 05 0000", MalformedPacket},
		{"property cut by the property length", V5, "10 0f " + connect5 + "02 0000 02 21 00 0000", MalformedPacket},

		{"reserved connack flags [MQTT-3.2.2-1]", V5, "20 03 02 00 00", MalformedPacket},
		{"return code 6", V311, "20 02 00 06", ProtocolError},
		{"code of another packet", V5, "20 03 00 92 00", ProtocolError},
		{"topic alias in CONNACK", V5, "20 06 00 00 03 23 0001", MalformedPacket},

		{"QoS 3 [MQTT-3.3.1-4]", V5, "36 06 0001 61 0001 00", MalformedPacket},
		{"DUP at QoS 0 [MQTT-3.3.1-2]", V5, "38 04 0001 61 00", MalformedPacket},
		{"topic with + [MQTT-3.3.2-2]", V5, "30 04 0001 2b 00", TopicNameInvalid},
		{"long topic with #", V311, "30 0f 000d 6161616161616161612f23616d", TopicNameInvalid},
		{"topic with U+0000 [MQTT-1.5.4-2]", V311, "30 03 0001 00", MalformedPacket},
		{"topic with a surrogate [MQTT-1.5.4-1]", V311, "30 05 0003 eda080", MalformedPacket},
		{"topic with an overlong form", V311, "30 04 0002 c0af", MalformedPacket},
		{"topic with half a character", V311, "30 03 0001 c3", MalformedPacket},
		{"empty topic in 3.1.1 [MQTT-4.7.3-1]", V311, "30 02 0000", TopicNameInvalid},
		{"empty topic without alias", V5, "30 03 0000 00", ProtocolError},
		{"packet id 0 [MQTT-2.2.1-3]", V5, "32 06 0001 61 0000 00", ProtocolError},
		{"packet id missing", V311, "32 04 0001 61 00", MalformedPacket},
		{"alias 0 [MQTT-3.3.2-8]", V5, "30 07 0001 61 03 23 0000", TopicAliasInvalid},
		{"alias twice", V5, "30 0a 0001 61 06 23 0001 23 0001", ProtocolError},
		{"subscription id 0", V5, "30 06 0001 61 02 0b 00", ProtocolError},
		{"subscription id not shortest", V5, "30 07 0001 61 03 0b 8100", MalformedPacket},
		{"response topic with wildcard [MQTT-3.3.2-14]", V5, "30 08 0001 61 04 08 0001 23", ProtocolError},
		{"payload format 2", V5, "30 06 0001 61 02 01 02", ProtocolError},
		{"user property cut", V5, "30 08 0001 61 04 26 0001 61", MalformedPacket},

		{"PUBACK of id 0", V311, "40 02 0000", ProtocolError},
		{"PUBACK with PUBREL's code", V5, "40 03 0001 92", ProtocolError},
		{"PUBCOMP with quota exceeded", V5, "70 03 0001 97", ProtocolError},
		{"PUBACK of 3.1.1 with a code", V311, "40 03 0001 00", MalformedPacket},
		{"SUBSCRIBE without a filter [MQTT-3.8.3-2]", V5, "82 03 0001 00", ProtocolError},
		{"empty filter", V5, "82 06 0001 00 0000 00", TopicFilterInvalid},
		{"reserved options [MQTT-3.8.3-5]", V5, "82 07 0001 00 0001 61 40", MalformedPacket},
		{"options of 5 in 3.1.1", V311, "82 06 0001 0001 61 04", MalformedPacket},
		{"subscription QoS 3", V311, "82 06 0001 0001 61 03", MalformedPacket},
		{"retain handling 3", V5, "82 07 0001 00 0001 61 30", ProtocolError},
		{"two subscription ids", V5, "82 0b 0001 04 0b01 0b02 0001 61 00", ProtocolError},
		{"options missing", V311, "82 05 0001 0001 61", MalformedPacket},
		{"SUBACK without codes", V311, "90 02 0001", ProtocolError},
		{"SUBACK of 3.1.1 with 0x87", V311, "90 03 0001 87", MalformedPacket},
		{"UNSUBSCRIBE without a filter [MQTT-3.10.3-2]", V311, "a2 02 0001", ProtocolError},
		{"UNSUBACK of 3.1.1 with codes", V311, "b0 03 0001 00", MalformedPacket},
		{"DISCONNECT of 3.1.1 with a code", V311, "e0 01 00", MalformedPacket},
		{"DISCONNECT with a CONNACK code", V5, "e0 01 84", ProtocolError},
		{"AUTH with success and data alone", V5, "f0 06 18 04 16 0001 61", ProtocolError},
	} {
		p, err := Decode(tc.v, unhex(t, tc.wire))
		if err == nil {
			t.Errorf("%s: accepted as %#v", tc.why, p)
			continue
		}
		if got := CodeOf(err); got != tc.code {
			t.Errorf("%s: code %v (%v), want %v", tc.why, got, err, tc.code)
		}
	}
}

func TestAcceptedOddities(t *testing.T) {
	for _, tc := range []struct {
		why  string
		v    Version
		wire string
	}{
		{"non-character U+FFFF in a topic", V5, "30 06 0003 efbfbf 00"},
		{"control character in a topic", V5, "30 04 0001 01 00"},
		{"password alone in 5.0", V5, "10 10 0004 4d515454 05 42 0000 00 0000 0001 70"},
		{"reserved connect flag in 3.1", V31, "10 0f 0006 4d5149736470 03 03 0000 0001 61"},
		{"DUP in PUBREL of 3.1", V31, "6a 02 0001"},
		{"padded CONNECT of 3.1.1", V311, "10 8c00 0004 4d515454 04 02 0000 0000"},
	} {
		if _, err := Decode(tc.v, unhex(t, tc.wire)); err != nil {
			t.Errorf("%s: %v", tc.why, err)
		}
	}
}

func TestVersionError(t *testing.T) {
	_, err := Decode(0, unhex(t, "10 0d 0004 4d515454 06 02 0000 00 0000"))
	var ve *VersionError
	if !errors.As(err, &ve) || !errors.Is(err, ErrUnsupportedVersion) || ve.Level != 6 || !ve.V5Form() {
		t.Errorf("level 6 gave %v (%+v)", err, ve)
	}
	_, err = Decode(0, unhex(t, "10 0c 0004 4d515454 02 02 0000 0000"))
	if !errors.As(err, &ve) || ve.V5Form() {
		t.Errorf("level 2 gave %v (%+v)", err, ve)
	}
}

func TestSplit(t *testing.T) {
	for _, tc := range []struct {
		wire string
		max  int
		n    int
		code ReasonCode
	}{
		{"", 0, 0, Success},
		{"c0", 0, 0, Success},
		{"c0 00", 0, 2, Success},
		{"c0 00 c0 00", 0, 2, Success},
		{"30 03 0001", 0, 0, Success},
		{"30 03 0001 61 30", 0, 5, Success},
		{"30 80", 0, 0, Success},
		{"30 80 80 80", 0, 0, Success},
		{"30 80 80 80 80", 0, 0, MalformedPacket},
		{"30 80 80 80 80 01", 0, 0, MalformedPacket},
		{"30 ff ff ff 7f", 0, 0, Success},
		{"30 ff ff ff 7f", 1000, 0, PacketTooLarge}, // before its body is here
		{"30 03 0001 61", 5, 5, Success},
		{"30 03 0001 61", 4, 0, PacketTooLarge},
	} {
		n, err := Split(unhex(t, tc.wire), tc.max)
		if n != tc.n || CodeOf(err) != tc.code {
			t.Errorf("Split(%s, %d) = %d, %v; want %d, %v", tc.wire, tc.max, n, err, tc.n, tc.code)
		}
	}
	if n := Length(unhex(t, "30 ff ff ff 7f")); n != MaxRemainingLength+5 {
		t.Errorf("Length of the longest packet is %d", n)
	}
}

// TestReasonTable: no code without a name, no name without a packet.
func TestReasonTable(t *testing.T) {
	for c := range reasonTable {
		if (reasonTable[c].name == "") != (reasonTable[c].in == 0) {
			t.Errorf("code 0x%02x: name %q, packets %b", c, reasonTable[c].name, reasonTable[c].in)
		}
	}
	if got := ReasonCode(0x77).String(); !strings.Contains(got, "0x77") {
		t.Errorf("unknown code is called %q", got)
	}
	if Success.Failed() || !QuotaExceeded.Failed() {
		t.Error("Failed is wrong at 0x80")
	}
}

func TestStringsAreCutAtACharacter(t *testing.T) {
	long := strings.Repeat("é", 40000)
	b := appendString(nil, long)
	if n := int(b[0])<<8 | int(b[1]); n != 65534 || len(b) != 2+n || !ValidUTF8(b[2:]) {
		t.Errorf("80,000 bytes became %d, length field %d", len(b)-2, n)
	}
}

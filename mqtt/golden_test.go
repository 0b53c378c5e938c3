package mqtt

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "write the golden files anew")

// samples is every packet, in every shape that differs on the wire.
func samples() map[string]Packet {
	user := []UserProperty{{"site", "hall"}, {"site", "attic"}, {"", ""}}
	answer := func() *Properties { return &Properties{ReasonString: "because", User: user} }
	return map[string]Packet{
		"connect-minimal": &Connect{CleanStart: true},
		"connect-full": &Connect{KeepAlive: 60, ClientID: "gw-hall", HasUsername: true, Username: "ünal",
			HasPassword: true, Password: []byte{0, 1, 0xff},
			Properties: &Properties{SessionExpiry: 0xffffffff, ReceiveMaximum: 20, MaximumPacketSize: 2000000, TopicAliasMaximum: 10,
				RequestResponseInfo: 1, Present: PropertiesOf(PropRequestProblemInfo), AuthMethod: "SCRAM", AuthData: []byte{7}, User: user},
			Will: &Will{Topic: "gateway/hall/status", Payload: []byte("offline"), QoS: 2, Retain: true,
				Properties: &Properties{WillDelay: 30, MessageExpiry: 3600, PayloadFormat: 1, ContentType: "text/plain",
					ResponseTopic: "back", Correlation: []byte{1, 2}, User: user}}},
		"connect-bridge": &Connect{Bridge: true, ClientID: "b", KeepAlive: 1, HasUsername: true},
		"connack":        &Connack{},
		"connack-present": &Connack{SessionPresent: true, Properties: &Properties{SessionExpiry: 7200, ReceiveMaximum: 10,
			Present:           PropertiesOf(PropMaximumQoS, PropRetainAvailable, PropWildcardSubAvailable, PropSubIDsAvailable, PropSharedSubAvailable),
			MaximumPacketSize: 1 << 20, AssignedClientID: "auto-1", TopicAliasMaximum: 5, ReasonString: "welcome", User: user,
			ServerKeepAlive: 1200, ResponseInfo: "resp/", ServerReference: "other:1883", AuthMethod: "SCRAM", AuthData: []byte{}}},
		"connack-refused":     &Connack{Code: NotAuthorized},
		"publish-qos0":        &Publish{Topic: "room1/temperature", Payload: []byte("26.3")},
		"publish-empty":       &Publish{Topic: "a", Retain: true},
		"publish-qos1-dup":    &Publish{Topic: "room1/temperature", Payload: []byte("26.3"), QoS: 1, Dup: true, Retain: true, ID: 0x1234},
		"publish-qos2":        &Publish{Topic: "räume/😀", Payload: []byte{0}, QoS: 2, ID: 65535},
		"publish-127":         &Publish{Topic: "t", Payload: make([]byte, 127-3)},
		"publish-16383":       &Publish{Topic: "t", Payload: make([]byte, 16383-3)},
		"publish-16384":       &Publish{Topic: "t", Payload: make([]byte, 16384-3)},
		"publish-properties":  &Publish{Topic: "t", Payload: []byte("p"), QoS: 1, ID: 1, Properties: &Properties{PayloadFormat: 1, MessageExpiry: 60, TopicAlias: 3, ResponseTopic: "r/t", Correlation: []byte{9}, User: user, SubscriptionIDs: []uint32{1, 128, 268435455}, ContentType: "text/plain"}},
		"puback":              &Puback{ID: 7},
		"puback-code":         &Puback{ID: 7, Code: NoMatchingSubscribers},
		"puback-properties":   &Puback{ID: 7, Code: QuotaExceeded, Properties: answer()},
		"pubrec":              &Pubrec{ID: 8},
		"pubrec-properties":   &Pubrec{ID: 8, Code: PacketIDInUse, Properties: answer()},
		"pubrel":              &Pubrel{ID: 9},
		"pubrel-properties":   &Pubrel{ID: 9, Code: PacketIDNotFound, Properties: answer()},
		"pubcomp":             &Pubcomp{ID: 10},
		"pubcomp-properties":  &Pubcomp{ID: 10, Code: PacketIDNotFound, Properties: answer()},
		"subscribe":           &Subscribe{ID: 11, Requests: []Request{{"a/#", 1}, {"+/b", 2}, {"$share/g/c", 0}}},
		"subscribe-options":   &Subscribe{ID: 11, Properties: &Properties{SubscriptionIDs: []uint32{200}, User: user}, Requests: []Request{{"a/#", Options(1).WithRetainHandling(2) | OptionNoLocal | OptionRetainAsPublished}}},
		"suback":              &Suback{ID: 11, Codes: []ReasonCode{Success, GrantedQoS1, GrantedQoS2, UnspecifiedError}},
		"suback-properties":   &Suback{ID: 11, Codes: []ReasonCode{SharedSubsNotSupported}, Properties: answer()},
		"unsubscribe":         &Unsubscribe{ID: 12, Filters: []string{"a/#", "+/b"}},
		"unsubscribe-user":    &Unsubscribe{ID: 12, Filters: []string{"a"}, Properties: &Properties{User: user}},
		"unsuback":            &Unsuback{ID: 12, Codes: []ReasonCode{Success, NoSubscriptionExisted}},
		"unsuback-properties": &Unsuback{ID: 12, Codes: []ReasonCode{NotAuthorized}, Properties: answer()},
		"pingreq":             &Pingreq{},
		"pingresp":            &Pingresp{},
		"disconnect":          &Disconnect{},
		"disconnect-will":     &Disconnect{Code: DisconnectWithWill},
		"disconnect-moved":    &Disconnect{Code: ServerMoved, Properties: &Properties{ServerReference: "b:1883", ReasonString: "gone", User: user}},
		"disconnect-expiry":   &Disconnect{Properties: &Properties{Present: PropertiesOf(PropSessionExpiry)}},
		"auth":                &Auth{},
		"auth-continue":       &Auth{Code: ContinueAuthentication, Properties: &Properties{AuthMethod: "SCRAM", AuthData: []byte{1, 2, 3}, User: user, ReasonString: "step"}},
	}
}

// only5 is what 3.x has no form for.
func only5(name string) bool { return strings.HasPrefix(name, "auth") }

var sameFields = cmp.Options{
	cmpopts.IgnoreFields(Properties{}, "Present"),
	cmpopts.IgnoreUnexported(Publish{}, Puback{}, Pubrec{}, Pubrel{}, Pubcomp{}),
	cmpopts.EquateEmpty(),
}

// TestGolden compares what every packet is on the wire with bytes that were
// read against the specification once, and reads them back.
func TestGolden(t *testing.T) {
	for name, p := range samples() {
		for _, v := range []Version{V31, V311, V5} {
			if v != V5 && only5(name) || v == V5 && name == "connect-bridge" {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s", name, v), func(t *testing.T) {
				wire := p.Append([]byte("prefix"), v)[len("prefix"):]
				golden(t, fmt.Sprintf("%s.%s.hex", name, v), wire)
				back, err := Decode(v, wire)
				if err != nil {
					t.Fatalf("Decode(% x): %v", wire, err)
				}
				if again := back.Append(nil, v); string(again) != string(wire) {
					t.Errorf("read and written again\n% x, want\n% x", again, wire)
				}
				if c, ok := back.(*Connect); ok {
					if c.Version != v {
						t.Errorf("version %v read from a CONNECT of %v", c.Version, v)
					}
					c.Version = 0
				}
				if v == V5 {
					if diff := cmp.Diff(p, back, sameFields); diff != "" {
						t.Errorf("read back differs (-written +read):\n%s", diff)
					}
				}
			})
		}
	}
}

// golden compares wire with the file, sixteen bytes a line; a long run of
// zeros at the end is cut to its length.
func golden(t *testing.T, name string, wire []byte) {
	t.Helper()
	body := wire
	if len(body) > 512 {
		body = body[:64]
	}
	var b strings.Builder
	for i := 0; i < len(body); i += 16 {
		fmt.Fprintf(&b, "% x\n", body[i:min(i+16, len(body))])
	}
	fmt.Fprintf(&b, "%d bytes\n", len(wire))
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != b.String() {
		t.Errorf("%s:\n%s, want\n%s", file, b.String(), want)
	}
}

// TestSpecificationExamples are byte sequences built from the specification's
// own tables by hand, so that an error in the golden files is noticed.
func TestSpecificationExamples(t *testing.T) {
	for _, tc := range []struct {
		v    Version
		wire string
		want Packet
	}{
		{V311, "10 10 0004 4d515454 04 02 000a 0004 74657374", &Connect{Version: V311, CleanStart: true, KeepAlive: 10, ClientID: "test"}},
		{V31, "10 12 0006 4d5149736470 83 02 000a 0004 74657374", &Connect{Version: V31, Bridge: true, CleanStart: true, KeepAlive: 10, ClientID: "test"}},
		{V5, "10 12 0004 4d515454 05 02 000a 05 11 0000000a 0000", &Connect{Version: V5, CleanStart: true, KeepAlive: 10, Properties: &Properties{SessionExpiry: 10}}},
		{V311, "20 02 01 00", &Connack{SessionPresent: true}},
		{V311, "20 02 00 05", &Connack{Code: NotAuthorized}},
		{V5, "20 06 00 00 03 21 000a", &Connack{Properties: &Properties{ReceiveMaximum: 10}}},
		{V311, "32 09 0003 612f62 000a 6869", &Publish{QoS: 1, Topic: "a/b", ID: 10, Payload: []byte("hi")}},
		{V5, "32 0d 0003 612f62 000a 03 23 0001 6869", &Publish{QoS: 1, Topic: "a/b", ID: 10, Properties: &Properties{TopicAlias: 1}, Payload: []byte("hi")}},
		{V5, "40 02 000a", &Puback{ID: 10}},
		{V5, "40 03 000a 10", &Puback{ID: 10, Code: NoMatchingSubscribers}},
		{V5, "62 04 000a 92 00", &Pubrel{ID: 10, Code: PacketIDNotFound}},
		{V311, "82 0e 000a 0003 612f62 01 0003 632f64 02", &Subscribe{ID: 10, Requests: []Request{{"a/b", 1}, {"c/d", 2}}}},
		{V31, "8a 08 000a 0003 612f62 01", &Subscribe{ID: 10, Requests: []Request{{"a/b", 1}}}}, // 3.1: DUP
		{V5, "90 05 000a 00 01 80", &Suback{ID: 10, Codes: []ReasonCode{GrantedQoS1, UnspecifiedError}}},
		{V311, "b0 02 000a", &Unsuback{ID: 10}},
		{V5, "e0 00", &Disconnect{}},
		{V5, "e0 01 04", &Disconnect{Code: DisconnectWithWill}},
		{V5, "f0 00", &Auth{}},
		{V311, "30 8300 0001 61", &Publish{Topic: "a"}}, // 3.x: a padded length is read
	} {
		b := unhex(t, tc.wire)
		got, err := Decode(tc.v, b)
		if err != nil {
			t.Errorf("%s %s: %v", tc.v, tc.wire, err)
			continue
		}
		if diff := cmp.Diff(tc.want, got, sameFields); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", tc.v, tc.wire, diff)
		}
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

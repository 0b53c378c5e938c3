package mqtttest

import (
	"net"
	"strings"
	"testing"
	"time"

	"gatewayd/mqtt"
)

// echo is a server of one connection: it accepts, acknowledges, and sends
// every message of the client back to it; a topic of "quit" ends it.
func echo(conn net.Conn) {
	defer conn.Close()
	v := mqtt.V5
	var buf []byte
	chunk := make([]byte, 4096)
	for {
		n, err := conn.Read(chunk)
		if err != nil {
			return
		}
		buf = append(buf, chunk[:n]...)
		for {
			size, _ := mqtt.Split(buf, 0)
			if size == 0 {
				break
			}
			p, err := mqtt.Decode(v, buf[:size])
			if err != nil {
				return
			}
			var out []byte
			switch p := p.(type) {
			case *mqtt.Connect:
				v = p.Version
				out = (&mqtt.Connack{Properties: &mqtt.Properties{ReceiveMaximum: 7}}).Append(nil, v)
			case *mqtt.Publish:
				if p.Topic == "quit" {
					return
				}
				out = (&mqtt.Puback{ID: p.ID}).Append(nil, v)
				p.ID = 77
				out = p.Append(out, v)
			}
			if len(out) > 0 {
				if _, err := conn.Write(out); err != nil {
					return
				}
			}
			buf = append(buf[:0], buf[size:]...)
		}
	}
}

func pipeRunner(*testing.T) Runner {
	return Runner{Timeout: 500 * time.Millisecond, Dial: func() (net.Conn, error) {
		a, b := net.Pipe()
		go echo(b)
		return a, nil
	}}
}

func TestDir(t *testing.T) { Dir(t, "testdata/*.txt", pipeRunner) }

// TestDrain: what comes later than drain waits does not matter when the end is
// what is expected.
func TestDrain(t *testing.T) {
	const flow = "A> CONNECT id=a\nA< CONNACK\nA> PUBLISH topic=x qos=1 pid=3\nA> PUBLISH topic=quit\nA! drain 0s\nA< closed"
	for range 20 {
		if err := pipeRunner(t).Text(flow); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFailuresAreNamed(t *testing.T) {
	const hello = "A> CONNECT id=a\nA< CONNACK\n"
	for _, tc := range []struct{ flow, want string }{
		{"A> CONNECT id=a\nA< CONNACK sp=1", `sp is "0", want "1"`},
		{"A> CONNECT id=a\nA< CONNACK receive-maximum=8", `receive-maximum is "7", want "8"`},
		{"A> CONNECT id=a\nA< CONNACK receive-maximum=-", `receive-maximum is there`},
		{"A> CONNECT id=a\nA< PINGRESP", "packet type"},
		{hello + "A< PUBLISH topic=x", "nothing came"},
		{hello + "A> PUBLISH topic=x qos=1 pid=3\nA< PUBACK pid=4", `pid is "3", want "4"`},
		{hello + "A> PUBLISH topic=x qos=1 pid=3\nA< PUBACK pid=3\nA< PUBLISH topic=x", `qos is "1", and the flow does not name it`},
		{hello + "A> PUBLISH topic=x qos=1 pid=3\nA<~ PUBLISH topic=y", "packets that do not match"},
		{hello + "A> PUBLISH topic=x qos=1 pid=3\nA< nothing 10ms", "got PUBACK pid=3"},
		{hello + "A< closed", "nothing came"},
		{hello + "A> PUBLISH topic=x qos=1 pid=3\nA> PUBLISH topic=quit\nA< closed", "got PUBACK pid=3"},
		{hello + "A> PUBLISH topic=x qos=1 pid=$p", "$p has no value yet"},
		{"A> CONNECT id=a colour=red", `no field "colour"`},
		{"A> KNOCK", `unknown packet "KNOCK"`},
		{"B< CONNACK", "B is not connected"},
		{"! restart", "no hooks"},
		{"hello", "want a client"},
	} {
		err := pipeRunner(t).Text(tc.flow)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("flow\n%s\ngave %v, want %q in it", tc.flow, err, tc.want)
		}
	}
}

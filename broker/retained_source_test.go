package broker

import (
	"strings"
	"sync/atomic"
	"testing"

	"gatewayd/mqtt"
)

// rights lets everyone in and denies publishing to one user.
type rights struct {
	denied atomic.Value // a string
}

func (*rights) Connect(_ *ConnectRequest, answer func(ConnectResult)) { answer(ConnectResult{}) }

func (r *rights) Publish(c *Client, topic string, _ mqtt.QoS, _ bool) bool {
	if strings.HasPrefix(topic, "house/") {
		return false // rights are of the client's own names
	}
	user, _ := r.denied.Load().(string)
	return c.Username != user && c.Listener != ""
}

func (*rights) Subscribe(*Client, string, mqtt.QoS) bool { return true }
func (*rights) Deliver(*Client, string) bool             { return true }

// With check_retain_source a retained message is judged by the rights its
// publisher has now, also when its session is gone and the broker has been
// started anew (mosquitto's 04-retain-check-source-persist).
func TestRetainedSourceOutlivesSession(t *testing.T) {
	r := &rights{}
	s := newServer(t, func(o *Options) {
		o.Auth, o.CheckRetainSource = r, true
		o.Listeners[0].MountPoint = "house/"
	})
	runner := s.runner()
	other := runner.Hook
	runner.Hook = func(args []string) error {
		if args[0] == "deny" {
			r.denied.Store(args[1])
			return nil
		}
		return other(args)
	}
	err := runner.Text(`versions 5
A> CONNECT id=a username=alice
A< CONNACK ...
A> PUBLISH topic=r/a qos=1 pid=1 retain=1 payload=one
A< PUBACK pid=1 code=*
A> DISCONNECT
A< closed
B> CONNECT id=b username=bob will.topic=r/w will.payload=three will.retain=1 will.qos=1
B< CONNACK ...
B> PUBLISH topic=r/b qos=1 pid=1 retain=1 payload=two
B< PUBACK pid=1 code=*
B> DISCONNECT code=4
B< closed
! flush
! restart
! deny bob
C> CONNECT id=c username=carol
C< CONNACK ...
C> SUBSCRIBE pid=1 filter=r/#
C< SUBACK pid=1 ...
C< PUBLISH topic=r/a retain=1 payload=one
C> PINGREQ
C< PINGRESP
! deny nobody
D> CONNECT id=d username=dora
D< CONNACK ...
D> SUBSCRIBE pid=1 filter=r/#
D< SUBACK pid=1 ...
D< PUBLISH topic=r/a retain=1 payload=one
D< PUBLISH topic=r/b retain=1 payload=two
D< PUBLISH topic=r/w retain=1 payload=three
`)
	if err != nil {
		t.Error(err)
	}
}

package broker

import (
	"bytes"
	"log/slog"
	"os"
	"strings"

	"gatewayd/mqtt"
)

func testLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// testAuth lets in everyone whose password is "secret" or who gives none, and
// keeps topics under denied/ from everyone. The method "echo" asks for the word
// "please", then for "thanks".
type testAuth struct{}

func (testAuth) Connect(r *ConnectRequest, answer func(ConnectResult)) {
	go func() { // later, as an Authorizer may
		if r.HasPassword && !bytes.Equal(r.Password, []byte("secret")) {
			answer(ConnectResult{Code: mqtt.BadUsernameOrPassword, Reason: "wrong password"})
			return
		}
		answer(ConnectResult{})
	}()
}

func (testAuth) Publish(c *Client, topic string, qos mqtt.QoS, retain bool) bool {
	return !strings.HasPrefix(topic, "denied/")
}

func (testAuth) Subscribe(c *Client, filter string, qos mqtt.QoS) bool {
	return !strings.HasPrefix(filter, "denied/")
}

func (testAuth) Deliver(c *Client, topic string) bool { return !strings.HasPrefix(topic, "hidden/") }

func (testAuth) Exchange(r *ConnectRequest, method string, data []byte, state any, answer func(AuthStep)) {
	if method != "echo" {
		answer(AuthStep{Code: mqtt.BadAuthenticationMethod})
		return
	}
	switch {
	case state == nil && string(data) == "please":
		answer(AuthStep{Code: mqtt.ContinueAuthentication, Data: []byte("say thanks"), State: 1})
	case state == 1 && string(data) == "thanks":
		answer(AuthStep{Code: mqtt.Success, Data: []byte("welcome")})
	default:
		answer(AuthStep{Code: mqtt.NotAuthorized, Reason: "impolite"})
	}
}

package bridge

import (
	"errors"
	"fmt"
	"time"

	"gatewayd/mqtt"
)

// errFull is a centre that has no room: the message stays here and the bridge
// comes back later.
var errFull = errors.New("the centre has no room for a message")

// fullLimit is how long a full centre has to answer what is under way.
const fullLimit = 10 * time.Second

// full is called when the centre has no room for a message of the topic name.
// Nothing more is sent, and the connection ends when the centre has answered what
// is under way: a centre that counts unreleased messages of QoS 2 among those it
// has no room for (Mosquitto does) has room again after our PUBRELs. Hanging up
// at once would have every connection begin with the refused message and end
// before them, for ever. What the centre had room for behind the message, on its
// topic, is not released before it, since a centre hands on what is released.
func (c *conn) full(name string, code mqtt.ReasonCode) {
	c.mu.Lock()
	if c.waiting == nil {
		c.waiting = map[string]bool{}
	}
	c.waiting[name] = true
	if c.fullErr == nil {
		c.fullErr = fmt.Errorf("%w: %v", errFull, code)
		err := c.fullErr
		time.AfterFunc(fullLimit, func() { c.fail(err) }) // when it has ended, nothing happens
	}
	c.mu.Unlock()
	c.settled()
}

// resting says whether nothing more is to be sent.
func (c *conn) resting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fullErr != nil
}

// settled ends the connection to a full centre once nothing is under way.
func (c *conn) settled() {
	c.mu.Lock()
	err := c.fullErr
	for _, f := range c.flight {
		if !f.held {
			err = nil
			break
		}
	}
	c.mu.Unlock()
	if err != nil {
		c.fail(err)
	}
}

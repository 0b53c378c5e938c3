package mqtttest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatewayd/mqtt"
)

// Runner runs flows against a server.
type Runner struct {
	// Dial connects a client to the server.
	Dial func() (net.Conn, error)
	// Hook is called for lines that start with !, with the line's words.
	Hook func(args []string) error
	// Timeout bounds the wait for an expected packet; zero: 5s.
	Timeout time.Duration
}

// Dir runs every flow that matches the pattern as a subtest. start makes a
// fresh server for each and returns its Runner; what it starts it ends with
// t.Cleanup.
func Dir(t *testing.T, pattern string, start func(t *testing.T) Runner) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no flow matches %s (%v)", pattern, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parse(string(text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		for _, v := range f.versions {
			sub := name
			if len(f.versions) > 1 {
				sub += "/v" + strconv.Itoa(v)
			}
			t.Run(sub, func(t *testing.T) {
				if err := start(t).run(f, mqtt.Version(v)); err != nil {
					t.Errorf("%s:%v", file, err)
				}
			})
		}
	}
}

// Text runs one flow given as text, once for each of its versions, against
// the same server.
func (r Runner) Text(text string) error {
	f, err := parse(text)
	if err != nil {
		return err
	}
	for _, v := range f.versions {
		if err := r.run(f, mqtt.Version(v)); err != nil {
			return err
		}
	}
	return nil
}

// execution is one run of a flow.
type execution struct {
	Runner
	version mqtt.Version
	clients map[string]*Client
	vars    variables
}

func (r Runner) run(f flow, v mqtt.Version) error {
	if r.Timeout == 0 {
		r.Timeout = 5 * time.Second
	}
	e := execution{r, v, map[string]*Client{}, variables{}}
	defer func() {
		for _, c := range e.clients {
			c.Close()
		}
	}()
	for _, s := range f.steps {
		if err := e.step(s); err != nil {
			return fmt.Errorf("%d: %s\n\t%w", s.line, s.text, err)
		}
	}
	return nil
}

func (e *execution) step(s step) error {
	switch s.verb {
	case wait:
		time.Sleep(s.dur)
		return nil
	case hook:
		if e.Hook == nil {
			return errors.New("this server has no hooks")
		}
		return e.Hook(s.args)
	case send:
		c, err := e.open(s.client)
		if err != nil {
			return err
		}
		return e.send(c, s)
	}
	if s.verb == control && s.word == "open" {
		_, err := e.open(s.client)
		return err
	}
	c := e.clients[s.client]
	if c == nil {
		return fmt.Errorf("%s is not connected", s.client)
	}
	if s.verb == control {
		return e.control(c, s)
	}
	return e.expect(c, s)
}

// open returns the client, connecting it when it is not connected.
func (e *execution) open(name string) (*Client, error) {
	if c := e.clients[name]; c != nil {
		return c, nil
	}
	conn, err := e.Dial()
	if err != nil {
		return nil, err
	}
	c := NewClient(conn, e.version)
	e.clients[name] = c
	return c, nil
}

func (e *execution) send(c *Client, s step) error {
	c.drained = false
	if s.word == "hex" {
		b, err := unhex(s.args)
		if err != nil {
			return err
		}
		return c.SendRaw(b)
	}
	p, err := build(s.word, s.fields, e.version, e.vars)
	if err != nil {
		return err
	}
	return c.Send(p)
}

func (e *execution) control(c *Client, s step) error {
	switch s.word {
	case "close":
		c.Close()
		delete(e.clients, s.client)
		return nil
	case "drain":
		c.drained = true
		for {
			if _, err := c.raw(s.dur); err != nil {
				return nil
			}
		}
	case "version":
		if len(s.args) == 1 {
			if v, err := strconv.Atoi(s.args[0]); err == nil {
				c.Version = mqtt.Version(v)
				return nil
			}
		}
		return errors.New("want a version: 3, 4 or 5")
	}
	return fmt.Errorf("unknown word %q", s.word)
}

func (e *execution) expect(c *Client, s step) error {
	c.drained = c.drained && s.word == "closed"
	switch s.word {
	case "nothing":
		b, err := c.raw(s.dur)
		if errors.Is(err, errQuiet) {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("got %s", show(c.Version, b))
		}
		return err
	case "closed":
		b, err := c.raw(e.Timeout)
		for err == nil && c.drained { // came later than drain waited
			b, err = c.raw(e.Timeout)
		}
		if errors.Is(err, errClosed) {
			c.Close()
			delete(e.clients, s.client)
			return nil
		}
		if err == nil {
			err = fmt.Errorf("got %s", show(c.Version, b))
		}
		return err
	case "hex":
		want, err := unhex(s.args)
		if err != nil {
			return err
		}
		got, err := c.raw(e.Timeout)
		if err == nil && !bytes.Equal(got, want) {
			err = fmt.Errorf("got  % x\n\twant % x", got, want)
		}
		return err
	}
	if s.verb == expectAny {
		return e.expectAny(c, s)
	}
	b, err := c.raw(e.Timeout)
	if err != nil {
		return err
	}
	return e.check(c, s, b)
}

func (e *execution) check(c *Client, s step, b []byte) error {
	p, err := mqtt.Decode(c.Version, b)
	if err != nil {
		return fmt.Errorf("the server sent % x: %w", b, err)
	}
	if bad := compare(s.word, s.fields, p, e.vars); len(bad) > 0 {
		return fmt.Errorf("got %s\n\t%s", format(p), strings.Join(bad, "\n\t"))
	}
	return nil
}

// expectAny takes the first packet that matches and leaves the others.
func (e *execution) expectAny(c *Client, s step) error {
	deadline := time.Now().Add(e.Timeout)
	for i := 0; ; i++ {
		if i == len(c.kept) {
			b, err := c.fresh(time.Until(deadline))
			if err != nil {
				var seen []string
				for _, k := range c.kept {
					seen = append(seen, "\n\t  "+show(c.Version, k))
				}
				return fmt.Errorf("%w; packets that do not match:%s", err, strings.Join(seen, ""))
			}
			c.kept = append(c.kept, b)
		}
		if e.check(c, s, c.kept[i]) == nil {
			c.kept = append(c.kept[:i:i], c.kept[i+1:]...)
			return nil
		}
	}
}

func show(v mqtt.Version, b []byte) string {
	p, err := mqtt.Decode(v, b)
	if err != nil {
		return fmt.Sprintf("% x (%v)", b, err)
	}
	return format(p)
}

func unhex(words []string) ([]byte, error) {
	return hex.DecodeString(strings.Join(words, ""))
}

package rig

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// dialUnix connects to a socket that QEMU is about to make.
func dialUnix(t testing.TB, path string) net.Conn {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("unix", path)
		if err == nil {
			t.Cleanup(func() { c.Close() })
			return c
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// QMP is QEMU's control channel: it changes what the emulated parts measure.
type QMP struct {
	conn net.Conn
	in   *json.Decoder
}

// DialQMP connects to `-qmp unix:path,server,nowait`.
func DialQMP(t testing.TB, path string) *QMP {
	t.Helper()
	c := dialUnix(t, path)
	q := &QMP{conn: c, in: json.NewDecoder(c)}
	var greeting any
	if err := q.in.Decode(&greeting); err != nil {
		t.Fatal(err)
	}
	if err := q.Do("qmp_capabilities", nil, nil); err != nil {
		t.Fatal(err)
	}
	return q
}

// Do carries out one command and puts its result where result points.
func (q *QMP) Do(command string, arguments map[string]any, result any) error {
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := json.NewEncoder(q.conn).Encode(request); err != nil {
		return err
	}
	for {
		var reply struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
			Event  string
		}
		if err := q.in.Decode(&reply); err != nil {
			return err
		}
		switch {
		case reply.Event != "":
		case reply.Error != nil:
			return fmt.Errorf("%s: %s", command, reply.Error.Desc)
		case result != nil:
			return json.Unmarshal(reply.Return, result)
		default:
			return nil
		}
	}
}

// Find is the QOM path of the first part of a type among the machine's
// unattached ones.
func (q *QMP) Find(kind string) (string, error) {
	const folder = "/machine/unattached"
	var parts []struct{ Name, Type string }
	if err := q.Do("qom-list", map[string]any{"path": folder}, &parts); err != nil {
		return "", err
	}
	for _, p := range parts {
		if p.Type == "child<"+kind+">" {
			return folder + "/" + p.Name, nil
		}
	}
	return "", fmt.Errorf("the machine has no %s", kind)
}

// Qtest is QEMU's test channel: it moves wires.
type Qtest struct {
	conn    net.Conn
	answers chan string

	mu     sync.Mutex
	levels map[int]bool  // of the intercepted part's outputs
	moved  chan struct{} // closed and replaced with each change
}

// DialQtest connects to `-qtest unix:path,server,nowait`.
func DialQtest(t testing.TB, path string) *Qtest {
	t.Helper()
	q := &Qtest{conn: dialUnix(t, path), answers: make(chan string, 1), levels: map[int]bool{}, moved: make(chan struct{})}
	go q.read()
	return q
}

func (q *Qtest) read() {
	defer close(q.answers)
	for in := bufio.NewScanner(q.conn); in.Scan(); {
		var verb string
		var line int
		if n, _ := fmt.Sscanf(in.Text(), "IRQ %s %d", &verb, &line); n != 2 {
			q.answers <- in.Text()
			continue
		}
		q.mu.Lock()
		q.levels[line] = verb == "raise"
		close(q.moved)
		q.moved = make(chan struct{})
		q.mu.Unlock()
	}
}

func (q *Qtest) do(command string) error {
	if _, err := fmt.Fprintln(q.conn, command); err != nil {
		return err
	}
	answer, ok := <-q.answers
	if !ok || !strings.HasPrefix(answer, "OK") {
		return fmt.Errorf("qtest %s: %q", command, answer)
	}
	return nil
}

// Set drives the input line of a part at a QOM path.
func (q *Qtest) Set(part string, line int, high bool) error {
	level := 0
	if high {
		level = 1
	}
	return q.do(fmt.Sprintf("set_irq_in %s unnamed-gpio-in %d %d", part, line, level))
}

// Watch follows the outputs of one part; there can be one only.
func (q *Qtest) Watch(part string) error { return q.do("irq_intercept_out " + part) }

// WaitLevel waits until an output of the watched part has the level.
func (q *Qtest) WaitLevel(line int, high bool, within time.Duration) error {
	late := time.After(within)
	for {
		q.mu.Lock()
		level, moved := q.levels[line], q.moved
		q.mu.Unlock()
		if level == high {
			return nil
		}
		select {
		case <-moved:
		case <-late:
			return fmt.Errorf("output %d is %v after %v", line, level, within)
		}
	}
}

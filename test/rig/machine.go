package rig

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// Machine is an emulated board under power.
type Machine struct {
	cmd  *exec.Cmd
	in   io.Writer     // the console's keyboard
	gone chan struct{} // closed when QEMU has ended

	mu    sync.Mutex // guards the fields below
	lines []string
	more  chan struct{} // closed and replaced with each line
}

// Start runs a QEMU with the arguments given; the guest's serial console must
// be "stdio" in them. The board loses power when the test ends at the latest.
func Start(t testing.TB, program string, args ...string) *Machine {
	t.Helper()
	m, err := start(program, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		select {
		case <-m.gone: // it was cut on purpose
			return
		default:
		}
		m.Cut()
		if t.Failed() {
			t.Logf("the board's console:\n%s", m.Console(80))
		}
	})
	return m
}

func start(program string, args ...string) (*Machine, error) {
	path, err := LookPath(program)
	if err != nil {
		return nil, err
	}
	m := &Machine{gone: make(chan struct{}), more: make(chan struct{})}
	m.cmd = exec.Command(path, args...)
	m.cmd.SysProcAttr = dieWithParent()
	m.in, err = m.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	m.cmd.Stderr = m.cmd.Stdout
	if err := m.cmd.Start(); err != nil {
		return nil, err
	}
	go m.read(bufio.NewScanner(out))
	return m, nil
}

// read collects the console until QEMU ends.
func (m *Machine) read(in *bufio.Scanner) {
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		m.mu.Lock()
		m.lines = append(m.lines, strings.TrimRight(in.Text(), "\r"))
		close(m.more)
		m.more = make(chan struct{})
		m.mu.Unlock()
	}
	m.cmd.Wait()
	close(m.gone)
}

// Cut takes the power away: QEMU is killed, nothing in the guest gets a chance
// to write anything.
func (m *Machine) Cut() {
	m.cmd.Process.Kill()
	<-m.gone
}

// Gone is closed when QEMU has ended by itself or by Cut.
func (m *Machine) Gone() <-chan struct{} { return m.gone }

// Console is the last n lines the board printed.
func (m *Machine) Console(n int) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.lines[max(0, len(m.lines)-n):], "\n")
}

// Wait returns the first console line that contains one of the texts.
func (m *Machine) Wait(ctx context.Context, texts ...string) (string, error) {
	return m.waitFrom(ctx, 0, texts...)
}

func (m *Machine) waitFrom(ctx context.Context, from int, texts ...string) (string, error) {
	for {
		m.mu.Lock()
		lines, more := m.lines[from:], m.more
		from = len(m.lines)
		m.mu.Unlock()
		for _, l := range lines {
			for _, text := range texts {
				if strings.Contains(l, text) {
					return l, nil
				}
			}
			if strings.Contains(l, "@guest failed") || strings.Contains(l, "Kernel panic") {
				return "", fmt.Errorf("waiting for %q: the guest said %q", texts, l)
			}
		}
		select {
		case <-more:
		case <-m.gone:
			return "", fmt.Errorf("waiting for %q: QEMU ended", texts)
		case <-ctx.Done():
			return "", fmt.Errorf("waiting for %q: %w", texts, context.Cause(ctx))
		}
	}
}

// Send types a line on the guest's console.
func (m *Machine) Send(line string) error {
	_, err := fmt.Fprintln(m.in, line)
	return err
}

// Type types a command for the guest's init and waits until it is carried out.
func (m *Machine) Type(ctx context.Context, command string) error {
	m.mu.Lock()
	from := len(m.lines)
	m.mu.Unlock()
	if err := m.Send(command); err != nil {
		return err
	}
	line, err := m.waitFrom(ctx, from, "@guest did "+command, "@guest refused "+command)
	if err == nil && strings.Contains(line, "refused") {
		err = errors.New(line)
	}
	return err
}

// ExitCode waits until the guest's step has ended and returns its exit code.
func (m *Machine) ExitCode(ctx context.Context, step string) (int, error) {
	line, err := m.Wait(ctx, "@guest exit "+step+" ")
	if err != nil {
		return 0, err
	}
	var code int
	_, err = fmt.Sscanf(line[strings.Index(line, step)+len(step):], " %d", &code)
	return code, err
}

// Dial connects to a forwarded port, again and again until the program of the
// guest's step "run" answers (QEMU accepts for it even while nobody listens
// inside, and closes then, so hello must get an answer out of the guest).
func (m *Machine) Dial(ctx context.Context, hello func() error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		if line, err := m.Wait(ctx, "@guest exit run"); err == nil {
			cancel(fmt.Errorf("the guest said %q", line))
		}
	}()
	for {
		err := hello()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the guest does not answer: %w; last: %w", context.Cause(ctx), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// FreePort is a TCP port of the loopback address that nobody uses now.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

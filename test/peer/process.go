package peer

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is one running broker.
type Process struct {
	Name string
	Addr string // host:port of its MQTT listener
	Alt  string // host:port of another listener (TLS or WebSocket), where there is one
	Web  string // host:port of its HTTP server, where there is one
	Log  string // file with its standard output and error

	cmd  *exec.Cmd
	done chan struct{} // closed after Wait
	err  error         // Wait's, valid after done

	end sync.Once
}

// Start runs argv with its output going to logPath and does not wait for it to be ready.
func Start(name, addr, logPath string, argv ...string) (*Process, error) {
	out, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	// An own group keeps a Ctrl-C for the program that started it; the signal at its death leaves no orphan.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{Name: name, Addr: addr, Log: logPath, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Kill ends the process with SIGKILL and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop ends the process with SIGTERM and reports how it ended; after 20 s it is killed.
func (p *Process) Stop() error {
	select {
	case <-p.done:
		return p.err
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	return p.Wait(20 * time.Second)
}

// Wait waits for the process to end by itself; when the time is up it is killed and the error says so.
func (p *Process) Wait(limit time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(limit):
		p.Kill()
		return fmt.Errorf("%s did not end within %s", p.Name, limit)
	}
}

// Exited reports whether the process has ended.
func (p *Process) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// ExitCode is the exit code of an ended process, -1 while it runs or when a signal ended it.
func (p *Process) ExitCode() int {
	if !p.Exited() {
		return -1
	}
	return p.cmd.ProcessState.ExitCode()
}

// Output is what the process has written so far.
func (p *Process) Output() string {
	b, _ := os.ReadFile(p.Log)
	return string(b)
}

// clockTick is USER_HZ, which is 100 on every Linux this runs on.
const clockTick = 10 * time.Millisecond

// CPU is the user and system time the process has used: from its CPU clock, which counts nanoseconds, or, where the
// kernel does not show it, from /proc in ticks.
func (p *Process) CPU() (time.Duration, error) {
	var ts unix.Timespec
	if clock := ^int32(p.PID())<<3 | 2; unix.ClockGettime(clock, &ts) == nil { // clock_getcpuclockid(3)
		return time.Duration(ts.Nano()), nil
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0, err
	}
	// The command name may hold blanks and brackets: fields count from its last bracket.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", p.PID(), len(f))
	}
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	return time.Duration(user+system) * clockTick, errors.Join(err1, err2)
}

// Memory is resident memory in bytes.
type Memory struct{ Anon, File int64 }

// Total is all resident memory.
func (m Memory) Total() int64 { return m.Anon + m.File }

// Memory reads the resident set of the process.
func (p *Process) Memory() (Memory, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return Memory{}, err
	}
	var m Memory
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "RssAnon:":
			m.Anon = n << 10
		case "RssFile:", "RssShmem:":
			m.File += n << 10
		}
	}
	return m, nil
}

var given struct {
	sync.Mutex
	ports map[int]bool
}

// FreePort finds a port of 127.0.0.1 that was free a moment ago, and gives none twice. It lies below those that the system
// gives to whoever connects: one of these may be somebody's by the time that it is listened on.
func FreePort() (int, error) {
	given.Lock()
	defer given.Unlock()
	if given.ports == nil {
		given.ports = map[int]bool{}
	}
	for range 1000 {
		port := 12_000 + rand.IntN(20_000)
		if given.ports[port] {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		l.Close()
		given.ports[port] = true
		return port, nil
	}
	return 0, errors.New("no port is free")
}

// connect is a CONNECT of 3.1.1 with a clean session and an id nobody else uses.
var connect = append([]byte{0x10, 12 + 9, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 9}, "readyping"...)

// Ready waits until the broker answers a CONNECT and returns how long that took.
func (p *Process) Ready(limit time.Duration) (time.Duration, error) {
	start := time.Now()
	for {
		if p.answers() {
			return time.Since(start), nil
		}
		if p.Exited() {
			return 0, fmt.Errorf("%s ended before it was ready: %v\n%s", p.Name, p.err, tail(p.Output(), 2000))
		}
		if time.Since(start) > limit {
			return 0, fmt.Errorf("%s not ready after %s\n%s", p.Name, limit, tail(p.Output(), 2000))
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (p *Process) answers() bool {
	c, err := net.DialTimeout("tcp", p.Addr, 200*time.Millisecond)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write(connect); err != nil {
		return false
	}
	var b [4]byte
	n, err := c.Read(b[:])
	if err != nil || n < 4 || b[0]>>4 != 2 {
		return false // not even a refusal
	}
	_, _ = c.Write([]byte{0xe0, 0})
	return true
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

package board

import (
	"errors"
	"fmt"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/physic"
)

// pin is a line for parts that are clocked by hand, as periph's interface has
// it. It remembers its direction and never reads an output.
type pin struct {
	name string
	fd   int

	mu   sync.Mutex // guards the fields below
	out  bool
	high bool
	edge gpio.Edge
}

// Pin takes a line, as an input without pull.
func (h *hardware) Pin(name string) (gpio.PinIO, error) {
	fd, err := h.request(name, lineInput)
	if err != nil {
		return nil, err
	}
	return &pin{name: name, fd: fd}, nil
}

func (p *pin) String() string                        { return p.name }
func (p *pin) Name() string                          { return p.name }
func (p *pin) Number() int                           { return -1 }
func (p *pin) Pull() gpio.Pull                       { return gpio.PullNoChange }
func (p *pin) DefaultPull() gpio.Pull                { return gpio.PullNoChange }
func (p *pin) PWM(gpio.Duty, physic.Frequency) error { return errors.New("no PWM on a plain line") }

// Function tells the direction from memory.
func (p *pin) Function() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out {
		return "OUT"
	}
	return "IN"
}

// In makes the line an input.
func (p *pin) In(pull gpio.Pull, edge gpio.Edge) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	flags := uint64(lineInput) | pullFlags(pull)
	if edge == gpio.RisingEdge || edge == gpio.BothEdges {
		flags |= lineEdgeRising
	}
	if edge == gpio.FallingEdge || edge == gpio.BothEdges {
		flags |= lineEdgeFalling
	}
	c := gpioLineConfig{Flags: flags}
	if err := ioctl(uintptr(p.fd), ioctlSetConfig, unsafe.Pointer(&c)); err != nil {
		return fmt.Errorf("line %s: %w", p.name, err)
	}
	p.out, p.edge = false, edge
	return nil
}

// Read gives the level; of an output the one it was set to.
func (p *pin) Read() gpio.Level {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out {
		return gpio.Level(p.high)
	}
	high, err := readLevel(p.fd)
	return err == nil && gpio.Level(high)
}

// WaitForEdge waits for an edge; a negative timeout is none.
func (p *pin) WaitForEdge(timeout time.Duration) bool {
	p.mu.Lock()
	fd, ok := p.fd, p.edge != gpio.NoEdge && !p.out
	p.mu.Unlock()
	if !ok {
		return false
	}
	end := time.Now().Add(timeout)
	for {
		ms := -1
		if timeout >= 0 {
			ms = int(max(time.Until(end), 0).Milliseconds())
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, ms)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return false
		}
		var b [gpioEventSize]byte
		n, err = unix.Read(fd, b[:])
		return err == nil && n == len(b)
	}
}

// Out makes the line an output at that level.
func (p *pin) Out(l gpio.Level) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out {
		if err := writeLevel(p.fd, bool(l)); err != nil {
			return fmt.Errorf("line %s: %w", p.name, err)
		}
		p.high = bool(l)
		return nil
	}
	c := gpioLineConfig{Flags: lineOutput, NumAttrs: 1}
	c.Attrs[0].Attr, c.Attrs[0].Mask = gpioLineAttribute{ID: attrOutputValues, Value: uint64(boolInt(bool(l)))}, 1
	if err := ioctl(uintptr(p.fd), ioctlSetConfig, unsafe.Pointer(&c)); err != nil {
		return fmt.Errorf("line %s: %w", p.name, err)
	}
	p.out, p.high = true, bool(l)
	return nil
}

// Halt gives the line back.
func (p *pin) Halt() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fd < 0 {
		return nil
	}
	err := unix.Close(p.fd)
	p.fd = -1
	return err
}

package board

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/gpio"
)

// The kernel's GPIO character device, uAPI v2 (linux/gpio.h, Linux 5.10).

const (
	lineActiveUsed    = 1 << 0
	lineInput         = 1 << 2
	lineOutput        = 1 << 3
	lineEdgeRising    = 1 << 4
	lineEdgeFalling   = 1 << 5
	linePullUp        = 1 << 8
	linePullDown      = 1 << 9
	lineBiasDisabled  = 1 << 10
	attrFlags         = 1
	attrOutputValues  = 2
	attrDebounce      = 3
	eventRising       = 1
	eventBufferEvents = 1024 // the kernel's ring for one line; an edge it has no room for shows as a jump in seqno
)

type gpioChipInfo struct {
	Name, Label [32]byte
	Lines       uint32
}

type gpioLineAttribute struct {
	ID, _ uint32
	Value uint64
}

type gpioLineInfo struct {
	Name, Consumer [32]byte
	Offset         uint32
	NumAttrs       uint32
	Flags          uint64
	Attrs          [10]gpioLineAttribute
	_              [4]uint32
}

type gpioLineConfig struct {
	Flags    uint64
	NumAttrs uint32
	_        [5]uint32
	Attrs    [10]struct {
		Attr gpioLineAttribute
		Mask uint64
	}
}

type gpioLineRequest struct {
	Offsets         [64]uint32
	Consumer        [32]byte
	Config          gpioLineConfig
	NumLines        uint32
	EventBufferSize uint32
	_               [5]uint32
	FD              int32
}

type gpioLineValues struct{ Bits, Mask uint64 }

// gpioEvent is 48 bytes on the wire.
type gpioEvent struct {
	TimestampNS uint64
	ID          uint32
	Offset      uint32
	Seqno       uint32
	LineSeqno   uint32
}

const gpioEventSize = 48

func gpioRequest(dir, nr, size uintptr) uintptr { return dir<<30 | size<<16 | 0xB4<<8 | nr }

var (
	ioctlChipInfo  = gpioRequest(2, 0x01, unsafe.Sizeof(gpioChipInfo{}))
	ioctlLineInfo  = gpioRequest(3, 0x05, unsafe.Sizeof(gpioLineInfo{}))
	ioctlGetLine   = gpioRequest(3, 0x07, unsafe.Sizeof(gpioLineRequest{}))
	ioctlSetConfig = gpioRequest(3, 0x0D, unsafe.Sizeof(gpioLineConfig{}))
	ioctlGetValues = gpioRequest(3, 0x0E, unsafe.Sizeof(gpioLineValues{}))
	ioctlSetValues = gpioRequest(3, 0x0F, unsafe.Sizeof(gpioLineValues{}))
)

func ioctl(fd, req uintptr, arg unsafe.Pointer) error {
	for {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, fd, req, uintptr(arg))
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return e
		}
		return nil
	}
}

// findChips lists the GPIO chips, the header's first. A chip that has two
// names (a Pi has gpiochip4 pointing at gpiochip0) is listed once.
func findChips(root string) []chipInfo {
	paths, _ := filepath.Glob(filepath.Join(root, "dev/gpiochip*")) // the pattern is well-formed
	slices.Sort(paths)
	var chips []chipInfo
	seen := map[string]bool{}
	for _, p := range paths {
		c, err := readChip(p)
		if err != nil || seen[c.name] {
			continue
		}
		seen[c.name] = true
		chips = append(chips, c)
	}
	slices.SortStableFunc(chips, func(a, b chipInfo) int {
		return boolInt(strings.HasPrefix(b.label, "pinctrl-")) - boolInt(strings.HasPrefix(a.label, "pinctrl-"))
	})
	return chips
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func readChip(path string) (chipInfo, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return chipInfo{}, err
	}
	defer f.Close()
	var info gpioChipInfo
	if err := ioctl(f.Fd(), ioctlChipInfo, unsafe.Pointer(&info)); err != nil {
		return chipInfo{}, err
	}
	c := chipInfo{path: path, name: cString(info.Name[:]), label: cString(info.Label[:]), lines: int(info.Lines)}
	for i := range info.Lines {
		l := gpioLineInfo{Offset: i}
		if err := ioctl(f.Fd(), ioctlLineInfo, unsafe.Pointer(&l)); err != nil {
			return chipInfo{}, fmt.Errorf("%s: line %d: %w", path, i, err)
		}
		c.names = append(c.names, cString(l.Name[:]))
	}
	return c, nil
}

func cString(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// findLine resolves a name: a chip and an offset, a name that the kernel
// knows, or GPIO<n>, which on a Raspberry Pi is line n of the header's chip.
func (h *hardware) findLine(name string) (chip string, offset uint32, err error) {
	if c, n, ok := strings.Cut(name, ":"); ok {
		v, err := strconv.ParseUint(n, 10, 32)
		if err != nil {
			return "", 0, fmt.Errorf("%q: %q is no line number", name, n)
		}
		for _, ch := range h.d.chips {
			if ch.name == c || ch.label == c {
				if int(v) >= ch.lines {
					return "", 0, fmt.Errorf("%s has lines 0 to %d only", c, ch.lines-1)
				}
				return ch.path, uint32(v), nil
			}
		}
		return "", 0, fmt.Errorf("there is no GPIO chip %q, only %s", c, h.chipNames())
	}
	for _, ch := range h.d.chips {
		if i := slices.Index(ch.names, name); i >= 0 {
			return ch.path, uint32(i), nil
		}
	}
	if n, err := strconv.Atoi(strings.TrimPrefix(name, "GPIO")); err == nil && strings.HasPrefix(name, "GPIO") {
		for _, ch := range h.d.chips {
			if strings.HasPrefix(ch.label, "pinctrl-bcm2") || ch.label == "pinctrl-rp1" {
				if n < ch.lines {
					return ch.path, uint32(n), nil
				}
			}
		}
	}
	return "", 0, fmt.Errorf("there is no line %q; name it by chip and number, such as %s:0", name, firstWord(h.chipNames()))
}

func (h *hardware) chipNames() string {
	var names []string
	for _, c := range h.d.chips {
		names = append(names, c.name+" ("+c.label+")")
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func firstWord(s string) string {
	w, _, _ := strings.Cut(s, " ")
	return w
}

// request takes one line from the kernel.
func (h *hardware) request(name string, flags uint64, attrs ...gpioLineAttribute) (int, error) {
	chip, offset, err := h.findLine(name)
	if err != nil {
		return -1, err
	}
	f, err := os.OpenFile(chip, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer f.Close()
	req := gpioLineRequest{NumLines: 1, EventBufferSize: eventBufferEvents}
	req.Offsets[0] = offset
	copy(req.Consumer[:31], "gatewayd")
	req.Config.Flags = flags
	for i, a := range attrs {
		req.Config.Attrs[i].Attr, req.Config.Attrs[i].Mask = a, 1
		req.Config.NumAttrs++
	}
	if err := ioctl(f.Fd(), ioctlGetLine, unsafe.Pointer(&req)); err != nil {
		if errors.Is(err, unix.EBUSY) {
			return -1, fmt.Errorf("line %s is in use by another program or driver", name)
		}
		return -1, fmt.Errorf("line %s: %w", name, err)
	}
	unix.CloseOnExec(int(req.FD))
	return int(req.FD), nil
}

func pullFlags(p gpio.Pull) uint64 {
	switch p {
	case gpio.PullUp:
		return linePullUp
	case gpio.PullDown:
		return linePullDown
	case gpio.Float:
		return lineBiasDisabled
	}
	return 0
}

// WatchInput reports the level of a line and its edges as the kernel saw them.
func (h *hardware) WatchInput(ctx context.Context, line string, pull gpio.Pull, debounce time.Duration,
	edge func(high bool, at time.Time, seq uint64)) error {
	var attrs []gpioLineAttribute
	if debounce > 0 {
		attrs = append(attrs, gpioLineAttribute{ID: attrDebounce, Value: uint64(debounce.Microseconds())})
	}
	fd, err := h.request(line, lineInput|lineEdgeRising|lineEdgeFalling|pullFlags(pull), attrs...)
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return err
	}
	f := os.NewFile(uintptr(fd), "gpio "+line)
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	high, err := readLevel(fd)
	if err != nil {
		return fmt.Errorf("line %s: %w", line, err)
	}
	edge(high, time.Now(), 0)
	buf := make([]byte, 64*gpioEventSize)
	for wrap := (counter{}); ; {
		n, err := f.Read(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("line %s: %w", line, err)
		}
		offset := clockOffset()
		for b := buf[:n]; len(b) >= gpioEventSize; b = b[gpioEventSize:] {
			e := decodeEvent(b)
			edge(e.ID == eventRising, offset.Add(time.Duration(e.TimestampNS)), wrap.next(e.LineSeqno))
		}
	}
}

// counter widens the kernel's 32-bit sequence numbers.
type counter struct {
	last uint32
	high uint64
}

func (c *counter) next(n uint32) uint64 {
	if n < c.last {
		c.high += 1 << 32
	}
	c.last = n
	return c.high + uint64(n)
}

func decodeEvent(b []byte) gpioEvent {
	return gpioEvent{TimestampNS: binary.NativeEndian.Uint64(b), ID: binary.NativeEndian.Uint32(b[8:]),
		Offset: binary.NativeEndian.Uint32(b[12:]), Seqno: binary.NativeEndian.Uint32(b[16:]), LineSeqno: binary.NativeEndian.Uint32(b[20:])}
}

// clockOffset is the moment at which the kernel's monotonic clock was zero.
func clockOffset() time.Time {
	var ts unix.Timespec
	now := time.Now()
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return now
	}
	return now.Add(-time.Duration(ts.Nano()))
}

func readLevel(fd int) (bool, error) {
	v := gpioLineValues{Mask: 1}
	err := ioctl(uintptr(fd), ioctlGetValues, unsafe.Pointer(&v))
	return v.Bits&1 == 1, err
}

func writeLevel(fd int, high bool) error {
	v := gpioLineValues{Mask: 1, Bits: uint64(boolInt(high))}
	return ioctl(uintptr(fd), ioctlSetValues, unsafe.Pointer(&v))
}

// Output takes a line as an output. What it is set to is remembered by the
// caller: nothing here ever reads it back.
func (h *hardware) Output(line string, high bool) (set func(bool) error, release func() error, err error) {
	fd, err := h.request(line, lineOutput, gpioLineAttribute{ID: attrOutputValues, Value: uint64(boolInt(high))})
	if err != nil {
		return nil, nil, err
	}
	return func(high bool) error {
		if err := writeLevel(fd, high); err != nil {
			return fmt.Errorf("line %s: %w", line, err)
		}
		return nil
	}, func() error { return unix.Close(fd) }, nil
}

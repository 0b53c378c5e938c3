package board

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"periph.io/x/conn/v3/onewire"
	"periph.io/x/host/v3/netlink"
)

// OneWire opens a bus master of the kernel.
func (h *hardware) OneWire(name string) (onewire.Bus, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if b := h.onewire[name]; b != nil {
		return b, nil
	}
	n, err := strconv.Atoi(strings.TrimPrefix(name, "w1-"))
	if err != nil || !strings.HasPrefix(name, "w1-") {
		return nil, fmt.Errorf("%q is not a 1-wire bus like w1-1", name)
	}
	dir := filepath.Join(h.root, "sys/bus/w1/devices", "w1_bus_master"+strconv.Itoa(n))
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no 1-wire bus %s%s", name, h.hint("w1-", "dtoverlay=w1-gpio"))
	}
	b := &kernelOneWire{name: name, dir: dir, number: n}
	h.onewire[name] = b
	return b, nil
}

// kernelOneWire is a bus master of the kernel. Thermometers are read through
// the kernel's w1_therm driver, which any user may do; everything else goes
// through netlink, which needs root.
type kernelOneWire struct {
	name   string
	dir    string // of the master under /sys
	number int

	mu   sync.Mutex // guards the fields below, and one transaction at a time
	nl   *netlink.OneWire
	bulk time.Time // when all were last told to convert
}

func (b *kernelOneWire) String() string { return b.name }

// Tx is one transaction.
func (b *kernelOneWire) Tx(w, r []byte, p onewire.Pullup) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if done, err := b.thermometer(w, r); done {
		return err
	}
	if b.nl == nil {
		nl, err := netlink.New(uint32(b.number))
		if err != nil {
			return fmt.Errorf("%s: no thermometer that the kernel drives, and: %w", b.name, err)
		}
		b.nl = nl
	}
	return b.ask(w, r, p)
}

// netlinkTimeout bounds one transaction through the kernel. The library waits
// without end for an answer that may never come.
const netlinkTimeout = 3 * time.Second

// ask does one transaction. A socket that does not answer is given up, with
// the goroutine that waits on it, and the next transaction opens a new one.
func (b *kernelOneWire) ask(w, r []byte, p onewire.Pullup) error {
	nl := b.nl
	in := make([]byte, len(r)) // not r: the goroutine may write it after we are gone
	done := make(chan error, 1)
	go func() { done <- nl.Tx(w, in, p) }()
	timeout := time.NewTimer(netlinkTimeout)
	defer timeout.Stop()
	select {
	case err := <-done:
		copy(r, in)
		return err
	case <-timeout.C:
		b.nl = nil
		return fmt.Errorf("%s: the kernel does not answer", b.name)
	}
}

// thermometer does the commands of a part that w1_therm drives: the kernel
// converts while its file is read, so starting a conversion is nothing to do.
func (b *kernelOneWire) thermometer(w, r []byte) (done bool, err error) {
	if len(w) < 10 || w[0] != 0x55 {
		return false, nil
	}
	dir := filepath.Join(b.dir, "..", romName(binary.LittleEndian.Uint64(w[1:9])))
	if real, err := filepath.EvalSymlinks(b.dir); err == nil {
		dir = filepath.Join(real, romName(binary.LittleEndian.Uint64(w[1:9])))
	}
	file := filepath.Join(dir, "w1_slave")
	if _, err := os.Stat(file); err != nil {
		return false, nil
	}
	switch w[9] {
	case 0x44: // convert T
		b.convertAll()
		return true, nil
	case 0xBE: // read scratchpad
		text, err := os.ReadFile(file)
		if err != nil {
			return true, fmt.Errorf("%s: %w", b.name, err)
		}
		spad, err := scratchpad(string(text))
		if err != nil {
			return true, fmt.Errorf("%s: %w", b.name, err)
		}
		copy(r, spad)
		return true, nil
	case 0x4E: // write scratchpad: of it only the resolution can be set
		if len(w) < 13 {
			return true, errors.New("w1: short scratchpad")
		}
		bits := strconv.Itoa(int(w[12]>>5&3) + 9)
		// An older kernel, or one whose file only root may write, keeps the
		// part's own resolution.
		_ = os.WriteFile(filepath.Join(dir, "resolution"), []byte(bits), 0)
		return true, nil
	case 0x48, 0xB8:
		return true, nil
	}
	return false, nil
}

// convertAll starts a conversion on all thermometers at once, where the kernel
// (5.8 and newer) and the rights allow; their files then answer at once instead
// of after 750 ms each. Where not, reading a file converts.
func (b *kernelOneWire) convertAll() {
	if time.Since(b.bulk) < 700*time.Millisecond {
		return // it runs already
	}
	b.bulk = time.Now()
	_ = os.WriteFile(filepath.Join(b.dir, "therm_bulk_read"), []byte("trigger\n"), 0)
}

// scratchpad reads the nine bytes out of the kernel's text
// "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES".
func scratchpad(text string) ([]byte, error) {
	first, _, ok := strings.Cut(text, ":")
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(first), " ", ""))
	if !ok || err != nil || len(b) != 9 {
		return nil, fmt.Errorf("w1: cannot read %q", text)
	}
	return b, nil
}

// romName is the address as the kernel writes it: family, dash, serial.
func romName(rom uint64) string {
	return fmt.Sprintf("%02x-%012x", rom&0xff, rom>>8&0xffffffffffff)
}

// Search lists the parts the kernel has found; it looks by itself all the time.
func (b *kernelOneWire) Search(bool) ([]onewire.Address, error) {
	text, err := os.ReadFile(filepath.Join(b.dir, "w1_master_slaves"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.name, err)
	}
	var all []onewire.Address
	for line := range strings.Lines(string(text)) {
		family, serial, ok := strings.Cut(strings.TrimSpace(line), "-")
		f, err1 := strconv.ParseUint(family, 16, 8)
		n, err2 := strconv.ParseUint(serial, 16, 48)
		if !ok || err1 != nil || err2 != nil {
			continue // "not found."
		}
		var raw [8]byte
		binary.LittleEndian.PutUint64(raw[:], f|n<<8)
		raw[7] = onewire.CalcCRC(raw[:7])
		all = append(all, onewire.Address(binary.LittleEndian.Uint64(raw[:])))
	}
	slices.Sort(all)
	return all, nil
}

// Close gives the netlink socket back.
func (b *kernelOneWire) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.nl == nil {
		return nil
	}
	err := b.nl.Close()
	b.nl = nil
	return err
}

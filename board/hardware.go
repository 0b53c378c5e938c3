package board

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/onewire"
	"periph.io/x/conn/v3/spi"
	"periph.io/x/host/v3/sysfs"
)

// hardware opens each bus once and shares it.
type hardware struct {
	d    Detected
	root string

	mu      sync.Mutex // guards the maps
	i2c     map[string]*sharedI2C
	onewire map[string]onewire.BusCloser
	spi     map[string]spi.PortCloser
}

func newHardware(d Detected, root string) *hardware {
	return &hardware{d: d, root: root, i2c: map[string]*sharedI2C{}, onewire: map[string]onewire.BusCloser{}, spi: map[string]spi.PortCloser{}}
}

// I2C opens /dev/i2c-N.
func (h *hardware) I2C(name string) (i2c.Bus, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if b := h.i2c[name]; b != nil {
		return b, nil
	}
	n, err := strconv.Atoi(strings.TrimPrefix(name, "i2c-"))
	if err != nil || !strings.HasPrefix(name, "i2c-") {
		return nil, fmt.Errorf("%q is not an I2C bus like i2c-1", name)
	}
	if _, err := os.Stat(filepath.Join(h.root, "dev", name)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no I2C bus %s%s", name, h.hint("i2c-", "dtparam=i2c_arm=on"))
	}
	b, err := sysfs.NewI2C(n)
	if errors.Is(err, fs.ErrPermission) || err != nil && strings.Contains(err.Error(), "permission denied") {
		return nil, fmt.Errorf("/dev/%s may not be opened: add this user to the group i2c", name)
	}
	if err != nil {
		return nil, err
	}
	setI2CTimeout(filepath.Join(h.root, "dev", name))
	s := &sharedI2C{name: name, bus: b}
	h.i2c[name] = s
	return s, nil
}

// hint names what there is, and how to switch on what is missing on a Pi.
func (h *hardware) hint(prefix, param string) string {
	var have []string
	for _, b := range h.d.Buses {
		if strings.HasPrefix(b, prefix) {
			have = append(have, b)
		}
	}
	s := "; there is none"
	if len(have) > 0 {
		s = ", only " + strings.Join(have, ", ")
	}
	if h.d.Pi > 0 {
		s += "; on a Raspberry Pi set " + param + " in config.txt"
	}
	return s
}

// SPI opens /dev/spidevB.C.
func (h *hardware) SPI(name string) (spi.Port, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.spi[name]; p != nil {
		return p, nil
	}
	bus, cs, ok := strings.Cut(strings.TrimPrefix(name, "spi"), ".")
	b, err1 := strconv.Atoi(bus)
	c, err2 := strconv.Atoi(cs)
	if !ok || err1 != nil || err2 != nil {
		return nil, fmt.Errorf("%q is not an SPI port like spi0.0", name)
	}
	if _, err := os.Stat(filepath.Join(h.root, "dev", "spidev"+bus+"."+cs)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no SPI port %s%s", name, h.hint("spi", "dtparam=spi=on"))
	}
	p, err := sysfs.NewSPI(b, c)
	if err != nil {
		return nil, err
	}
	h.spi[name] = p
	return p, nil
}

// Serial opens a tty, raw, 8N1.
func (h *hardware) Serial(name string, baud int) (io.ReadWriteCloser, error) {
	return openSerial(filepath.Join(h.root, "dev", name), baud)
}

// Sys is /sys.
func (h *hardware) Sys() fs.FS { return os.DirFS(filepath.Join(h.root, "sys")) }

// Buses lists the buses found at the start.
func (h *hardware) Buses() []string { return slices.Clone(h.d.Buses) }

// Close closes every bus.
func (h *hardware) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for _, b := range h.i2c {
		errs = append(errs, b.close())
	}
	for _, b := range h.onewire {
		errs = append(errs, b.Close())
	}
	for _, p := range h.spi {
		errs = append(errs, p.Close())
	}
	clear(h.i2c)
	clear(h.onewire)
	clear(h.spi)
	return errors.Join(errs...)
}

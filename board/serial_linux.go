package board

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

var baudRates = map[int]uint32{1200: unix.B1200, 2400: unix.B2400, 4800: unix.B4800, 9600: unix.B9600, 19200: unix.B19200,
	38400: unix.B38400, 57600: unix.B57600, 115200: unix.B115200, 230400: unix.B230400}

// openSerial opens a tty raw, 8 bits, no parity, one stop bit. A read gives
// what has come, or nothing after 100 ms.
func openSerial(path string, baud int) (io.ReadWriteCloser, error) {
	rate, ok := baudRates[baud]
	if !ok {
		return nil, fmt.Errorf("serial port %s: %d baud is not a usual speed", path, baud)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no serial port %s", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("serial port %s may not be opened: add this user to the group dialout", path)
	case err != nil:
		return nil, fmt.Errorf("serial port %s: %w", path, err)
	}
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("serial port %s: %w", path, err)
	}
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON | unix.IXOFF
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag &^= unix.CSIZE | unix.PARENB | unix.CSTOPB | unix.CRTSCTS | unix.CBAUD
	t.Cflag |= unix.CS8 | unix.CREAD | unix.CLOCAL | rate
	t.Ispeed, t.Ospeed = rate, rate
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 0, 1
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("serial port %s: %w", path, err)
	}
	// Blocking from here on: VTIME bounds each read, and an *os.File would
	// hand a non-blocking tty to the poller, which knows no VTIME.
	if err := unix.SetNonblock(fd, false); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &tty{fd: fd, path: path}, nil
}

type tty struct {
	fd   int
	path string
}

// Read gives up to 100 ms for something to come; nothing is no error.
func (t *tty) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(t.fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, &os.PathError{Op: "read", Path: t.path, Err: err}
		}
		return n, nil
	}
}

func (t *tty) Write(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		k, err := unix.Write(t.fd, b[n:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return n, &os.PathError{Op: "write", Path: t.path, Err: err}
		}
		n += k
	}
	return n, nil
}

func (t *tty) Close() error { return unix.Close(t.fd) }

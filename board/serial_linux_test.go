package board

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A pseudo terminal stands for a serial port: bytes pass unchanged both ways,
// and a read with nothing to read ends after its time.
func TestSerialPort(t *testing.T) {
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	defer ptmx.Close()
	n, err := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	port, err := openSerial(fmt.Sprintf("/dev/pts/%d", n), 9600)
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i) // with every byte a terminal would treat specially
	}
	if _, err := port.Write(all); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 0, 256)
	buf := make([]byte, 256)
	for len(got) < 256 {
		n, err := ptmx.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, buf[:n]...)
	}
	if string(got) != string(all) {
		t.Errorf("written bytes changed on the way: % x", got)
	}
	if _, err := ptmx.Write(all); err != nil {
		t.Fatal(err)
	}
	got = got[:0]
	for end := time.Now().Add(5 * time.Second); len(got) < 256 && time.Now().Before(end); {
		n, err := port.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, buf[:n]...)
	}
	if string(got) != string(all) {
		t.Errorf("read bytes changed on the way: % x", got)
	}
	start := time.Now()
	if n, err := port.Read(buf); n != 0 || err != nil {
		t.Errorf("with nothing to read: %d, %v", n, err)
	}
	if d := time.Since(start); d < 50*time.Millisecond || d > 5*time.Second {
		t.Errorf("a read with nothing to read took %v", d)
	}
	if _, err := openSerial(fmt.Sprintf("/dev/pts/%d", n), 12345); err == nil {
		t.Error("12345 baud passes")
	}
}

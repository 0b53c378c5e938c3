package board

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// LEDState is what the LED tells.
type LEDState string

const (
	LEDStarting   LEDState = "starting"    // quick blinking
	LEDHealthy    LEDState = "healthy"     // a heartbeat
	LEDUplinkDown LEDState = "uplink down" // slow blinking, mostly on
	LEDFault      LEDState = "fault"       // very quick blinking
	LEDOff        LEDState = "off"
)

// LED is one of the board's own LEDs. The kernel does the blinking, so that it
// shows a state even when this program hangs.
type LED struct {
	dir   string
	shown LEDState
}

// errNoLED says that there is none; a board may well have none.
var errNoLED = errors.New("this board has no LED that can be driven")

// LED finds an LED by its name under /sys/class/leds; empty is the activity
// LED of a Raspberry Pi.
func (b *Board) LED(name string) (*LED, error) {
	names := []string{name}
	if name == "" {
		names = []string{"ACT", "led0"}
	}
	if b.info.Simulated {
		return nil, errNoLED
	}
	for _, n := range names {
		dir := filepath.Join(b.root, "sys/class/leds", filepath.Base(n))
		if _, err := os.Stat(filepath.Join(dir, "trigger")); err == nil {
			return &LED{dir: dir}, nil
		}
	}
	return nil, errNoLED
}

// Show makes the LED tell a state.
func (l *LED) Show(s LEDState) error {
	if s == l.shown {
		return nil
	}
	var err error
	switch s {
	case LEDStarting:
		err = l.blink(100, 400)
	case LEDHealthy:
		if err = l.write("trigger", "heartbeat"); err != nil {
			err = l.steady(true) // a kernel without that trigger
		}
	case LEDUplinkDown:
		err = l.blink(1800, 200)
	case LEDFault:
		err = l.blink(60, 60)
	case LEDOff:
		err = l.steady(false)
	default:
		return fmt.Errorf("led: no state %q", s)
	}
	if err != nil {
		return fmt.Errorf("led: %w", err)
	}
	l.shown = s
	return nil
}

func (l *LED) blink(on, off int) error {
	return errors.Join(l.write("trigger", "timer"), l.write("delay_on", strconv.Itoa(on)), l.write("delay_off", strconv.Itoa(off)))
}

func (l *LED) steady(on bool) error {
	v := "0"
	if on {
		v = "1"
	}
	return errors.Join(l.write("trigger", "none"), l.write("brightness", v))
}

func (l *LED) write(file, text string) error {
	return os.WriteFile(filepath.Join(l.dir, file), []byte(text), 0)
}

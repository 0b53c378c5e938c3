package board

import (
	"fmt"
	"strconv"
	"strings"
)

// busName brings the names people use to one: "1", "I2C1" and "/dev/i2c-1" are
// "i2c-1"; "/dev/spidev0.0" is "spi0.0"; "w1_bus_master1" is "w1-1".
func busName(name string) string {
	n := strings.ToLower(strings.TrimPrefix(name, "/dev/"))
	if _, err := strconv.Atoi(n); err == nil {
		return "i2c-" + n
	}
	if rest, ok := strings.CutPrefix(n, "i2c"); ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
		return "i2c-" + rest
	}
	if rest, ok := strings.CutPrefix(n, "spidev"); ok {
		return "spi" + rest
	}
	if rest, ok := strings.CutPrefix(n, "w1_bus_master"); ok {
		return "w1-" + rest
	}
	return n
}

func serialName(name string) string { return strings.TrimPrefix(name, "/dev/") }

// headerLines maps the pins of the Raspberry Pi's 40-pin header to GPIO
// numbers; 0 is power, ground or the EEPROM's bus.
var headerLines = [41]int{3: 2, 5: 3, 7: 4, 8: 14, 10: 15, 11: 17, 12: 18, 13: 27, 15: 22, 16: 23, 18: 24, 19: 10, 21: 9,
	22: 25, 23: 11, 24: 8, 26: 7, 29: 5, 31: 6, 32: 12, 33: 13, 35: 19, 36: 16, 37: 26, 38: 20, 40: 21}

// lineName brings the names people use to one: "17", "gpio17", "BCM17" and
// "pin 11" are "GPIO17"; "gpiochip0:17" and names of the kernel stay.
func lineName(name string) (string, error) {
	n := strings.TrimSpace(name)
	if strings.Contains(n, ":") {
		return n, nil
	}
	low := strings.ToLower(n)
	for _, prefix := range []string{"p1_", "p1-", "pin"} {
		if rest, ok := strings.CutPrefix(low, prefix); ok {
			p, err := strconv.Atoi(strings.TrimSpace(rest))
			if err != nil {
				return n, nil // some other name that begins so
			}
			if p < 1 || p >= len(headerLines) || headerLines[p] == 0 {
				return "", fmt.Errorf("pin %d of the header is no GPIO", p)
			}
			return "GPIO" + strconv.Itoa(headerLines[p]), nil
		}
	}
	for _, prefix := range []string{"gpio", "bcm", ""} {
		if rest, ok := strings.CutPrefix(low, prefix); ok {
			if v, err := strconv.Atoi(rest); err == nil && v >= 0 {
				return "GPIO" + strconv.Itoa(v), nil
			}
		}
	}
	return n, nil
}

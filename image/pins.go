//go:build pins

// Package image pins what the SD-card image is made of: gok, which makes it,
// and the programs in it. The build tag keeps the compiler out; `go mod tidy`
// reads the list all the same.
package image

import (
	_ "gatewayd/cmd/gatewayd"

	_ "github.com/gokrazy/firmware"
	_ "github.com/gokrazy/gokrazy"
	_ "github.com/gokrazy/gokrazy/cmd/dhcp"
	_ "github.com/gokrazy/gokrazy/cmd/heartbeat"
	_ "github.com/gokrazy/gokrazy/cmd/ntp"
	_ "github.com/gokrazy/gokrazy/cmd/randomd"
	_ "github.com/gokrazy/kernel.rpi"
	_ "github.com/gokrazy/rpi-eeprom"
	_ "github.com/gokrazy/tools/cmd/gok"
)

//go:build !linux || !(arm || arm64)

package main

import "os"

// main says why this is not the place: the program is the init of an emulated
// ARM board.
func main() {
	os.Stderr.WriteString("guest is built for linux/arm and linux/arm64 by the rigs\n")
	os.Exit(2)
}

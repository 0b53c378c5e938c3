// Package plan is what the host tells the init of an emulated board to do. It
// travels as /guest.json in the initramfs.
package plan

// Plan is one boot.
type Plan struct {
	Address string   // of the network interface (/24); empty: no network
	Disk    string   // block device to mount on /data; empty: a memory file system
	Format  string   // file system on Disk
	Devices []string // wait for these before the first step
	// Park makes the init stop before it touches Disk and wait for the host to
	// type "go SEED TIME": a board whose state is saved there starts in a
	// fraction of a boot. SEED gives each start its own randomness, TIME (Unix
	// seconds) its clock.
	Park  bool
	Steps []Step // run one after the other
}

// Step is one program run.
type Step struct {
	Name string
	Args []string
	Env  []string
	// Background steps are started and left running.
	Background bool
}

package auth

import (
	"os"
	"time"
)

// stamp tells one version of a file from another without reading it.
type stamp struct {
	at   time.Time
	size int64
}

// stamps are those of the files that the options name; zero: there is none.
func (a *Authority) stamps() (s [3]stamp) {
	for i, name := range [...]string{a.opts.PasswordFile, a.opts.ScramFile, a.opts.ACLFile} {
		if name == "" {
			continue
		}
		if info, err := os.Stat(name); err == nil {
			s[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return s
}

// Stale says whether a file was changed since the last Reload, whether that took
// it or not.
func (a *Authority) Stale() bool { return a.stamps() != *a.read.Load() }

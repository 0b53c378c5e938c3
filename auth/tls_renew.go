package auth

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Renewed reads the files again when they are not those that were read last, by
// their sizes and times, and says whether it did. Files that are being replaced
// one after the other may be wrong for a moment: then it changes nothing, returns
// the error, and the next call tries again. One goroutine calls it.
func (s *ServerTLS) Renewed() (bool, error) {
	now := s.opts.stamp()
	if s.stamp == now {
		return false, nil
	}
	if err := s.Reload(); err != nil {
		return false, err
	}
	s.stamp = now
	return true, nil
}

// stamp tells one state of the files from another.
func (o TLSOptions) stamp() string {
	var b strings.Builder
	for _, name := range []string{o.Cert, o.Key, o.Chain, o.ClientCA, o.CRL} {
		if name == "" {
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			fmt.Fprintln(&b, name, "is missing")
			continue
		}
		fmt.Fprintln(&b, name, info.Size(), info.ModTime().UnixNano())
		if !info.IsDir() {
			continue
		}
		entries, _ := os.ReadDir(name) // one that cannot be read says so at the reload
		for _, e := range entries {
			if in, err := os.Stat(filepath.Join(name, e.Name())); err == nil {
				fmt.Fprintln(&b, e.Name(), in.Size(), in.ModTime().UnixNano())
			}
		}
	}
	return b.String()
}

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// openAndRestore opens the store and reads its index. A store that is damaged is
// set aside whole, what can be read of it is copied into a new one, and Health
// says so; anything else that is wrong is an error.
func (s *Store) openAndRestore() error {
	if s.dir == "" {
		s.be = newMemoryBackend()
		return s.restore()
	}
	err := s.openOnce()
	if err == nil || !damaged(err) {
		return err
	}
	aside := s.dir + ".damaged-" + time.Now().UTC().Format("20060102T150405.000")
	s.opts.Log.Error("the store is damaged and was set aside", "dir", aside, "err", err)
	if err := os.Rename(s.dir, aside); err != nil {
		return fmt.Errorf("store: set the damaged store aside: %w", err)
	}
	if err := s.openOnce(); err != nil {
		return err
	}
	r, err := s.salvage(aside)
	if err != nil {
		s.opts.Log.Error("nothing could be salvaged", "dir", aside, "err", err)
	}
	s.salvaged = fmt.Sprintf("the store was damaged on %s: %d records were salvaged, %d could not be read; the damaged files are in %s",
		time.Now().UTC().Format(time.DateTime), r.good, r.bad, aside)
	s.opts.Log.Warn("the store was salvaged", "records", r.good, "unreadable", r.bad)
	return nil
}

func (s *Store) openOnce() error {
	s.clearLocked()
	be, err := s.openBackend()
	if err != nil {
		return err
	}
	s.be = be
	if err := s.restore(); err != nil {
		be.close()
		s.be = nil
		return err
	}
	return nil
}

func (s *Store) openBackend() (backend, error) {
	verify, err := s.noteStart()
	if err != nil {
		return nil, err
	}
	be, err := openBadger(s.dir, s.tune, s.opts.Log)
	if err != nil {
		return nil, err
	}
	if !s.warned {
		s.warned = true
		switch {
		case !Corrected():
			s.opts.Log.Warn("this program was built without the corrections to its database: a disk that others fill, or that fails, can end it and cost messages; build it with make build", "see", "docs/decisions/0002-32-bit-overlay.md")
		case !preallocated(s.dir):
			s.opts.Log.Info("the store's files do not get their blocks in advance, so others that fill the disk can end the gateway: the file system cannot reserve them, or this program was built without the corrections to its database", "dir", s.dir)
		}
	}
	if verify {
		if err := be.verify(); err != nil {
			be.close()
			return nil, err
		}
	}
	if s.opts.wrap != nil {
		return s.opts.wrap(be), nil
	}
	if s.opts.BeforeWrite != nil {
		return held{be, s.opts.BeforeWrite}, nil
	}
	return be, nil
}

// held is a backend whose transactions wait for somebody.
type held struct {
	backend
	before func() error
}

func (h held) write(w *writes) error {
	if err := h.before(); err != nil {
		return err
	}
	return h.backend.write(w)
}

// startsFile has a byte for each start since the last clean end. badger panics
// in its own goroutines on damaged tables, which nobody can catch: after two
// starts that did not end well the tables are verified first, so that damage
// leads to a salvage and not to a crash loop.
const startsFile = "starts"

func (s *Store) noteStart() (verify bool, err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return false, fmt.Errorf("store: %w", err)
	}
	unlock, err := lockFolder(s.dir)
	if err != nil {
		return false, err
	}
	defer unlock()
	f, err := os.OpenFile(filepath.Join(s.dir, startsFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return false, fmt.Errorf("store: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("store: %w", err)
	}
	if _, err := f.Write([]byte{'.'}); err != nil {
		return false, fmt.Errorf("store: %w", err)
	}
	return st.Size() >= 2, nil
}

func (s *Store) noteEnd() {
	if s.dir != "" {
		os.Remove(filepath.Join(s.dir, startsFile))
	}
}

// damaged says whether an error of opening means that the files are, and not
// that they are in use, out of reach, or of a newer program.
func damaged(err error) bool {
	var version *VersionError
	for _, e := range []error{
		fs.ErrPermission, syscall.EROFS, syscall.ENOSPC, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO, syscall.ENOTDIR, errArena, ErrInUse,
	} {
		if errors.Is(err, e) {
			return false
		}
	}
	text := err.Error()
	return !errors.As(err, &version) &&
		!strings.Contains(text, "cannot allocate memory") &&
		!strings.Contains(text, "unsupported version") // badger's own format, of a newer badger
}

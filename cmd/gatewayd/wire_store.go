package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"gatewayd/config"
	"gatewayd/store"
)

// storeOptions turns the configuration into the store's options; whoever
// calls adds the clock and what follows a delivery.
func storeOptions(c *config.Config, log *slog.Logger) store.Options {
	largest := c.MQTT.MaxPacketSize
	for _, l := range c.Listeners {
		largest = max(largest, l.MaxPacketSize)
	}
	return store.Options{
		Large: c.Store.Memory == "large", Log: log,
		MaxPending: int(c.Store.MaxPending), MaxBytes: int64(c.Store.MaxBytes), MaxMessage: int(largest),
		MaxMessages: c.Store.MaxMessages, MaxAge: c.Store.MaxAge.D().Milliseconds(),
		CommitDelay: c.Store.CommitDelay.D(), LazyInterval: c.Store.LazyInterval.D(), WriteBudget: int64(c.Store.WriteBudget),
		CardWrites: c.Store.CardWrites,
	}
}

// dataFolder makes the folder of the store, unless nothing is to be kept, and
// sees that it can be written.
func dataFolder(c *config.Config) (string, error) {
	if !c.Store.Persistence {
		return "", nil
	}
	dir := c.Gateway.DataDir
	fault := func(err error) error {
		const at = "gateway.data_dir"
		switch {
		case errors.Is(err, fs.ErrPermission):
			return c.Errorf(at, "let this user write it, or name another", "the data folder %s may not be written", dir)
		case errors.Is(err, errNoFolder):
			return c.Errorf(at, "name a folder", "the data folder %s is a file", dir)
		}
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err
		}
		return c.Errorf(at, "name a folder that can be written", "the data folder %s cannot be used: %s", dir, err)
	}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return "", fault(errNoFolder)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fault(err)
	}
	probe, err := os.CreateTemp(dir, ".probe-")
	if err != nil {
		return "", fault(err)
	}
	name := probe.Name()
	if err := errors.Join(probe.Close(), os.Remove(name)); err != nil {
		return "", fault(err)
	}
	return filepath.Join(dir, "store"), nil
}

var errNoFolder = errors.New("not a folder")

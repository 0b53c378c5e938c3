package store

import (
	"runtime/debug"
	"testing"
)

func TestReplaced(t *testing.T) {
	const badger, other = "github.com/dgraph-io/badger/v4", "github.com/dgraph-io/ristretto/v2"
	info := &debug.BuildInfo{Deps: []*debug.Module{{Path: other}, {Path: badger, Replace: &debug.Module{Path: "./bin/overlay/badger"}}}}
	if !replaced(info, badger) || replaced(info, other) || replaced(info, "example.com/none") {
		t.Error("only badger is replaced there")
	}
}

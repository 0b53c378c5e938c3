package store

import (
	"runtime/debug"
	"sync"
)

// Corrected says whether this program was built with the corrections to badger
// that `make build` applies (docs/decisions/0002). Without them a full disk can
// end the process, and cost what was being merged. A program that does not know
// what it was built from, as tests are, counts as corrected.
var Corrected = sync.OnceValue(func() bool {
	info, ok := debug.ReadBuildInfo()
	return !ok || len(info.Deps) == 0 || replaced(info, "github.com/dgraph-io/badger/v4") && replaced(info, "github.com/dgraph-io/ristretto/v2")
})

func replaced(info *debug.BuildInfo, module string) bool {
	for _, m := range info.Deps {
		if m.Path == module {
			return m.Replace != nil
		}
	}
	return false
}

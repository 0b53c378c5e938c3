#!/usr/bin/env bash
# Runs the fuzz targets of the module, one after the other.
#   fuzz.sh DURATION [REGEXP]    so long each; only targets whose name matches
# FUZZPARALLEL bounds the worker processes, default: one a core.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-3s}
only=${2:-.}
modfile=$(scripts/badger-overlay.sh)
found=0
while IFS=: read -r file name; do
	[[ $name =~ $only ]] || continue
	found=$((found + 1))
	echo "== $(dirname "$file") $name"
	go test -modfile "$modfile" -run '^$' -fuzz "^$name\$" -fuzztime "$time" -parallel "${FUZZPARALLEL:-$(nproc)}" "./$(dirname "$file")"
done < <(git ls-files --cached --others --exclude-standard '*_test.go' | grep -v '^test/' | xargs grep -HoE '^func Fuzz[A-Za-z0-9_]*' | sed 's/func //')
[ "$found" -gt 0 ] || { echo "no fuzz target matches $only"; exit 1; }

#!/usr/bin/env bash
# Runs every fuzz target of the module for a time each.  fuzz.sh DURATION
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-60s}
found=0
while IFS=: read -r file name; do
	found=$((found + 1))
	echo "== $(dirname "$file") $name"
	go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "./$(dirname "$file")"
done < <(git ls-files '*_test.go' | grep -v '^test/' | xargs grep -HoE '^func Fuzz[A-Za-z0-9_]*' | sed 's/func //')
[ "$found" -gt 0 ] || { echo "no fuzz target found"; exit 1; }

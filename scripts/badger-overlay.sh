#!/usr/bin/env bash
# Prints the path of a go.mod for `go build -modfile` in which badger's allocator has one expression corrected: on
# 32-bit machines it is 0 and badger corrupts its tables (docs/decisions/0002). The module is copied from the module
# cache at build time; go does not let an -overlay replace files there. The digest guards the edit: with another
# version of the module the line has to be looked at again.
set -euo pipefail
cd "$(dirname "$0")/.."
module=github.com/dgraph-io/ristretto/v2
digest=b9e7b23942c19c22f753ad4d09c1dcacc23bba627034d724d04ec078109a0f0c
wrong='uint64((bufIdx+1)<<32)' right='uint64(bufIdx+1)<<32'

go mod download "$module"
dir=$(go list -m -f '{{.Dir}}' "$module")
if ! printf '%s  %s\n' "$digest" "$dir/z/allocator.go" | sha256sum --check --status; then
	echo "$0: $dir/z/allocator.go is not the file this correction was made for; look at its Allocate and renew the digest, or drop the correction" >&2
	exit 1
fi
out=bin/overlay
mkdir -p "$out"
# Several builds may ask at once, and one may be compiling from what another would replace.
exec 9>"$out/lock"
flock 9
done=$out/made-from
state="$digest $(sha256sum go.mod go.sum scripts/badger-overlay.sh | sha256sum)"
if [ -f "$done" ] && [ "$(<"$done")" = "$state" ]; then
	echo "$PWD/$out/go.mod"
	exit 0
fi
new=$out/new.$$
rm -rf "$new"
mkdir -p "$new"
cp -r "$dir/." "$new/"
chmod -R u+w "$new"
text=$(<"$dir/z/allocator.go")
if [ "${text/"$wrong"/}" = "$text" ]; then
	echo "$0: $dir/z/allocator.go does not have the expression to be corrected" >&2
	exit 1
fi
printf '%s\n' "${text/"$wrong"/"$right"}" >"$new/z/allocator.go"
rm -rf "$out/ristretto"
mv "$new" "$out/ristretto"
cp go.mod "$out/go.mod"
cp go.sum "$out/go.sum"
go mod edit -replace "$module=./$out/ristretto" "$out/go.mod"
printf '%s\n' "$state" >"$done"
echo "$PWD/$out/go.mod"

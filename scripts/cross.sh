#!/usr/bin/env bash
# Builds the static release binaries.  cross.sh LDFLAGS
# They are built from a go.mod that corrects a few expressions in the database (docs/decisions/0002).
set -euo pipefail
cd "$(dirname "$0")/.."
ldflags=${1:-}
mkdir -p dist
export CGO_ENABLED=0 GOOS=linux
modfile=$(scripts/badger-overlay.sh)
for target in amd64 arm64 arm-7 arm-6; do
	arch=${target%-*} arm=${target#*-} name=gatewayd-linux-$arch
	if [ "$arch" = arm ]; then
		name=gatewayd-linux-armv$arm
		export GOARM=$arm
	fi
	GOARCH=$arch go build -modfile "$modfile" -trimpath -ldflags "$ldflags" -o "dist/$name" ./cmd/gatewayd
	printf '%-24s %s bytes\n' "$name" "$(stat -c %s "dist/$name")"
done

#!/usr/bin/env bash
# Installs the Debian packages that a target needs and this machine lacks.
#   setup-debian.sh test|check|rigs
# On another system it says what to install and goes on: tests whose peer is missing say so.
set -euo pipefail

case "${1:-test}" in
test)  wanted="mosquitto mosquitto-clients qemu-user-static haproxy iproute2 tinyproxy-bin microsocks nginx-light" ;;
check) wanted="gcc libc6-dev" ;;
rigs)  wanted="mosquitto mosquitto-clients qemu-system-arm e2fsprogs kmod squashfs-tools" ;;
*) echo "setup-debian.sh: unknown set '$1', use test, check or rigs" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null; then
	echo "not a Debian system: please see to it that these are installed: $wanted" >&2
	exit 0
fi

missing=""
for p in $wanted; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

run=""
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || { echo "missing:$missing; run as root: apt-get install$missing" >&2; exit 1; }
	run="sudo"
fi
echo "installing:$missing"
# The tests start their own brokers; Debian's service must not take port 1883 meanwhile.
policy=/usr/sbin/policy-rc.d
made=""
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' | $run tee "$policy" >/dev/null
	$run chmod +x "$policy"
	made=1
fi
trap '[ -z "$made" ] || $run rm -f "$policy"' EXIT
$run apt-get update -qq
# shellcheck disable=SC2086
$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null

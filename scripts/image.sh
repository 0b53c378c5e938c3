#!/usr/bin/env bash
# Makes a bootable SD-card image with gatewayd as its only program beside time sync (docs/RIGS.md).
#   image.sh BOARD [FILE]          BOARD: rpi3 rpi4 rpi5 zero2w
# Environment: OPEN=1 lets everybody in without a password; otherwise IMAGE_USER (default: gateway) and IMAGE_PASSWORD
# (default: made up and printed) are the one user. IMAGE_CONFIG is a configuration to use instead of image/gatewayd.yaml.
# IMAGE_HOSTNAME (default: gatewayd), IMAGE_MB (default: 2048): the size of the file, which fits any larger card.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
root=$PWD

board=${1:-}
overlay=w1-gpio
case "$board" in
rpi3 | rpi4 | zero2w) ;;
rpi5) overlay=w1-gpio-pi5 ;;
*) echo "image.sh: say the board: rpi3, rpi4, rpi5 or zero2w" >&2; exit 2 ;;
esac
out=${2:-dist/gatewayd-$board.img}
mkdir -p "$(dirname "$out")"
out=$(realpath "$out")
for tool in mkfs.ext4 sfdisk mksquashfs; do
	command -v $tool >/dev/null || { echo "image.sh: $tool is missing; scripts/setup-debian.sh rigs installs it" >&2; exit 1; }
done

# json FILE prints a text file as one JSON string.
json() {
	sed -e 's/\\/\\\\/g; s/"/\\"/g; s/\t/\\t/g' "$1" | awk 'BEGIN {printf "\""} {printf "%s\\n", $0} END {printf "\""}'
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
instance=$work/gw
mkdir -p "$instance/builddir"

# One go.mod pins everything in the image; without it gok would fetch whatever is newest.
sed "s#^replace gatewayd => .*#replace gatewayd => $root#" image/go.mod >"$instance/builddir/go.mod"
cp image/go.sum "$instance/builddir/"
# The corrections of the database (docs/decisions/0002) belong to every build.
sed -n "s#^\(replace .* => \)\./#\1$root/#p" "$(scripts/badger-overlay.sh)" >>"$instance/builddir/go.mod"
# -mod=mod: a dependency that gatewayd has gained since image/go.mod was tidied is taken from gatewayd's own go.mod.
(cd "$instance/builddir" && CGO_ENABLED=0 go build -mod=mod -o "$work/gok" github.com/gokrazy/tools/cmd/gok)
version=$(git describe --tags --always --dirty 2>/dev/null || echo dev)

cp "${IMAGE_CONFIG:-image/gatewayd.yaml}" "$work/gatewayd.yaml"
passwd=
if [ -n "${OPEN:-}" ]; then
	printf '\nauth: {anonymous: true}\n' >>"$work/gatewayd.yaml"
elif [ -z "${IMAGE_CONFIG:-}" ]; then
	user=${IMAGE_USER:-gateway}
	password=${IMAGE_PASSWORD:-$(od -An -N9 -tx1 /dev/urandom | tr -d ' \n')}
	printf '\nauth: {password_file: passwd}\n' >>"$work/gatewayd.yaml"
	CGO_ENABLED=0 go build -o "$work/gatewayd" ./cmd/gatewayd
	echo "$password" | "$work/gatewayd" passwd "$work/passwd" "$user" >/dev/null
	passwd="\"/etc/gatewayd/passwd\": $(json "$work/passwd"),"
fi
machine=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')

cat >"$instance/config.json" <<JSON
{
  "Hostname": "${IMAGE_HOSTNAME:-gatewayd}",
  "Update": {"NoPassword": true, "UseTLS": "off"},
  "Environment": ["GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0"],
  "Packages": ["gatewayd/cmd/gatewayd"],
  "PackageConfig": {
    "gatewayd/cmd/gatewayd": {
      "CommandLineFlags": ["run", "-c", "/etc/gatewayd/gatewayd.yaml"],
      "GoBuildFlags": ["-trimpath", "-ldflags=-s -w -X main.version=$version"],
      "ExtraFileContents": {$passwd "/etc/gatewayd/gatewayd.yaml": $(json "$work/gatewayd.yaml")}
    },
    "github.com/gokrazy/gokrazy/cmd/randomd": {"ExtraFileContents": {"/etc/machine-id": "$machine\n"}}
  },
  "SerialConsole": "serial0,115200",
  "BootloaderExtraLines": ["dtparam=i2c_arm=on", "dtparam=spi=on", "dtoverlay=$overlay", "dtparam=watchdog=on"]
}
JSON

echo "building $out for $board"
rm -f "$out"
"$work/gok" --parent_dir "$work" -i gw overwrite --full="$out" --target_storage_bytes=$((${IMAGE_MB:-2048} << 20)) >"$work/log" 2>&1 ||
	{ cat "$work/log" >&2; exit 1; }

# The fourth partition is /perm. gok leaves it unformatted, and a device that boots must not do it.
read -r start sectors < <(sfdisk -l -o Start,Sectors "$out" | awk '/^ *[0-9]+ +[0-9]+$/ {n++; if (n == 4) print $1, $2}')
[ -n "${sectors:-}" ] || { echo "image.sh: $out has no fourth partition" >&2; exit 1; }
mkfs.ext4 -q -F -L perm -E "offset=$((start * 512))" "$out" "$((sectors / 2))k"

echo "made $out: $(du -h --apparent-size "$out" | cut -f1), $(du -h "$out" | cut -f1) of it used"
if [ -n "$passwd" ]; then
	echo "user: $user"
	echo "password: $password"
fi
[ "$board" != rpi5 ] || echo "note: this kernel has no driver for the I2C and SPI on a Pi 5's header; its GPIO and 1-wire work"

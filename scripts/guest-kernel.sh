#!/usr/bin/env bash
# Fetches a Debian kernel for an emulated board and prints the folder it lies in.  guest-kernel.sh arm64|armmp
#
# The folder holds vmlinuz, the device tree where the board needs one, and modules/NN-name.ko: what the rigs load, numbered
# in the order in which it must be inserted. The packages are of a foreign architecture: they are downloaded into a private
# apt state and unpacked, never installed, so neither root nor `dpkg --add-architecture` is needed.
# Exit 3: it could not be had here (no apt, no network); the reason is on standard error.
set -euo pipefail

release=bookworm # the rigs' arguments are known to work with this kernel, 6.1
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
case "${1:-}" in
arm64) arch=arm64 meta=linux-image-arm64 dtb="" modules="virtio_mmio virtio_pci virtio_blk virtio_net ext4" ;;
armmp) arch=armhf meta=linux-image-armmp dtb=imx6q-sabrelite.dtb modules="i2c-imx i2c-dev gpio-mxc fec" ;;
*) echo "guest-kernel.sh: say arm64 or armmp" >&2; exit 2 ;;
esac

cache=${XDG_CACHE_HOME:-$HOME/.cache}/gatewayd
out=$cache/kernel-$1
mkdir -p "$cache"
exec 9>"$out.lock"
flock 9
if [ -e "$out/complete" ]; then
	echo "$out"
	exit 0
fi
for tool in apt-get apt-cache dpkg-deb depmod modprobe; do
	PATH=$PATH:/usr/sbin:/sbin command -v $tool >/dev/null || { echo "no $tool on this system, so no guest kernel" >&2; exit 3; }
done
[ -e $keyring ] || { echo "no $keyring, so no guest kernel" >&2; exit 3; }
PATH=$PATH:/usr/sbin:/sbin

work=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/apt/{lists/partial,cache/archives/partial,parts,prefs} "$work/deb" "$work/root"
: >"$work/apt/status"
echo "deb [signed-by=$keyring] http://deb.debian.org/debian $release main" >"$work/apt/sources.list"
apt=(-q -o "APT::Architecture=$arch" -o "APT::Architectures=$arch" -o "Dir::State=$work/apt" -o "Dir::State::lists=$work/apt/lists"
	-o "Dir::State::status=$work/apt/status" -o "Dir::Cache=$work/apt/cache" -o "Dir::Etc::sourcelist=$work/apt/sources.list"
	-o "Dir::Etc::sourceparts=$work/apt/parts" -o "Dir::Etc::preferencesparts=$work/apt/prefs" -o Acquire::Languages=none -o APT::Sandbox::User=root)
{
	apt-get "${apt[@]}" update || { echo "the package index of Debian $release $arch cannot be had" >&2; exit 3; }
	package=$(apt-cache "${apt[@]}" depends $meta | awk '/Depends: linux-image-[0-9]/ {print $2; exit}')
	[ -n "$package" ] || { echo "Debian $release $arch names no kernel" >&2; exit 3; }
	(cd "$work/deb" && apt-get "${apt[@]}" download "$package") || { echo "$package cannot be had" >&2; exit 3; }
	dpkg-deb -x "$work"/deb/*.deb "$work/root"
} >&2

kernel=$(basename "$work"/root/boot/vmlinuz-*)
version=${kernel#vmlinuz-}
mkdir -p "$work/out/modules"
cp "$work/root/boot/$kernel" "$work/out/vmlinuz"
[ -z "$dtb" ] || cp "$work/root/usr/lib/linux-image-$version/$dtb" "$work/out/"
depmod -b "$work/root" "$version"
n=10
seen=" "
for m in $modules; do
	while read -r _ file _; do
		case "$seen" in *" $file "*) continue ;; esac
		seen="$seen$file "
		cp "$file" "$work/out/modules/$n-$(basename "$file")"
		n=$((n + 1))
	done < <(modprobe -d "$work/root" -S "$version" --show-depends "$m" | grep ^insmod || true)
done
echo "$version" >"$work/out/complete"
rm -rf "$out"
mv "$work/out" "$out"
echo "$out"

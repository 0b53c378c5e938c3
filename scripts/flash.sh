#!/usr/bin/env bash
# Writes an image to a memory card, and reads it back.  flash.sh DEVICE IMAGE
# It refuses anything that is mounted, in use, or looks like a disk of this computer, shows what will be erased, and asks.
# FLASH_YES=DEVICE answers the question for a script.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
device=${1:-} image=${2:-}

refuse() { echo "flash.sh: $*; nothing was written" >&2; exit 1; }

if [ -z "$device" ] || [ -z "$image" ]; then
	echo "flash.sh: say the device and the image: make flash DEV=/dev/sdX BOARD=rpi4. There are:" >&2
	lsblk -dpo NAME,SIZE,TYPE,TRAN,RM,MODEL >&2 || true
	exit 2
fi
[ -f "$image" ] || refuse "there is no image $image (make image BOARD=… makes it)"
[ -b "$device" ] || refuse "$device is no block device"
device=$(realpath "$device")
type=$(lsblk -dnro TYPE "$device")
case "$type" in
disk | loop) ;;
part) refuse "$device is a partition; name the whole card, such as $(lsblk -dnpro PKNAME "$device")" ;;
*) refuse "$device is of type $type, not a disk" ;;
esac

# In use: a mount, swap, or something built on top of it (LVM, RAID, encryption).
used=$(lsblk -nro MOUNTPOINTS "$device" | sed 's/\\x0a/\n/g' | grep -v '^ *$' | sort -u | paste -sd ' ' || true)
[ -z "$used" ] || refuse "$device is in use at $used; unmount it first if it is the card"
above=$(lsblk -nro NAME,TYPE "$device" | awk '$2 != "disk" && $2 != "part" && $2 != "loop" {print $1}' | paste -sd ' ')
[ -z "$above" ] || refuse "$device carries $above, so it belongs to a running system"

read -r removable transport < <(lsblk -dnro RM,TRAN "$device")
case "$type/$removable/${transport:-}/$device" in
loop/* | */1/* | */usb/* | */mmc/* | *//dev/mmcblk*) ;;
*) refuse "$device is a fixed disk of this computer (${transport:-no} bus, not removable)" ;;
esac

size=$(stat -c %s "$image")
room=$(blockdev --getsize64 "$device")
[ "$room" -ge "$size" ] || refuse "$device has $room bytes, the image needs $size"
[ "$(blockdev --getro "$device")" = 0 ] || refuse "$device is write-protected"

echo "This erases everything on $device:"
lsblk -po NAME,SIZE,TYPE,FSTYPE,LABEL,MODEL "$device"
echo "and writes $image ($((size >> 20)) MB)."
if [ "${FLASH_YES:-}" != "$device" ]; then
	read -r -p "Type $device to go on: " answer || answer=
	[ "$answer" = "$device" ] || refuse "not confirmed"
fi

dd if="$image" of="$device" bs=4M conv=fsync status=progress
# What is compared must come from the card, not from memory.
blockdev --flushbufs "$device"
echo "reading it back"
cmp -n "$size" "$image" "$device" || { echo "flash.sh: $device does not hold what was written: the card is bad, or the reader" >&2; exit 1; }
blockdev --rereadpt "$device" 2>/dev/null || true
echo "$device holds the image; take it out and put it into the board"

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# guests.sh kernel|busybox: what test guests boot, from Debian's binary packages, not installed:
#   $D/guests/vmlinuz   the cloud kernel as shipped (bzImage)
#   $D/guests/vmlinux   its payload, the uncompressed ELF with the PVH note
#   $D/guests/busybox   the static busybox
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/fetch.sh"
mkdir -p "$D/guests"

case $1 in
kernel)
	# linux-image-cloud-amd64 is a metapackage whose dependency names the current kernel.
	apt_private
	image=$(apt-cache $APT show --no-all-versions linux-image-cloud-amd64 |
		sed -n 's/^Depends: \(linux-image-[^ ,]*\).*/\1/p')
	fetch_binary "$image" GPL-2.0
	rm -rf "$D/dl/kernel"
	mkdir -p "$D/dl/kernel"
	dpkg-deb --fsys-tarfile "$D/dl/$image"/*.deb | tar -C "$D/dl/kernel" -x --wildcards './boot/vmlinuz-*'
	cp "$D"/dl/kernel/boot/vmlinuz-* "$D/guests/vmlinuz"
	/usr/bin/python3 "$here/vmlinux.py" "$D/guests/vmlinuz" "$D/guests/vmlinux"
	;;
busybox)
	fetch_binary busybox-static GPL-2.0
	rm -rf "$D/dl/busybox"
	dpkg-deb -x "$D"/dl/busybox-static/*.deb "$D/dl/busybox"
	cp "$(find "$D/dl/busybox" -path "*/bin/busybox" -type f)" "$D/guests/busybox"
	;;
*)
	exit 1
	;;
esac

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# source.sh lua|libfdt|zycore|zydis|bearssl: unpacks that library's sources as $D/src/NAME. They are
# compiled by the Makefile, with the flags of the image and once more for host tests.
set -eu
. "$(dirname "$0")/fetch.sh"

# flat PACKAGE SUBDIR...: $D/src/$lib becomes the files of these directories, flat.
flat() {
	rm -rf "$D/src/$lib"
	mkdir -p "$D/src/$lib"
	pkg=$1
	shift
	for sub in "$@"; do
		cp "$D/dl/$pkg/tree/$sub"/*.[ch] "$D/src/$lib/"
	done
}

lib=$1
case $lib in
lua)
	fetch_source lua5.4 MIT
	flat lua5.4 src
	# Debian's luaconf.h includes a header that its own build makes.
	echo '#define DEB_HOST_MULTIARCH "corbel"' >"$D/src/lua/lua5.4-deb-multiarch.h"
	;;
libfdt)
	# The same code in three packages: not every mirror carries the first.
	if fetch_source device-tree-compiler BSD-2-Clause; then
		flat device-tree-compiler libfdt
	elif fetch_source arm-trusted-firmware BSD-2-Clause; then
		flat arm-trusted-firmware lib/libfdt include/lib/libfdt
	elif fetch_source u-boot BSD-2-Clause; then
		flat u-boot scripts/dtc/libfdt
	else
		exit 1
	fi
	;;
zydis)
	fetch_source zydis MIT
	rm -rf "$D/src/zydis"
	mkdir -p "$D/src/zydis"
	cp -r "$D/dl/zydis/tree/include" "$D/dl/zydis/tree/src" "$D/src/zydis/"
	;;
bearssl)
	fetch_source bearssl MIT
	rm -rf "$D/src/bearssl"
	mkdir -p "$D/src/bearssl"
	cp -r "$D/dl/bearssl/tree/inc" "$D/dl/bearssl/tree/src" "$D/src/bearssl/"
	;;
zycore)
	# Zydis without its formatter needs nothing of this but type and status headers; those are
	# in the binary package too, where a mirror lacks the source.
	rm -rf "$D/src/zycore"
	mkdir -p "$D/src/zycore"
	if fetch_source zycore-c MIT; then
		cp -r "$D/dl/zycore-c/tree/include" "$D/src/zycore/"
	else
		fetch_binary libzycore-dev MIT
		dpkg-deb -x "$D"/dl/libzycore-dev/*.deb "$D/dl/libzycore-dev/tree"
		cp -r "$D/dl/libzycore-dev/tree/usr/include" "$D/src/zycore/"
	fi
	;;
*)
	echo "source.sh: unknown library $lib" >&2
	exit 1
	;;
esac

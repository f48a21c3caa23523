#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Brings every third-party piece below one directory: sources that are compiled into the image
# (Lua, libfdt, Zydis, BearSSL), newlib built for the bare machine, what test guests boot (a Debian
# kernel, busybox, packages for root file systems), and promtool for a test. Nothing third-party is committed; nothing outside DIR is
# written, apart from the packages that apt installs when some are missing.
#
# Usage: deps/setup.sh DIR. Steps that are done leave a mark and are not repeated, so a run on a
# finished DIR takes no time; a lock lets several builds share one DIR.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
D=$(cd "$1" && pwd)
export D
mkdir -p "$D/done" "$D/src" "$D/dl"

exec 9>"$D/.lock"
flock 9

say() { echo "deps: $*" >&2; }
die() { say "$*"; exit 1; }

# The mark carries a checksum of the recipe, so a changed script is run again.
step() {
	mark="$D/done/$1.$(cat "$here/$2" "$here/fetch.sh" | cksum | cut -d' ' -f1)"
	[ -e "$mark" ] && return 0
	say "$1 ..."
	shift
	script=$1
	shift
	sh -eu "$here/$script" "$@" >"$D/done/log" 2>&1 9>&- || {
		tail -n 30 "$D/done/log" >&2
		die "$script $* failed; the whole log is in $D/done/log"
	}
	: >"$mark"
}

sh -eu "$here/install.sh" "$here/packages" 9>&-
step newlib newlib.sh
step lua source.sh lua
step libfdt source.sh libfdt
step zycore source.sh zycore
step zydis source.sh zydis
step bearssl source.sh bearssl
step kernel guests.sh kernel
step modules modules.sh
step busybox guests.sh busybox
step root rootfs.sh root
step fio rootfs.sh fio
step promtool promtool.sh

cat "$D"/dl/*.manifest | sort >"$D/manifest.new"
mv "$D/manifest.new" "$D/manifest.txt"

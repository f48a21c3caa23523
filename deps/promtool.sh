#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# $D/bin/promtool, with which a test checks what corbelctl exports. It comes with Debian's package
# of Prometheus, which is not installed, so that no server starts on the machine that builds:
# only this one program, which needs no more than the C library, is unpacked.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/fetch.sh"

fetch_binary prometheus Apache-2.0
rm -rf "$D/dl/promtool"
mkdir -p "$D/dl/promtool" "$D/bin"
dpkg-deb --fsys-tarfile "$D"/dl/prometheus/*.deb | tar -C "$D/dl/promtool" -x ./usr/bin/promtool
mv "$D/dl/promtool/usr/bin/promtool" "$D/bin/promtool"
rm -r "$D/dl/promtool"
"$D/bin/promtool" --version

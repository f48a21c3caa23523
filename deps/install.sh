#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Installs those packages of a list (one name a line, # comments) that this machine lacks.
# Needs root only when something is missing, and says what to type when it is not root.
set -eu

names=$(sed 's/#.*//' "$1")
missing=
for p in $names; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) || state=
	[ "$state" = installed ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "deps: these packages are missing; as root:" >&2
	echo "    apt-get install --no-install-recommends$missing" >&2
	exit 1
fi
echo "deps: installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
apt-get update >"$log" 2>&1 </dev/null || cat "$log" >&2
# shellcheck disable=SC2086
if ! apt-get install -y --no-install-recommends $missing >"$log" 2>&1 </dev/null; then
	tail -n 30 "$log" >&2
	echo "deps: apt-get could not install$missing" >&2
	exit 1
fi
rm -f "$log"

# SPDX-License-Identifier: Apache-2.0
#
# Shell functions that fetch Debian source and binary packages without root and without touching
# the system's apt state: a private source list is derived from the configured one, with deb-src
# lines added. Each package is fetched on its own, so that a gap in a mirror stays local. The
# chain archive signature -> index -> SHA-256 of every file is checked by apt itself.

# Fills $APT (options) once per $D; refreshed when a day old.
apt_private() {
	priv="$D/apt"
	APT="-o Dir::Etc::sourcelist=$priv/sources.list -o Dir::Etc::sourceparts=$priv/parts
	     -o Dir::State::lists=$priv/lists -o Dir::Cache=$priv/cache -o Debug::NoLocking=true
	     -o APT::Sandbox::User= -o APT::Get::List-Cleanup=false"
	[ -n "$(find "$priv/fresh" -mtime -1 2>/dev/null)" ] && return 0
	rm -rf "$priv/parts"
	mkdir -p "$priv/parts" "$priv/lists/partial" "$priv/cache/archives/partial"
	: >"$priv/sources.list"
	eval "$(apt-config shell etc Dir::Etc/d)"
	for f in "$etc"sources.list "$etc"sources.list.d/*.list; do
		[ -e "$f" ] || continue
		sed -n '/cdrom:/d; /^deb[[:space:]]/{p; s/^deb/deb-src/; p}' "$f" \
			>"$priv/parts/$(basename "$f" .list | tr -c 'A-Za-z0-9\n' _).list"
	done
	for f in "$etc"sources.list.d/*.sources; do
		[ -e "$f" ] || continue
		sed 's/^Types:.*/Types: deb deb-src/' "$f" \
			>"$priv/parts/$(basename "$f" .sources | tr -c 'A-Za-z0-9\n' _).sources"
	done
	# A third-party archive that cannot be reached is no reason to stop: a package that is
	# really missing is noticed when it is fetched.
	apt-get $APT update </dev/null || echo "apt-get update: some indexes are missing, going on"
	: >"$priv/fresh"
}

# record NAME LICENCE FILE...: one manifest line per downloaded file.
record() {
	name=$1 licence=$2
	shift 2
	for f in "$@"; do
		printf '%-22s %-12s %s  %s\n' "$name" "$licence" "$(sha256sum <"$f" | cut -d' ' -f1)" "$(basename "$f")"
	done >"$D/dl/$name.manifest"
}

# fetch_source PACKAGE LICENCE: unpacks it, Debian's patches applied, as $D/dl/PACKAGE/tree.
fetch_source() {
	apt_private
	rm -rf "$D/dl/$1"
	mkdir -p "$D/dl/$1"
	(cd "$D/dl/$1" && apt-get $APT source --download-only "$1" </dev/null) || return 1
	# --no-check skips only the maintainer's own signature, whose keyring is not installed
	(cd "$D/dl/$1" && dpkg-source --no-check -x "$1"_*.dsc tree) || return 1
	record "$1" "$2" "$D/dl/$1"/*.dsc "$D/dl/$1"/*.tar.*
}

# fetch_binary PACKAGE LICENCE: leaves the .deb as $D/dl/PACKAGE/*.deb.
fetch_binary() {
	apt_private
	rm -rf "$D/dl/$1"
	mkdir -p "$D/dl/$1"
	(cd "$D/dl/$1" && apt-get $APT download "$1" </dev/null) || return 1
	record "$1" "$2" "$D/dl/$1"/*.deb
}

# SPDX-License-Identifier: Apache-2.0
#
# rootfs.sh root|fio: Debian packages that become guests' root file systems, not installed but kept as
# they are, $D/rootfs/root/*.deb and $D/rootfs/fio/*.deb: board/mkroot.py unpacks them. Each list names all
# that its programs need, so the same packages come whatever apt would recommend.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/fetch.sh"

case $1 in
root)
	# shell, usual commands, init, and the libraries that they are linked with
	packages="base-files base-passwd bash coreutils dash debianutils findutils grep hostname mount ncurses-base
		procps sed sysvinit-core sysvinit-utils util-linux
		libacl1 libattr1 libblkid1 libc6 libcap2 libcap-ng0 libcrypt1 libgcc-s1 libgcrypt20 libgmp10 libgpg-error0
		liblz4-1 liblzma5 libmount1 libncursesw6 libpcre2-8-0 libproc2-0 libselinux1 libsmartcols1 libsystemd0
		libtinfo6 libudev1 libuuid1 libzstd1"
	;;
fio)
	# fio is linked with each storage library it knows, so all of them are there when it starts
	packages="fio libaio1 libargon2-1 libboost-iostreams1.74.0 libboost-thread1.74.0 libbz2-1.0 libcom-err2
		libcryptsetup12 libdaxctl1 libdevmapper1.02.1 libffi8 libfmt9 libgfapi0 libgfrpc0 libgfxdr0 libglusterfs0
		libgnutls30 libgssapi-krb5-2 libhogweed6 libibverbs1 libicu72 libidn2-0 libjson-c5 libk5crypto3
		libkeyutils1 libkmod2 libkrb5-3 libkrb5support0 libnbd0 libndctl6 libnettle8 libnl-3-200
		libnl-route-3-200 libnuma1 libp11-kit0 libpmem1 libpmemblk1 librados2 librbd1 librdmacm1 libssl3
		libstdc++6 libtasn1-6 libtirpc3 libunistring2 libxml2 zlib1g"
	;;
*)
	exit 1
	;;
esac

apt_private
rm -rf "$D/rootfs/$1"
mkdir -p "$D/rootfs/$1"
cd "$D/rootfs/$1"
# one call, since there are many; apt checks each file's hash
apt-get $APT download $packages </dev/null
for package in $packages; do
	record "$package" "various" "$package"_*.deb
done

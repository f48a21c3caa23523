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
	# shell, usual commands, init, the network's tools, and the libraries that they are linked with
	packages="base-files base-passwd bash coreutils dash debianutils findutils grep hostname mount ncurses-base
		procps sed sysvinit-core sysvinit-utils util-linux busybox-static iperf3 iproute2 iputils-ping netcat-openbsd
		libacl1 libattr1 libblkid1 libbpf1 libbsd0 libc6 libcap2 libcap2-bin libcap-ng0 libcom-err2 libcrypt1 libdb5.3
		libelf1 libgcc-s1 libgcrypt20 libgmp10 libgpg-error0 libgssapi-krb5-2 libidn2-0 libiperf0 libk5crypto3
		libkeyutils1 libkrb5-3 libkrb5support0 liblz4-1 liblzma5 libmd0 libmnl0 libmount1 libncursesw6 libpcre2-8-0
		libproc2-0 libsctp1 libselinux1 libsmartcols1 libssl3 libsystemd0 libtinfo6 libtirpc3 libudev1
		libunistring2 libuuid1 libxtables12 libzstd1 zlib1g"
	;;
fio)
	# fio is linked with each storage library it knows, so all of them are there when it starts; and with what `root` has
	packages="fio libaio1 libargon2-1 libboost-iostreams1.74.0 libboost-thread1.74.0 libbz2-1.0 libcryptsetup12
		libdaxctl1 libdevmapper1.02.1 libffi8 libfmt9 libgfapi0 libgfrpc0 libgfxdr0 libglusterfs0
		libgnutls30 libhogweed6 libibverbs1 libicu72 libjson-c5 libkmod2 libnbd0 libndctl6 libnettle8
		libnl-3-200 libnl-route-3-200 libnuma1 libp11-kit0 libpmem1 libpmemblk1 librados2 librbd1 librdmacm1
		libstdc++6 libtasn1-6 libxml2"
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

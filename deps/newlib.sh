#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# newlib's libc and libm for the bare machine, from Debian's newlib-source, built by the stock
# gcc into $D/newlib/x86_64-elf. The flags are those of the image: -2 GiB code model, no red
# zone, no thread-local storage. -nostdinc keeps glibc's headers out, which gcc would otherwise
# fall back to without a word. --disable-newlib-multithread: libc belongs to one host task.
set -eu
. "$(dirname "$0")/fetch.sh"

fetch_binary newlib-source BSD-like
work="$D/dl/newlib-source/work"
mkdir -p "$work/build"
dpkg-deb -x "$D"/dl/newlib-source/newlib-source_*.deb "$work/deb"
tar -C "$work" -xf "$work"/deb/usr/src/newlib/newlib-*.tar.xz
src=$(echo "$work"/newlib-*/)

flags="-g0 -O2 -ffreestanding -fno-pic -fno-pie -mno-red-zone -mcmodel=kernel -fno-stack-protector
 -fcf-protection=none -fno-asynchronous-unwind-tables -fno-unwind-tables -ffunction-sections
 -fdata-sections -U__linux__ -U__gnu_linux__ -U__unix__ -Ulinux -Uunix
 -nostdinc -isystem $(gcc -print-file-name=include)"

rm -rf "$D/newlib"
cd "$work/build"
"$src/configure" --target=x86_64-elf --prefix="$D/newlib" --disable-multilib --disable-libgloss \
	--disable-newlib-supplied-syscalls --disable-shared --disable-nls \
	--disable-newlib-multithread --enable-newlib-io-c99-formats --enable-newlib-io-long-long \
	CC_FOR_TARGET=gcc AR_FOR_TARGET=ar RANLIB_FOR_TARGET=ranlib NM_FOR_TARGET=nm \
	AS_FOR_TARGET=as LD_FOR_TARGET=ld STRIP_FOR_TARGET=strip OBJDUMP_FOR_TARGET=objdump \
	READELF_FOR_TARGET=readelf OBJCOPY_FOR_TARGET=objcopy CFLAGS_FOR_TARGET="$(echo $flags)"
make -j"$(nproc)" all-target-newlib MAKEINFO=true
make install-target-newlib MAKEINFO=true
cp "$src"/COPYING.NEWLIB "$D/newlib/"
rm -rf "$work"

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mkimage.py OUT --elf ELF --store CPIO [--cmdline TEXT] [--base IMAGE]: a bootable disk with GRUB for BIOS.

Sector 0 holds GRUB's boot.img and a partition table, the sectors behind it GRUB's core.img, and a
FAT partition from 1 MiB on holds corbel.elf, store.cpio and a copy of the configuration. A second
partition, blank at first, is for the writable store; with --base there are two more for guests' disks (parts.py). The
image is written as a file, so no root and no loop device is needed: what grub-install would patch
into a disk (where core.img lies) is patched here. Same input, same bytes.
"""
import argparse
import os
import struct
import subprocess
import tempfile

import parts

GRUB = "/usr/lib/grub/i386-pc"
SECTOR = 512
CYLINDER = 16 * 63 * SECTOR
PARTITION_LBA = 2048
MODULES = ["biosdisk", "part_msdos", "fat", "normal", "multiboot2", "serial", "terminal"]
# include/grub/i386/pc/boot.h: fields of boot.img and of the first sector of core.img
BOOT_KERNEL_SECTOR = 0x5C
BOOT_DRIVE_CHECK = 0x66
CORE_BLOCKLIST = SECTOR - 12
CORE_SEGMENT = 0x820
FAT_TYPE = 0x0E


def run(*argv):
    environment = dict(os.environ, SOURCE_DATE_EPOCH="1000000000", TZ="UTC", MTOOLS_SKIP_CHECK="1")
    subprocess.run(argv, check=True, env=environment, stdin=subprocess.DEVNULL)


def core_image(directory, config):
    """GRUB's core with @config built in; its first sector is told where the others lie."""
    path = os.path.join(directory, "core.img")
    run("grub-mkimage", "-O", "i386-pc", "-d", GRUB, "-p", "/boot/grub", "-c", config, "-o", path, *MODULES)
    with open(path, "rb") as f:
        core = bytearray(f.read())
    core += b"\0" * (-len(core) % SECTOR)
    sectors = len(core) // SECTOR
    if sectors >= PARTITION_LBA:
        raise SystemExit("mkimage.py: GRUB's core.img does not fit before the partition")
    struct.pack_into("<QHH", core, CORE_BLOCKLIST, 2, sectors - 1, CORE_SEGMENT)
    return core


def boot_sector(fat_sectors, disk_parts):
    with open(os.path.join(GRUB, "boot.img"), "rb") as f:
        boot = bytearray(f.read(SECTOR))
    struct.pack_into("<Q", boot, BOOT_KERNEL_SECTOR, 1)
    # a hard disk: the BIOS's drive number may be trusted
    boot[BOOT_DRIVE_CHECK : BOOT_DRIVE_CHECK + 2] = b"\x90\x90"
    boot[0x1BE:0x1FE] = disk_parts.table(parts.entry(FAT_TYPE, PARTITION_LBA, fat_sectors, active=True))
    boot[0x1FE:] = b"\x55\xaa"
    return boot


def make_image(out_path, elf, store, cmdline="", template=None, writable=parts.WRITABLE_MIB, base=None):
    template = template or os.path.join(os.path.dirname(os.path.abspath(__file__)), "grub.cfg")
    with tempfile.TemporaryDirectory() as directory, open(template) as f:
        config = os.path.join(directory, "grub.cfg")
        with open(config, "w") as out:
            out.write(f.read().replace("@CMDLINE@", cmdline))
        files = [(elf, "corbel.elf"), (store, "store.cpio"), (config, "grub.cfg")]
        # room for the files, and for FAT's own tables and a little more
        size = sum(os.path.getsize(path) for path, _ in files) * 102 // 100 + (4 << 20)
        fat_end = parts.up(max(20 << 20, size + PARTITION_LBA * SECTOR), CYLINDER) // SECTOR
        fat_sectors = fat_end - PARTITION_LBA
        disk_parts = parts.plan(fat_end, writable, base, store=parts.STORE)
        with open(out_path, "wb", buffering=0) as out:
            out.write(boot_sector(fat_sectors, disk_parts) + core_image(directory, config))
            out.truncate(parts.up(disk_parts.end * SECTOR, CYLINDER))
            disk_parts.write(out)
        drive = "%s@@%d" % (out_path, PARTITION_LBA * SECTOR)
        run("mformat", "-i", drive, "-T", str(fat_sectors), "-h", "16", "-s", "63",
            "-H", str(PARTITION_LBA), "-c", "8", "-N", "c0bbe100", "-v", "CORBEL", "::")
        for path, name in files:
            run("mcopy", "-i", drive, path, "::" + name)


def main():
    parser = argparse.ArgumentParser(description="A bootable disk with GRUB.")
    parser.add_argument("out")
    parser.add_argument("--elf", required=True)
    parser.add_argument("--store", required=True)
    parser.add_argument("--cmdline", default="")
    parser.add_argument("--writable", type=int, default=parts.WRITABLE_MIB, help="MiB for the writable store, 0 for none")
    parser.add_argument("--base", help="the image that guests' disks stand on")
    options = parser.parse_args()
    make_image(options.out, options.elf, options.store, options.cmdline, writable=options.writable, base=options.base)


if __name__ == "__main__":
    main()

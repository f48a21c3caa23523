#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mkdisk.py OUT --loader BIN --elf ELF [--store FILE] [--cmdline TEXT] [--module FILE[:TEXT]]... [--base IMAGE] [--keep DISK]

A disk image that boots ELF through board/sector.S. The work that wants a real language happens
here: reading program headers and the PVH note, laying the segments out on sectors, and writing
the table that the loader walks, which ends in a finished struct hvm_start_info. Behind what is
booted lies a partition for the writable store, blank or as it is on another disk; and when guests
have disks, one with the base that theirs stand on and one with an empty pool of layers (parts.py). The image is
padded to whole cylinders of 16 heads and 63 sectors, which is what Bochs insists on.
"""
import argparse
import os
import struct

import parts
from parts import up

SECTOR = 512
CYLINDER = 16 * 63 * SECTOR
ORIGIN = 0x7C00
CODE_SECTORS = 4
TABLE_SECTORS = 8
TABLE = ORIGIN + CODE_SECTORS * SECTOR
MAGIC = 0x746C6263
HEADER = struct.Struct("<IIII16x")
RUN = struct.Struct("<IIII")
START_INFO = struct.Struct("<IIIIQQQQII")
MODULE = struct.Struct("<QQQQ")
START_INFO_MAGIC = 0x336EC578
XEN_ELFNOTE_PHYS32_ENTRY = 18
# Modules go here unless the image is in the way: above what the first 16 MiB are wanted for.
MODULES_AT = 16 << 20
PAGE = 4096
WRITABLE_MIB = parts.WRITABLE_MIB


class Elf:
    """The loadable segments, by physical address, and the PVH entry of an ELF64 file."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = f.read()
        if self.data[:6] != b"\x7fELF\x02\x01":
            raise SystemExit("mkdisk.py: %s is no little-endian ELF64 file" % path)
        phoff, = struct.unpack_from("<Q", self.data, 32)
        phentsize, phnum = struct.unpack_from("<HH", self.data, 54)
        self.segments, self.entry = [], None
        for index in range(phnum):
            kind, _, offset, _, paddr, filesz, memsz, _ = struct.unpack_from(
                "<IIQQQQQQ", self.data, phoff + index * phentsize)
            if kind == 1 and memsz:
                self.segments.append((paddr, self.data[offset : offset + filesz], memsz))
            elif kind == 4:
                self.read_notes(self.data[offset : offset + filesz])
        self.segments.sort(key=lambda segment: segment[0])
        if self.entry is None:
            raise SystemExit("mkdisk.py: %s has no PVH entry (ELF note Xen, type 18)" % path)

    def read_notes(self, notes):
        at = 0
        while at + 12 <= len(notes):
            namesz, descsz, kind = struct.unpack_from("<III", notes, at)
            name = at + 12
            desc = name + (namesz + 3 & ~3)
            if notes[name : name + namesz] == b"Xen\0" and kind == XEN_ELFNOTE_PHYS32_ENTRY:
                self.entry = int.from_bytes(notes[desc : desc + descsz], "little")
            at = desc + (descsz + 3 & ~3)

    def end(self):
        return max(paddr + memsz for paddr, _, memsz in self.segments)


class Layout:
    """Collects what goes where on the disk and in memory."""

    def __init__(self):
        self.runs = []      # (lba, destination, bytes in the file, bytes in memory)
        self.writes = []    # (lba, bytes or path)
        self.lba = CODE_SECTORS + TABLE_SECTORS

    def add(self, dest, content, filesz, memsz):
        self.runs.append((self.lba, dest, filesz, memsz))
        self.writes.append((self.lba, content))
        self.lba += up(filesz, SECTOR) // SECTOR


def table(layout, elf, modules, cmdline):
    """The loader's table with start_info, module list and strings behind the runs."""
    info = TABLE + HEADER.size + RUN.size * len(layout.runs)
    modlist = info + START_INFO.size
    strings_at = modlist + MODULE.size * len(modules)
    strings = bytearray()

    def string(text):
        address = strings_at + len(strings)
        strings.extend(text.encode() + b"\0")
        return address

    out = bytearray(HEADER.pack(MAGIC, len(layout.runs), elf.entry, info))
    for run in layout.runs:
        out += RUN.pack(*run)
    entries = b"".join(MODULE.pack(paddr, size, string(text), 0) for paddr, size, text in modules)
    # memory map and RSDP are the loader's to fill in
    out += START_INFO.pack(START_INFO_MAGIC, 1, 0, len(modules), modlist if modules else 0,
                           string(cmdline), 0, 0, 0, 0)
    out += entries + strings
    if len(out) > TABLE_SECTORS * SECTOR:
        raise SystemExit("mkdisk.py: the command line and modules need more than %d bytes"
                         % (TABLE_SECTORS * SECTOR))
    return bytes(out)


def with_partitions(code, table):
    """The boot sector @code with a partition table."""
    if any(code[parts.TABLE:510]):
        raise SystemExit("mkdisk.py: the loader's first sector leaves no room for a partition table")
    return code[:parts.TABLE] + table + code[510:]


def make_disk(out_path, loader, elf_path, modules=(), cmdline="", writable=WRITABLE_MIB, keep=None, base=None, pool=parts.POOL_MIB):
    """Writes the image; @modules are (path, text). Returns its number of cylinders.

    The partition for the writable store has @writable MiB, 0 for none. With @base, the path of an image, there are a
    partition with it and one of @pool MiB for layers. What @keep has of these, a disk image that may be the one that is
    written over, stays with its content.
    """
    elf = Elf(elf_path)
    layout = Layout()
    for paddr, content, memsz in elf.segments:
        layout.add(paddr, content, len(content), memsz)
    at = max(MODULES_AT, up(elf.end(), PAGE))
    placed = []
    for path, text in modules:
        size = os.path.getsize(path)
        layout.add(at, path, size, size)
        placed.append((at, size, text))
        at += up(size, PAGE)
    with open(loader, "rb") as f:
        code = f.read()
    if len(code) != CODE_SECTORS * SECTOR:
        raise SystemExit("mkdisk.py: %s is not %d sectors long" % (loader, CODE_SECTORS))
    disk_parts = parts.plan(layout.lba, writable, base, pool, keep)
    end = disk_parts.end if disk_parts.entries else layout.lba
    cylinders = max(2, up(end * SECTOR, CYLINDER) // CYLINDER)
    # beside the old one, which @keep may be
    with open(out_path + ".new", "wb", buffering=0) as out:
        out.write(with_partitions(code, disk_parts.table()) + table(layout, elf, placed, cmdline))
        for lba, content in layout.writes:
            out.seek(lba * SECTOR)
            if isinstance(content, str):
                parts.copy(content, 0, os.path.getsize(content), out, lba * SECTOR)
            else:
                out.write(content)
        out.truncate(cylinders * CYLINDER)
        disk_parts.write(out)
    os.replace(out_path + ".new", out_path)
    return cylinders


def main():
    parser = argparse.ArgumentParser(description="A disk image that boots an ELF by PVH.")
    parser.add_argument("out")
    parser.add_argument("--loader", required=True)
    parser.add_argument("--elf", required=True)
    parser.add_argument("--store", help="the store, passed as the first module")
    parser.add_argument("--module", action="append", default=[], metavar="FILE[:TEXT]")
    parser.add_argument("--cmdline", default="")
    parser.add_argument("--writable", type=int, default=WRITABLE_MIB, help="MiB for the writable store, 0 for none")
    parser.add_argument("--base", help="the image that guests' disks stand on")
    parser.add_argument("--keep", help="a disk image whose writable store and guests' disks are taken over")
    options = parser.parse_args()
    modules = [(options.store, "store")] if options.store else []
    modules += [tuple((m + ":").split(":")[:2]) for m in options.module]
    make_disk(options.out, options.loader, options.elf, modules, options.cmdline, options.writable, options.keep, options.base)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Partitions of a disk image, for mkdisk.py and mkimage.py: the writable store, and what guests' disks are made of.

    2 (1 on test disks)  the writable store, blank at first: docs/store.md
    3                    the base, a file system that is only read
    4                    a pool of layers, empty at first: docs/storage.md has its format

Guests have layers that stand on the base, so base and pool belong together: who keeps one keeps both. Images have
holes where nothing was written, and copies of them too.
"""
import os
import struct

SECTOR = 512
TABLE, ENTRY = 446, struct.Struct("<B3sB3sII")
ALIGN = 2048
STORE, BASE, POOL = 2, 3, 4  # places in the table
STORE_ALONE = 1              # the store's where nothing boots from a file system
WRITABLE_TYPE = 0xCB         # io/partition.h
LINUX_TYPE, POOL_TYPE = 0x83, 0xDA
WRITABLE_MIB = 8
POOL_MIB = 160
# docs/storage.md, the format of layers
BLOCK, CLUSTER, SUPER = 4096, 65536, struct.Struct("<8sQQQQQQII64s380s")
META_FIRST, META_SHARE, META_MIN = 16, 256, 64


def up(value, unit):
    return (value + unit - 1) // unit * unit


def entry(kind, first, count, active=False):
    """Of a master boot record; its CHS fields say "use the LBA"."""
    chs = b"\xfe\xff\xff"
    return ENTRY.pack(0x80 if active else 0, chs, kind, chs, first, count)


def found(path):
    """{place: (type, first sector, sectors)} of the partitions on the disk image @path."""
    if not path or not os.path.exists(path):
        return {}
    with open(path, "rb") as f:
        sector = f.read(SECTOR)
    if sector[510:512] != b"\x55\xaa":
        return {}
    rows = [ENTRY.unpack_from(sector, TABLE + i * ENTRY.size) for i in range(4)]
    return {i + 1: (row[2], row[4], row[5]) for i, row in enumerate(rows) if row[2]}


def store_on(path):
    """(first sector, sectors) of the writable store on the disk image @path."""
    return next(row[1:] for row in found(path).values() if row[0] == WRITABLE_TYPE)


def content(path, first, count):
    with open(path, "rb") as f:
        f.seek(first * SECTOR)
        return f.read(count * SECTOR)


def copy(path, start, size, out, at):
    """@size bytes of the file @path from @start on to @at of the file @out, which has a hole there; holes stay holes."""
    with open(path, "rb") as f:
        data, end = start, start + size
        while data < end:
            try:
                data = os.lseek(f.fileno(), data, os.SEEK_DATA)
            except OSError:  # a hole to the end
                return
            stop = min(os.lseek(f.fileno(), data, os.SEEK_HOLE), end)
            while data < stop:
                out.seek(at + data - start)
                data += os.sendfile(out.fileno(), f.fileno(), data, min(stop - data, 1 << 24))


def crc32c(data):
    """Castagnoli's (RFC 3720 B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def empty_pool(size):
    """The two superblocks of a pool in @size bytes, as [(offset, bytes)]; all else is 0."""
    meta = max(size // BLOCK // META_SHARE, META_MIN)
    clusters = (size - up((META_FIRST + meta) * BLOCK, CLUSTER)) // CLUSTER
    pieces = []
    for generation in (0, 1):
        block = SUPER.pack(b"CRBLLYR1", 0, 0, 0, 1, generation, 1, meta, clusters, b"", b"")
        pieces.append((generation * BLOCK, block + struct.pack("<I", crc32c(block))))
    return pieces


class Plan:
    """What lies where: entries {place: (type, first, sectors)}, and what is written there."""

    def __init__(self, lba):
        self.end, self.entries, self.copies, self.writes = lba, {}, [], []

    def add(self, place, kind, sectors, source=None, start=0, size=0):
        first = up(self.end, ALIGN)
        self.entries[place] = (kind, first, sectors)
        if source:
            self.copies.append((source, start, size, first * SECTOR))
        self.end = first + sectors
        return first * SECTOR

    def keep(self, place, path, row):
        kind, first, sectors = row
        self.add(place, kind, sectors, path, first * SECTOR, sectors * SECTOR)

    def table(self, first_row=None):
        rows = [first_row if first_row and i == 1 else entry(*self.entries[i]) if i in self.entries else bytes(ENTRY.size) for i in range(1, 5)]
        return b"".join(rows)

    def write(self, out):
        for source, start, size, at in self.copies:
            copy(source, start, size, out, at)
        for at, data in self.writes:
            out.seek(at)
            out.write(data)


def add_guest_disks(plan, base, pool, path, old):
    if BASE in old and old.get(POOL, (0,))[0] == POOL_TYPE:
        plan.keep(BASE, path, old[BASE])
        plan.keep(POOL, path, old[POOL])
        return
    size = os.path.getsize(base)
    plan.add(BASE, LINUX_TYPE, up(size, SECTOR) // SECTOR, base, 0, size)
    at = plan.add(POOL, POOL_TYPE, (pool << 20) // SECTOR)
    plan.writes += [(at + offset, data) for offset, data in empty_pool(pool << 20)]


def plan(lba, writable, base=None, pool=POOL_MIB, keep=None, store=STORE_ALONE):
    """A Plan from sector @lba on: the store of @writable MiB, and with the image @base guests' disks; of @keep what it has."""
    made, old = Plan(lba), found(keep)
    stores = [row for row in old.values() if row[0] == WRITABLE_TYPE]
    if stores:
        made.keep(store, keep, stores[0])
    elif writable:
        made.add(store, WRITABLE_TYPE, (writable << 20) // SECTOR)
    if base:
        add_guest_disks(made, base, pool, keep, old)
    return made


def other_base(disk, base):
    """Whether the disk image @disk has kept another base than the image @base."""
    row = found(disk).get(BASE)
    if not row:
        return False
    with open(disk, "rb") as old, open(base, "rb") as new:
        old.seek(row[1] * SECTOR)
        while True:
            piece = new.read(1 << 20)
            if not piece:
                return False
            if old.read(len(piece)) != piece:
                return True

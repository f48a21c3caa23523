# SPDX-License-Identifier: Apache-2.0
"""Volumes for the tests: partitions on the emulator's disk, the commands of group 68, and a guest with a disk.

Written from docs/protocol.md, like smp.py and vms.py.
"""
import os
import time

import bochs
import parts
import vms

GROUP = 68
LIST, SHOW, CREATE, CLONE, SNAPSHOT, MERGE, DELETE, IMPORT, RESIZE, FORMAT, SET, JOB, JOBS, CANCEL = range(14)
SECTOR = 512
OTHER_TYPE = 0x83  # any but the writable store's


def add_partition(disk, mib, room=0):
    """A partition of @mib MiB behind all that is on @disk, and then @room MiB of nobody's; its name as a volume of disk0."""
    end = os.path.getsize(disk)
    first = parts.up(end // SECTOR, parts.ALIGN)
    with open(disk, "r+b") as f:
        f.truncate(parts.up(first * SECTOR + ((mib + room) << 20), bochs.CYLINDER))
        number = next(n for n, entry in enumerate(entries(f)) if not any(entry))
        write_entry(f, number, first, (mib << 20) // SECTOR)
    return "disk0:%d" % (number + 1)


def entries(f):
    f.seek(parts.TABLE)
    table = f.read(4 * parts.ENTRY.size)
    return [table[at : at + parts.ENTRY.size] for at in range(0, len(table), parts.ENTRY.size)]


def write_entry(f, number, first, count):
    f.seek(parts.TABLE + number * parts.ENTRY.size)
    f.write(parts.entry(OTHER_TYPE, first, count))


def resize_partition(disk, name, mib):
    """Another end for the partition @name, as an operator's partitioning tool would set it."""
    number = int(name.rpartition(":")[2]) - 1
    with open(disk, "r+b") as f:
        first = parts.ENTRY.unpack(entries(f)[number])[4]
        write_entry(f, number, first, (mib << 20) // SECTOR)


def first_sector(disk, name):
    with open(disk, "rb") as f:
        return parts.ENTRY.unpack(entries(f)[int(name.rpartition(":")[2]) - 1])[4]


def content(disk, name):
    """What the partition @name of the disk image holds."""
    with open(disk, "rb") as f:
        _, _, _, _, first, count = parts.ENTRY.unpack(entries(f)[int(name.rpartition(":")[2]) - 1])
        f.seek(first * SECTOR)
        return f.read(count * SECTOR)


class Volumes:
    """The commands over an SMP client; those that begin a job wait for its end."""

    def __init__(self, client):
        self.client = client

    def list(self):
        return {v["name"]: v for v in self.client.read_request(GROUP, LIST)["volumes"]}

    def show(self, name):
        return self.client.read_request(GROUP, SHOW, {"volume": name})

    def figures(self, name):
        return self.show(name)["figures"]

    def begin(self, command, **arguments):
        return self.client.write_request(GROUP, command, arguments, seconds=120)

    def ended(self, reply, seconds=120):
        deadline = time.monotonic() + seconds
        while True:
            job = self.client.read_request(GROUP, JOB, {"job": reply["job"]})
            if job["done"]:
                return job
            assert time.monotonic() < deadline, job
            time.sleep(0.05)

    def do(self, command, **arguments):
        reply = self.begin(command, **arguments)
        if "job" in reply:
            job = self.ended(reply)
            assert "error" not in job, job
        return reply

    def make_pool(self, volume):
        self.do(FORMAT, volume=volume, confirm=volume)

    def layer(self, name, mib, pool="", **more):
        self.do(CREATE, name=name, config=dict(more, layer=pool, size=mib << 20))


class Disk:
    """The guest `disk` as VM @name, with @volume for its disk; its orders are those of tests/guests/disk.c."""

    def __init__(self, operator, name, volume, cmdline="", more=""):
        self.operator, self.name = operator, name
        settings = "disk = { d = virtio { volume = '%s'%s } }" % (volume, more)
        operator.define(vms.guest(name, image="disk", cmdline=cmdline, mem="MiB(8)", more=settings))

    def start(self):
        at = self.operator.head(self.name)
        self.operator.start(self.name)
        return self.wait(rb"disk: (\d+) sectors, features 0x([0-9a-f]+)\r", at)

    def wait(self, pattern, at=0, seconds=120):
        """The match of @pattern, or that the guest has given up."""
        found = self.operator.wait_output(self.name, rb"(?:%s)|disk: FAIL.*" % pattern, seconds, start=at)
        assert not found[0].startswith(b"disk: FAIL"), found[0]
        return found

    def begin(self, order):
        """Gives an order; where its answers begin on the console."""
        at = self.operator.head(self.name)
        self.operator.type(self.name, order.encode() + b"\n")
        return at

    def order(self, order, seconds=120):
        """Gives it, and waits for its end; what is said of that."""
        at = self.begin(order)
        return self.wait(rb"disk: \w+ (?:done|failed|wrong).*\r\n", at, seconds)[0].decode().strip()

    def write(self, first, count, version, step=8):
        assert self.order("write %d %d %d %d" % (first, count, version, step)) == "disk: write done"

    def check(self, first, count, version, step=8):
        want = "disk: check done, versions %d to %d" % (version, version)
        assert self.order("check %d %d %d %d" % (first, count, version, step)) == want

    def flush(self):
        assert self.order("flush") == "disk: flush done"

    def stop_going_on(self, pattern):
        """Ends "live" or "journal"; the match of @pattern, its last words."""
        at = self.begin("")
        return self.wait(pattern, at)

    def quit(self):
        """It comes to its end, content."""
        self.operator.type(self.name, b"quit\n")
        info = self.operator.wait_state(self.name, vms.ENDED)
        vms.passed(info, self.operator.output(self.name).decode())

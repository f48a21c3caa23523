# SPDX-License-Identifier: Apache-2.0
"""Debian guests that measure one slow disk with Debian's fio, and what Corbel counts of them meanwhile.

Each guest boots from the same file system, which none can write, and reads one volume `model`, which is read by all. What
they got is told by the counters of their disks between two looks, in the machine's own time; fio's own sum must be
the same in the end.
"""
import json
import re

import debian

SCRIPT = """\
volume "memory" { ram = MiB(16) }
volume "slow" { model { base = "memory", iops_max = %(iops_max)u, service = ms(2), depth = 4 } }
for name, shares in pairs { %(shares)s } do
  vm(name) {
    boot = pvh { image = "debian/vmlinux", initrd = "debian/initrd", cmdline = "console=ttyS0 quiet root=/dev/vda cryptomgr.notests "
                 .. "initcall_blacklist=load_system_certificate_list corbel.name=" .. name },
    mem  = { size = MiB(112) },
    disk = { root = virtio { volume = "disk0:3", readonly = true },
             test = virtio { volume = "slow", readonly = true, queues = 1, iops = { shares = shares } } },
    autostart = true,
  }
end
"""
JOB = ("fio --name=job --filename=/dev/vdb --readonly --direct=1 --rw=randread --bs=4k --ioengine=libaio --iodepth=%u "
       "--time_based --runtime=%u --thread --norandommap --output-format=json --output=/tmp/fio.json")


def script(iops_max, shares):
    return SCRIPT % {"iops_max": iops_max, "shares": ", ".join("%s = %u" % pair for pair in shares.items())}


class Reader:
    """The guest @name with fio in it."""

    def __init__(self, operator, name):
        self.operator, self.name = operator, name
        self.guest = debian.Debian(operator, name)

    def begin(self, seconds, depth):
        """fio reads for @seconds of the guest's time, once it has started."""
        self.head = self.operator.head(self.name)
        self.operator.type(self.name, b"%s; echo END $?\n" % (JOB % (depth, seconds)).encode())

    def look(self):
        """(requests done, ns in which its processor slept)."""
        info = self.operator.info(self.name)
        return info["disks"]["test"]["reads"], info["cpu"]["blocked_ns"]

    def end(self, seconds):
        """What fio says: {reads, errors}."""
        found = self.operator.wait_output(self.name, rb"^END (\d+)\r", seconds, self.head)
        assert found[1] == b"0", self.operator.output(self.name, self.head)
        job = json.loads(self.guest.run("cat /tmp/fio.json", 120))["jobs"][0]
        return {"reads": job["read"]["total_ios"], "errors": job["error"]}


def window(operator, readers, seconds, wait):
    """({name: requests in a second}, {name: part of the time in which it slept}) of @seconds; wait(ns) until the machine's clock says so."""
    start = operator.host()["uptime_ns"]
    before = {reader.name: reader.look() for reader in readers}
    wait(start + int(seconds * 1e9))
    after = {reader.name: reader.look() for reader in readers}
    passed = operator.host()["uptime_ns"] - start
    rate = {name: (after[name][0] - before[name][0]) * 1e9 / passed for name in after}
    return rate, {name: (after[name][1] - before[name][1]) / passed for name in after}

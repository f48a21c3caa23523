# SPDX-License-Identifier: Apache-2.0
"""Debian guests that measure one slow disk with Debian's fio, and what Corbel counts of them meanwhile.

Each guest boots from the same file system, which none can write, and reads one volume `model`, which is read by all. What
they got is told by the counters of their disks between two looks, in the machine's own time; fio's own sum must be
the same in the end.
"""
import json
import time

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
# one of the libraries that fio is linked with has 130 MiB that nobody touches
JOB = ("echo 1 >/proc/sys/vm/overcommit_memory; fio --name=job --filename=/dev/vdb --readonly --direct=1 --rw=randread --bs=4k "
       "--ioengine=libaio --iodepth=%u --time_based --runtime=%u --thread --norandommap --output-format=json --output=/tmp/fio.json")


def script(iops_max, shares):
    return SCRIPT % {"iops_max": iops_max, "shares": ", ".join("%s = %u" % pair for pair in shares.items())}


class Reader:
    """The guest @name with fio in it."""

    def __init__(self, operator, name):
        self.operator, self.name = operator, name
        self.guest = debian.Debian(operator, name)

    def begin(self, seconds, depth):
        """fio reads for @seconds of the guest's time, once it has started."""
        self.head, self.before = self.operator.head(self.name), self.look()[0]
        self.operator.type(self.name, b"%s; echo END $?\n" % (JOB % (depth, seconds)).encode())

    def wait_busy(self, seconds):
        """fio reads: it has been loaded, and has laid out its work."""
        deadline = time.monotonic() + seconds
        while self.look()[0] < self.before + 10:
            assert time.monotonic() < deadline, self.operator.output(self.name, self.head)
            time.sleep(0.2)

    def look(self):
        """(requests done, ns in which its processor or its devices' worker ran or waited for one, ns since it started)."""
        info = self.operator.info(self.name)
        return info["disks"]["test"]["reads"], info["cpu_ns"] + info["cpu"]["ready_ns"], info["uptime_ns"]

    def end(self, seconds):
        """Ends fio if it goes on; what it says: {reads, errors}."""
        self.operator.type(self.name, b"\x03")
        self.operator.wait_output(self.name, rb"^END \d+\r", seconds, self.head)
        job = json.loads(self.guest.run("cat /tmp/fio.json", 120))["jobs"][0]
        return {"reads": job["read"]["total_ios"], "errors": job["error"]}


def window(operator, readers, seconds):
    """({name: requests in a second}, {name: part of the time in which it slept}) of @seconds of the machine's time."""
    before = {reader.name: reader.look() for reader in readers}
    until = operator.host()["uptime_ns"] + seconds * 1e9
    while operator.host()["uptime_ns"] < until:
        time.sleep(0.1)
    passed = {}
    for reader in readers:
        passed[reader.name] = [after - then for after, then in zip(reader.look(), before[reader.name])]
    return ({name: reads * 1e9 / ns for name, (reads, _, ns) in passed.items()},
            {name: 1 - busy / ns for name, (_, busy, ns) in passed.items()})

# SPDX-License-Identifier: Apache-2.0
"""Debian guests with Debian's fio that compete for a slow disk (shares.py). Each boots from the same file system, which none
can write."""
import json

import debian
import shares

SCRIPT = """\
vm "%(name)s" {
  boot = pvh { image = "debian/vmlinux", initrd = "debian/initrd",
               cmdline = "console=ttyS0 quiet root=/dev/vda cryptomgr.notests " ..
                         "initcall_blacklist=load_system_certificate_list corbel.name=%(name)s" },
  mem  = { size = MiB(112) },
  disk = { root = virtio { volume = "disk0:3", readonly = true }, %(disk)s },
  autostart = true,
}
"""
LOG_SECONDS = 0.25
# one of the libraries that fio is linked with has 130 MiB that nobody touches
JOB = ("echo 1 >/proc/sys/vm/overcommit_memory; fio --name=job --filename=/dev/vdb --readonly --direct=1 --rw=randread --bs=4k "
       "--ioengine=libaio --iodepth=%u --time_based --runtime=%u --thread --norandommap --eta=never --disk_util=0 --clat_percentiles=0 "
       "--write_iops_log=/tmp/fio --log_avg_msec=%u --log_unix_epoch=1 --output-format=json --output=/tmp/fio.json & echo")


def guest(name, number):
    """Lua text: a guest with @number shares."""
    return SCRIPT % {"name": name, "disk": shares.DISK % number}


class Reader:
    """The guest @name with fio in it."""

    def __init__(self, operator, name):
        self.operator, self.name = operator, name
        self.guest = debian.Debian(operator, name)

    def begin(self, seconds, depth):
        """fio reads for @seconds of the guest's time, once it has started, unless it is ended before."""
        self.guest.wait_ready(shares.PATIENCE)
        self.before = shares.look(self.operator, self.name)[0]
        self.guest.run(JOB % (depth, seconds, LOG_SECONDS * 1000), shares.PATIENCE)

    def wait_busy(self):
        """fio reads: it has been loaded, and has laid out its work."""
        shares.wait_reads(self.operator, self.name, self.before + 4)

    def inside(self):
        """(seconds in its calendar, ticks in which its processor slept, all ticks), by its kernel."""
        now, _, *ticks = self.guest.run("read -r line </proc/stat; echo $EPOCHREALTIME $line", shares.PATIENCE).split()
        ticks = [int(n) for n in ticks[:8]]  # user, nice, system, idle, iowait, irq, softirq, steal
        return float(now), ticks[3] + ticks[4], sum(ticks)

    def end(self):
        """fio ends."""
        self.guest.run("kill -INT $!; wait $!; true", shares.PATIENCE)

    def reads(self):
        """Requests since fio began, by Corbel."""
        return shares.look(self.operator, self.name)[0] - self.before

    def said(self):
        """What the fio that has ended says: {reads, errors, log: [(seconds of the guest, requests a second since the one before)]}."""
        before = shares.look(self.operator, self.name)[2]
        apart = self.inside()[0] - (before + shares.look(self.operator, self.name)[2]) / 2e9  # the calendar's seconds and the guest's
        text = self.guest.run("cat /tmp/fio.json", shares.PATIENCE)
        job = json.loads(text[text.index("{"):])["jobs"][0]  # before it stands that a signal came
        rows = [line.split(",") for line in self.guest.run("cat /tmp/fio_iops.1.log", shares.PATIENCE).splitlines()]
        return {"reads": job["read"]["total_ios"], "errors": job["error"],
                "log": [(int(row[0]) / 1000 - apart, int(row[1])) for row in rows]}


def in_log(said, window):
    """Requests a second by fio's own log, in those of its pieces that surely lie in @window."""
    pieces = [rate for at, rate in said["log"] if window.begin + 2 * LOG_SECONDS <= at <= window.end - LOG_SECONDS]
    return sum(pieces) / len(pieces)

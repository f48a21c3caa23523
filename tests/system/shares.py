# SPDX-License-Identifier: Apache-2.0
"""Guests that compete for one slow disk, and what each must get of it.

Three have shares 1 : 2 : 4 and read as fast as it goes; who they are is the test's matter. What they got is told by the counters of
their disks between two looks, in the machine's own time. Each promise is shown beside what happens without it: with equal
shares, and without the reservation. All of it is one life of a machine, in which an operator changes the numbers while
the disk is in use.
"""
import collections
import time

import pytest
import vms

IOPS = 400
SHARES = {"one": 1000, "two": 2000, "four": 4000}
FLOOD_SHARES = 1_000_000     # as much as there can be
RESERVED = 150
WINDOW, SHORT, SETTLE = 3, 1.5, 0.5  # of the machine's seconds: 1,200 requests, 600, 200
PATIENCE = 1800              # of the host's seconds, which others may need
# fewer requests than its guests have under way are at the disk: what is there already has its turn (docs/io-scheduling.md)
DOMAIN, LATENCY = "memory", "10ms"

VOLUMES = """\
volume "memory" { ram = MiB(16) }
volume "slow" { model { base = "memory", iops_max = %u, service = ms(2), depth = 4 } }
""" % IOPS
DISK = 'test = virtio { volume = "slow", readonly = true, queues = 1, iops = { shares = %u } }'

# requests in a second; when it began and ended, and what part of that the processor slept, by Corbel: in the guest's seconds
Window = collections.namedtuple("Window", "rate begin end slept")


def small(name, shares):
    """Lua text: a small guest that has as many requests under way as its queue takes, without end."""
    return vms.guest(name, "reads", "count=1000000000 patience=3600", more="disk = { %s }" % (DISK % shares))


def look(operator, name):
    """(requests done, ns in which its processor ran or waited for one, ns since it started)."""
    info = operator.info(name)
    return info["disks"]["test"]["reads"], info["cpu_ns"] + info["cpu"]["ready_ns"], info["uptime_ns"]


def wait_until(holds, seconds, what):
    """@holds() within @seconds of the host's time; what() says what was seen instead."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


def wait_reads(operator, name, count):
    """Its disk has done @count requests."""
    wait_until(lambda: look(operator, name)[0] >= count, PATIENCE, lambda: operator.output(name)[-2000:])


def wait(operator, seconds):
    """@seconds of the machine's time."""
    until = operator.host()["uptime_ns"] + seconds * 1e9
    while operator.host()["uptime_ns"] < until:
        time.sleep(0.05)


def window(operator, names, seconds):
    """{name: Window} of @seconds of the machine's time."""
    before = {name: look(operator, name) for name in names}
    wait(operator, seconds)
    found = {}
    for name, (reads, busy, begin) in before.items():
        reads_then, busy_then, end = look(operator, name)
        found[name] = Window((reads_then - reads) * 1e9 / (end - begin), begin / 1e9, end / 1e9, 1 - (busy_then - busy) / (end - begin))
    return found


class Contest:
    """The three on @machine, and in .seen the windows that were measured."""

    def __init__(self, machine):
        self.machine, self.operator, self.seen = machine, machine.operator, []

    def set(self, path, value=None):
        """By corbelctl; None: what its definition says, or what it is without."""
        self.machine.ctl(*(["unset", path] if value is None else ["set", path, str(value)]))

    def measure(self, seconds, *others):
        """{name: Window} of the three and @others; the disk did what it can."""
        wait(self.operator, SETTLE)
        found = window(self.operator, [*SHARES, *others], seconds)
        print({name: "%.2f a second, slept %.3f" % (w.rate, w.slept) for name, w in found.items()})
        self.seen.append(found)
        assert sum(w.rate for w in found.values()) == pytest.approx(IOPS, rel=0.03), found
        return found

    def shares_hold(self):
        """1 : 2 : 4 within 3 %."""
        found = self.measure(WINDOW)
        for name, w in found.items():
            assert w.rate == pytest.approx(IOPS * SHARES[name] / sum(SHARES.values()), rel=0.03), found
        return found

    def equal_shares_are_equal(self):
        """So it was the shares that made the difference, not who came first or asks faster."""
        for name in SHARES:
            self.set("vm.%s.disk.test.iops.shares" % name, 1000)
        found = self.measure(SHORT)
        for w in found.values():
            assert w.rate == pytest.approx(IOPS / len(SHARES), rel=0.03), found

    def reservation_holds(self):
        """One is sure of what it has reserved, whatever another asks and weighs; the same one has next to nothing without."""
        self.set("vm.one.disk.test.iops.reservation", RESERVED)
        self.operator.define(small("flood", FLOOD_SHARES))
        self.operator.start("flood")
        wait_reads(self.operator, "flood", IOPS // 8)
        found = self.measure(WINDOW, "flood")
        assert found["one"].rate >= 0.97 * RESERVED, found
        assert found["flood"].rate > 0.9 * (IOPS - RESERVED), found
        self.set("vm.one.disk.test.iops.reservation")
        found = self.measure(SHORT, "flood")
        assert found["one"].rate < 0.05 * IOPS and found["flood"].rate > 0.9 * IOPS, found
        self.operator.end("flood")

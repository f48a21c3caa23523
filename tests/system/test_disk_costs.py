# SPDX-License-Identifier: Apache-2.0
"""What a guest's requests to its disk cost it: exits, interrupts by vIC's table, and that no completion is left without one.

Short forms of what `make bench BENCH=storage` measures, by tests/system/disks.py.
"""
import collections
import time

import pytest
from conftest import guest_files

import disks
import vms

READ_VALUE = (76, 1)  # group 76, get: docs/protocol.md


def value(operator, path):
    return operator.client.read_request(*READ_VALUE, {"path": path})["value"]


Figures = collections.namedtuple("Figures", "sent saved reads")


def figures(operator, reads=0):
    """Figures of the guest's disk, once it has read so often."""
    deadline = time.monotonic() + 180
    while True:
        got = Figures(*(value(operator, "vm.d.disk.d." + name) for name in ("interrupts_sent", "interrupts_saved", "reads")))
        if got.reads >= reads:
            return got
        assert time.monotonic() < deadline, (reads, got)
        time.sleep(0.1)


def store():
    return {"scripts/boot.lua": disks.VOLUMES_TEXT, **guest_files("diskload")}


@pytest.fixture(scope="module")
def machine(boot_shared):
    machine = boot_shared(store=store(), cmdline="board=bochs mitigations=off", megs=128, ips=disks.IPS)
    machine.log.wait_for(r"\] ready", 240)
    return machine


@pytest.mark.parametrize("depth, options", [(1, "depth=1"), (32, "depth=32 batch=16")])
def test_exits_of_a_request(machine, operator, depth, options):
    cost = disks.cost(machine, operator, 'volume = "ram"', options)
    assert cost.exits <= disks.EXITS_MOST[depth], cost
    assert cost.interrupts <= 1, cost
    assert depth == 1 or cost.kicks < 1 / 16 + 0.01, cost


def test_interrupts_by_the_table(machine, operator):
    disks.set_service(operator, disks.SERVICE_US)
    for in_flight in (5, 32):
        got = disks.held(machine, operator, "vic", in_flight, 2000)
        assert abs(disks.off_table(got, in_flight)) <= disks.OFF_TABLE, (in_flight, got)
    off = disks.held(machine, operator, "off", 32, 2000)
    assert off.interrupts >= 0.99 * off.requests, off
    assert off.interrupts / off.requests >= disks.FEWER * got.interrupts / got.requests, (off, got)
    assert got.latency <= disks.LONGER * off.latency, (off, got)


def test_a_slow_disk_is_not_coalesced_but_by_the_older_policy(machine, operator):
    disks.set_service(operator, 1000)
    vic = disks.held(machine, operator, "vic", 16, 600)
    assert vic.interrupts >= 0.99 * vic.requests, vic
    cif = disks.held(machine, operator, "cif", 16, 600)
    assert abs(cif.interrupts - cif.requests / 2) <= 2, cif
    assert cif.delay > 5 * vic.delay, (cif, vic)


def test_settings_are_live_and_seen(machine, operator):
    disks.set_service(operator, disks.SERVICE_US)
    operator.define(vms.guest("d", "diskload", "depth=32 count=1000000000 blind",
                              more='disk = { d = virtio { volume = "slow", interrupts = { policy = "off" } } }, '))
    operator.start("d")

    operator.wait_state("d", ("running",))
    figures(operator, 500)

    def of():
        """(interrupts, held back) a request of some thousand; one that did neither came while the driver was looking."""
        before = figures(operator)
        after = figures(operator, before.reads + 3000)
        sent, saved, reads = (b - a for a, b in zip(before, after))
        assert sent + saved <= reads + 100, (sent, saved, reads)  # the three are read one after the other
        return sent / reads, saved / reads

    sent, saved = of()
    assert saved == 0 and sent > 0.9, (sent, saved)
    operator.client.shell('set("vm.d.disk.d.interrupts.policy", "vic")')
    operator.client.shell('set("vm.d.disk.d.interrupts.epoch", ms(10))')
    figures(operator, figures(operator).reads + 500)
    sent, saved = of()
    assert saved > 0.6 and sent < 0.4, (sent, saved)
    assert operator.info("d")["config"]["disk"]["d"]["interrupts"] == {"epoch": 10_000_000}
    operator.end("d")


GAP_IPS, GAP_SERVICE_US = 20_000_000, 300


def kicks_saved(machine, gap):
    """
    Of a guest that spins on one CPU while its disk is served by another: (interrupts, those that kicked nobody, time of a
    request over that of the disk's).
    """
    operator = machine.operator
    operator.define(vms.guest("d", "diskload", "depth=6 count=1000 blind spin", more=(
        'disk = { d = virtio { volume = "slow", interrupts = { gap = us(%d), epoch = ms(5) } } }, ' % gap)))
    seen = len(machine.log.data)
    operator.start("d")
    machine.log.wait_for(rb"VM d (ended|crashed).*", 180, seen)
    console = operator.output("d").decode(errors="replace")
    vms.passed(operator.info("d"), console)
    sent, kicks = (value(operator, "vm.d.disk.d." + name) for name in ("interrupts_sent", "kicks_saved"))
    operator.destroy("d")
    got = disks.bench_lines(console)
    return sent, kicks, got["ticks"] / got["requests"] / (GAP_SERVICE_US * GAP_IPS / 1e6)


def test_the_gap_between_kicks_strands_nobody(boot):
    """
    Each wait of the guest ends by an interrupt alone, and it hardly ever exits: a completion whose kick was left out has to
    come, and before the disk has nothing to do. The gap is the longest, since an emulated host's own instructions take time.
    """
    machine = boot(store=store(), cmdline="board=bochs mitigations=off novid", megs=128, cpus=2, ips=GAP_IPS)
    machine.log.wait_for(r"\] ready", 240)
    disks.set_service(machine.operator, GAP_SERVICE_US)
    interrupts, saved, times = kicks_saved(machine, 0)
    assert saved == 0 and times < 1.01, (interrupts, saved, times)
    interrupts, saved, times = kicks_saved(machine, 1000)
    assert saved > interrupts / 20 and times < 1.01, (interrupts, saved, times)

# SPDX-License-Identifier: Apache-2.0
"""What a guest's requests to its disk cost it: exits, interrupts by vIC's table, and that no completion is left without one.

Short forms of what `make bench BENCH=storage` measures, by tests/system/disks.py.
"""
import time

import pytest
from conftest import guest_files

import disks
import vms

READ_VALUE = (76, 1)  # group 76, get: docs/protocol.md


def value(operator, path):
    return operator.client.read_request(*READ_VALUE, {"path": path})["value"]


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
    disks.set_service(operator, 200)
    for in_flight in (5, 32):
        got = disks.held(machine, operator, "vic", in_flight, 2000)
        assert disks.off_table(got, in_flight)[1], (in_flight, got)
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
    disks.set_service(operator, 200)
    operator.define(vms.guest("d", "diskload", "depth=32 count=1000000000 blind",
                              more='disk = { d = virtio { volume = "slow", interrupts = { policy = "off" } } }, '))
    operator.start("d")

    def of(seconds=0.5):
        """Interrupts a request, while some time passes."""
        before = [value(operator, "vm.d.disk.d." + name) for name in ("interrupts_sent", "reads", "interrupts_saved")]
        time.sleep(seconds)
        after = [value(operator, "vm.d.disk.d." + name) for name in ("interrupts_sent", "reads", "interrupts_saved")]
        interrupts, reads, saved = (b - a for a, b in zip(before, after))
        assert reads > 200, reads
        assert abs(interrupts + saved - reads) <= 70, (interrupts, saved, reads)  # the three are read one after the other
        return interrupts / reads

    operator.wait_state("d", ("running",))
    deadline = time.monotonic() + 60
    while value(operator, "vm.d.disk.d.reads") < 500:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert of(2) > 0.9
    operator.client.shell('set("vm.d.disk.d.interrupts.policy", "vic")')
    operator.client.shell('set("vm.d.disk.d.interrupts.epoch", ms(10))')
    time.sleep(1)
    assert of(2) < 0.4
    assert operator.info("d")["config"]["disk"]["d"]["interrupts"] == {"epoch": 10_000_000}
    operator.end("d")


def kicks_saved(operator, gap):
    """Of a guest that spins on one CPU while its disk is served by another: (interrupts, those that kicked nobody)."""
    operator.define(vms.guest("d", "diskload", "depth=6 count=1000000000 blind spin", more=(
        'disk = { d = virtio { volume = "slow", interrupts = { gap = us(%d), epoch = ms(5) } } }, ' % gap)))
    operator.start("d")
    deadline = time.monotonic() + 120
    while value(operator, "vm.d.disk.d.reads") < 3000:
        assert time.monotonic() < deadline, "%s reads, interrupts %s, kicks saved %s" % tuple(
            value(operator, "vm.d.disk.d." + name) for name in ("reads", "interrupts_sent", "kicks_saved"))
        time.sleep(0.2)
    found = value(operator, "vm.d.disk.d.interrupts_sent"), value(operator, "vm.d.disk.d.kicks_saved")
    operator.end("d")
    return found


def test_the_gap_between_kicks_strands_nobody(boot):
    """Each wait of the guest ends by an interrupt alone, and it never exits: a completion whose kick was left out has to come."""
    machine = boot(store=store(), cmdline="board=bochs mitigations=off novid", megs=128, cpus=2, ips=2 * disks.IPS)
    machine.log.wait_for(r"\] ready", 240)
    disks.set_service(machine.operator, 60)
    interrupts, saved = kicks_saved(machine.operator, 0)
    assert saved == 0, (interrupts, saved)
    interrupts, saved = kicks_saved(machine.operator, 100)
    assert saved > interrupts / 20, (interrupts, saved)

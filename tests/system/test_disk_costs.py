# SPDX-License-Identifier: Apache-2.0
"""What a guest's requests to its disk cost it: exits, and interrupts by vIC's table.

Short forms of what `make bench BENCH=storage` measures, by tests/system/disks.py.
"""
import pytest
from conftest import guest_files

import disks


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

# SPDX-License-Identifier: Apache-2.0
"""Implicit co-scheduling and pause-loop exits on a machine of two CPUs: an unmodified guest that spins on a
ticket lock, alone, beside a VM that burns, and the same with all of it off. No bar is a matter of wall time.
"""
import conftest
import locks
import pytest


@pytest.fixture(scope="module")
def machine(boot_shared):
    machine = boot_shared(store=conftest.guest_store(*locks.GUESTS), cpus=2, megs=128, ips=locks.IPS, cmdline="board=bochs")
    yield machine
    machine.stop()


def test_a_spinning_guest_wastes_little(machine):
    operator = machine.operator
    alone = locks.cost(machine, operator, 2, burners=0)
    beside = locks.cost(machine, operator, 2)
    off = locks.cost(machine, operator, 2, off=locks.HELP)
    print("alone %s\nbeside a burner %s\nwith all of it off %s" % (alone, beside, off))
    # its part of two CPUs, of which the other VM has as much
    assert 0.85 < beside.share < 1.15
    assert beside.ticks <= locks.ALONE_MOST * alone.ticks
    assert beside.ticks <= locks.OFF_MOST * off.ticks


def test_four_on_two(machine):
    """No bar but that it gets on: the figure is in docs/scheduler.md."""
    operator = machine.operator
    on, off = (locks.cost(machine, operator, 4, burners=0, off=off) for off in ((), locks.HELP))
    print("four vcpus on two CPUs %s\nwith all of it off %s" % (on, off))
    assert on.ticks < off.ticks

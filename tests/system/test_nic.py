# SPDX-License-Identifier: Apache-2.0
"""The driver of the network card: found, interrupted, and answered by the emulator's user network."""
import re

import pytest

import bochs
import conftest

FIGURES = re.compile(r"selftest: nic: (\d+) of (\d+) answers, (\d+) interrupts, sent (\d+), received (\d+), lost (\d+), "
                     r"wrong (\d+), resets (\d+)")


def cmdline(more=""):
    return "board=bochs selftest=nic mitigations=off " + more


def boot_nic(boot, **options):
    machine = boot(store=conftest.EMPTY, cmdline=cmdline(), megs=64, network=bochs.Network(), **options)
    machine.log.wait_for(r"] ready", 60)
    return machine


@pytest.mark.parametrize("cpus", [1, 2])
def test_it_asks_and_is_answered(boot, cpus):
    machine = boot_nic(boot, cpus=cpus)
    log = machine.log
    log.wait_for(r"nic: nic0: Intel 82540EM at 00:02\.0, 52:54:00:12:34:56, link up 1000 Mb/s, interrupt (9|11)", 5)
    log.wait_for(r"selftest: nic: 1 of 1 answers, 10\.0\.2\.2 is at 52:55:0a:00:02:02", 60)
    answers, asked, interrupts, sent, received, *bad = map(int, FIGURES.search(log.wait_for(FIGURES.pattern, 60)[0].decode()).groups())
    assert answers == asked == 320 and sent == received == 321, log.text()[-500:]
    assert 11 <= interrupts <= 100, interrupts
    assert not any(bad), bad


def test_no_card(boot):
    machine = boot(store=conftest.EMPTY, cmdline=cmdline(), megs=64)
    machine.log.wait_for(r"selftest: nic: there is none", 60)
    machine.log.wait_for(r"] ready", 60)
    assert "nic0" not in machine.log.text()

# SPDX-License-Identifier: Apache-2.0
"""The driver of the network card: found, interrupted, and answered by the emulator's user network."""
import re

import pytest

import bochs
import conftest
import smp
import vms

FIGURES = re.compile(r"selftest: nic: (\d+) interrupts, sent (\d+) frames, (\d+) bytes, received (\d+), (\d+), "
                     r"lost (\d+), wrong (\d+), resets (\d+)")
ASKED = 320  # in batches of 32


def boot_nic(boot, store=conftest.EMPTY, **options):
    return boot(store=store, cmdline="board=bochs selftest=nic mitigations=off", megs=64, **options)


def check(log, most):
    """All questions were answered, and by interrupts: one at least for each batch, and few more."""
    log.wait_for(r"nic: nic0: Intel 82540EM at 00:02\.0, 52:54:00:12:34:56, link up 1000 Mb/s, interrupt (9|11)", 60)
    log.wait_for(r"selftest: nic: 1 of 1 answers, 10\.0\.2\.2 is at 52:55:0a:00:02:02", 60)
    log.wait_for("selftest: nic: %d of %d answers to ARP" % (ASKED, ASKED), 60)
    log.wait_for("selftest: nic: %d of %d answers to pings" % (ASKED, ASKED), 60)
    found = FIGURES.search(log.wait_for(FIGURES.pattern, 60)[0].decode())
    interrupts, sent, sent_bytes, received, received_bytes, *bad = map(int, found.groups())
    assert sent == received == 1 + 2 * ASKED, found[0]
    # a card pads what is shorter than a wire takes
    assert sent_bytes == 42 + ASKED * (42 + 1514) and received_bytes >= sent_bytes, found[0]
    assert 1 + 2 * ASKED // 32 <= interrupts <= most, found[0]
    assert not any(bad), found[0]


@pytest.mark.parametrize("cpus", [1, 2])
def test_it_asks_and_is_answered(boot, cpus):
    machine = boot_nic(boot, cpus=cpus, network=bochs.Network())
    check(machine.log, 200)
    machine.log.wait_for(r"\] ready", 60)


def test_beside_a_guest_that_never_ends_its_turn(boot):
    """Its interrupts end the guest's run, and the task that waits for them is run."""
    store = {"scripts/boot.lua": vms.guest("spin", "spin", more="autostart = true"), **conftest.guest_files("spin")}
    machine = boot_nic(boot, store=store, network=bochs.Network())
    check(machine.log, 200)
    machine.log.wait_for(r"\] ready", 60)
    assert machine.operator.state("spin") == "running"


def test_after_a_reset(boot):
    """It is found again, whatever it was doing."""
    machine = boot_nic(boot, network=bochs.Network())
    check(machine.log, 200)
    end = machine.log.wait_for(r"\] ready", 60).end()
    machine.smp.write_request(smp.OS, smp.RESET)
    end = machine.log.wait_for("Corbel", 60, start=end).end()
    machine.log.wait_for(FIGURES.pattern, 60, start=end)
    assert machine.log.text().count("%d of %d answers to pings" % (ASKED, ASKED)) == 2
    machine.log.wait_for(r"\] ready", 60, start=end)


def test_no_card(boot):
    machine = boot_nic(boot)
    machine.log.wait_for(r"selftest: nic: there is none", 60)
    machine.log.wait_for(r"\] ready", 60)
    assert "nic0" not in machine.log.text()

# SPDX-License-Identifier: Apache-2.0
"""Power on to the last line of the boot log, by each loader, on both models, with little and much memory."""
import os
import re

import pytest

import bochs
import conftest

EMPTY = {"scripts/boot.lua": "-- no machines\n"}
READY = r"ready"


def memory_line(machine):
    found = machine.log.wait_for(rb"memory: (\d+) MiB free, (\d+) MiB in modules, image (\d+) KiB", 120)
    return tuple(int(number) for number in found.groups())


def test_sector_loader_refuses_a_machine_without_room(boot):
    # the store alone is larger than the machine
    store = os.path.join(conftest.DEPS, "guests", "vmlinux")
    machine = boot(store=store, megs=32)
    assert machine.wait(60) == 1
    assert "too little memory for the image and its store" in machine.log.text()


@pytest.mark.parametrize("model", [bochs.ICELAKE, bochs.HASWELL])
def test_pvh_entry(boot, model):
    machine = boot(store=EMPTY, model=model, cmdline="board=bochs one two=three")
    machine.log.wait_for(READY, 60)
    log = machine.log.text()
    assert "loaded by PVH, 1 modules" in log
    assert "arguments: board=bochs one two=three" in log
    assert "board: bochs" in log
    assert "warning: MTRR" not in log


def test_grub_multiboot2_entry(boot):
    machine = boot(store=EMPTY, grub=True, cmdline="board=pc by=grub")
    machine.log.wait_for(READY, 180)
    log = machine.log.text()
    assert re.search(r"loaded by GRUB 2\..*, 1 modules", log)
    assert "arguments: board=pc by=grub" in log


def test_clock_is_measured_and_not_believed(boot):
    """CPUID leaf 15h of this model contradicts its TSC; 12 MHz is what one tick an instruction makes of it."""
    machine = boot(store=EMPTY, ips=12_000_000)
    machine.log.wait_for(READY, 60)
    measured = int(re.search(r"tsc: (\d+) kHz", machine.log.text())[1])
    assert abs(measured - 12_000) <= 12


def test_own_checks(boot):
    """The firmware's own checks: fix-ups, page tables (W^X, aliases), timer, tasks."""
    machine = boot(store=EMPTY, cmdline="board=bochs selftest")
    machine.log.wait_for(READY, 60)
    log = machine.log.text()
    assert re.search(r"selftest: \d+ checks passed", log)
    assert len(re.findall(r"page tables: \d+ leaves keep the rules", log)) >= 1


def test_memory_above_4_gib(boot):
    """Bochs' BIOS reports what lies above 4 GiB apart; all of it is mapped, kept by the rules, and free."""
    machine = boot(store=EMPTY, megs=4608, cmdline="selftest")
    machine.log.wait_for(READY, 240)
    free, _, _ = memory_line(machine)
    # 3 GiB below the device hole and 512 MiB above 4 GiB, less a little
    assert 3584 - 32 <= free <= 3584
    assert re.search(r"selftest: \d+ checks passed", machine.log.text())


def test_small_machine(boot):
    machine = boot(store=EMPTY, megs=64)
    machine.log.wait_for(READY, 60)
    free, _, image = memory_line(machine)
    assert 64 - 16 <= free < 64
    assert image <= 1536


@pytest.mark.parametrize("arguments, sentence", [
    ("board=none", "board=none: there is no such board; there are: bochs pc"),
    ("board=", "there is no such board"),
])
def test_wrong_board(boot, arguments, sentence):
    machine = boot(store=EMPTY, cmdline=arguments)
    machine.log.wait_for(r"corbel cannot start: .*" + re.escape(sentence), 60)


@pytest.mark.parametrize("model, missing", [
    ("athlon64_clawhammer", "XSAVE"),
    ("corei5_lynnfield_750", "XSAVE"),
])
def test_processor_that_lacks_something(boot, model, missing):
    """One sentence names what is missing, before anything of it is used."""
    machine = boot(store=EMPTY, model=model)
    machine.log.wait_for(r"corbel cannot start: .*lacks.*" + missing, 60)

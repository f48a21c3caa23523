# SPDX-License-Identifier: Apache-2.0
"""Power on to the last line of the boot log by each loader, and machines that Corbel refuses."""
import os
import re

import pytest

import bochs
import conftest

READY = r"ready"


def test_sector_loader_refuses_a_machine_without_room(boot):
    # the store alone is larger than the machine
    store = os.path.join(conftest.DEPS, "guests", "vmlinux")
    machine = boot(store=store, megs=32)
    assert machine.wait(60) == 1
    assert "too little memory for the image and its store" in machine.log.text()


@pytest.mark.parametrize("model", [bochs.ICELAKE, bochs.HASWELL])
def test_pvh_entry(boot, model):
    machine = boot(store=conftest.EMPTY, model=model, cmdline="board=bochs one two=three")
    machine.log.wait_for(READY, 60)
    log = machine.log.text()
    assert "loaded by PVH, 1 modules" in log
    assert "arguments: board=bochs one two=three" in log
    assert "board: bochs" in log
    assert "warning: MTRR" not in log


def test_grub_multiboot2_entry(boot):
    machine = boot(store=conftest.EMPTY, grub=True, cmdline="board=pc by=grub")
    machine.log.wait_for(READY, 180)
    log = machine.log.text()
    assert re.search(r"loaded by GRUB 2\..*, 1 modules", log)
    assert "arguments: board=pc by=grub" in log


@pytest.mark.parametrize("model, missing", [
    ("athlon64_clawhammer", "XSAVE"),
    ("corei5_lynnfield_750", "XSAVE"),
])
def test_processor_that_lacks_something(boot, model, missing):
    """One sentence names what is missing, before anything of it is used."""
    machine = boot(store=conftest.EMPTY, model=model)
    machine.log.wait_for(r"corbel cannot start: .*lacks.*" + missing, 60)

# SPDX-License-Identifier: Apache-2.0
"""Power on to the first lines of the boot log, by each loader."""
import os

import conftest

EMPTY = {"README": "nothing to run\n"}


def test_sector_loader_refuses_a_machine_without_room(boot):
    # the store alone is larger than the machine
    store = os.path.join(conftest.DEPS, "guests", "vmlinux")
    machine = boot(store=store, megs=32)
    assert machine.wait(60) == 1
    assert "too little memory for the image and its store" in machine.log.text()


def test_pvh_entry(boot):
    machine = boot(store=EMPTY)
    machine.log.wait_for("corbel", 60)


def test_grub_multiboot2_entry(boot):
    machine = boot(store=EMPTY, grub=True)
    machine.log.wait_for("corbel", 120)

# SPDX-License-Identifier: Apache-2.0
"""Disks of VMs in the emulator, by a guest with a driver of its own (tests/guests/disk.c): each kind of volume, and
what the IDE disk holds when the machine starts again, or loses its power."""
import re

import conftest
import pytest
import smp
import volumes
from volumes import CLONE, DELETE, MERGE, SNAPSHOT, Disk, Volumes

BLOB = bytes(n * 7 % 251 for n in range(64 * 512))


@pytest.fixture(scope="module")
def machine(boot_shared):
    """Partition 2 is for guests as it is, partition 3 for a pool."""
    store = {**conftest.guest_store("disk"), "blob": bytes(64 * 512)}
    disk = boot_shared.make_disk(store, "", False, None, 8, None)
    assert volumes.add_partition(disk, 4) == "disk0:2" and volumes.add_partition(disk, 16) == "disk0:3"
    machine = boot_shared(disk=disk, keep=True)
    machine.log.wait_for(r"\] ready", 240)
    return machine


def test_partition(machine, operator):
    disk = Disk(operator, "d", "disk0:2")
    found = disk.start()
    assert int(found[1]) == (4 << 20) // 512
    disk.write(0, 512, 1, step=128)
    disk.write(100, 33, 2, step=5)
    disk.flush()
    disk.check(0, 100, 1, step=7)
    disk.check(100, 33, 2)
    disk.check(133, 379, 1, step=128)
    disk.write(8192 - 64, 64, 3)
    disk.check(8192 - 64, 64, 3)
    figures = Volumes(machine.smp).figures("disk0:2")
    assert figures["writes"] == 4 + 7 + 8 and figures["written_bytes"] == (512 + 33 + 64) * 512
    assert (figures["flushes"], figures["failed"]) == (1, 0)
    disk.quit()
    assert volumes.content(machine.disk, "disk0:2")[100 * 512 + 8] == 2


def test_features_and_what_is_refused(machine, operator):
    """What a blob lets a guest do: read."""
    v = Volumes(machine.smp)
    v.do(volumes.CREATE, name="blob", config={"blob": "blob"})
    disk = Disk(operator, "d", "blob", cmdline="errors", more=", readonly = true")
    found = disk.start()
    assert (int(found[1]), int(found[2], 16) & 1 << 5) == (64, 1 << 5)
    disk.check(0, 64, 0, step=128)
    assert disk.order("write 0 8 1") == "disk: write failed 1 of 1, status 1"
    assert disk.order("check 60 8 0 8") == "disk: check failed 1 of 1, status 1"
    disk.quit()
    v.do(DELETE, volume="blob")


def test_memory(machine, operator):
    v = Volumes(machine.smp)
    v.do(volumes.CREATE, name="ram", config={"ram": 1 << 20})
    disk = Disk(operator, "d", "ram")
    disk.start()
    disk.write(0, 2048, 1, step=32)
    disk.check(0, 2048, 1, step=128)
    disk.flush()
    operator.end("d")
    disk = Disk(operator, "d", "ram")
    disk.start()
    disk.check(0, 2048, 1, step=128)
    disk.quit()
    operator.end("d")
    v.do(DELETE, volume="ram")


def test_layers_under_a_guest_that_goes_on(machine, operator):
    """Every operation on a pool, while the guest writes, reads and checks what it reads."""
    v = Volumes(machine.smp)
    v.make_pool("disk0:3")
    v.layer("live", 4)
    disk = Disk(operator, "d", "live")
    disk.start()
    at = disk.begin("live 0 2048 0 8")
    for n in range(3):
        disk.wait(rb"disk: alive \d+\r", operator.head("d"))
        v.do(SNAPSHOT, volume="live", name="s%d" % n)
    v.do(CLONE, volume="s1", name="clone")
    other = Disk(operator, "e", "clone")
    other.start()
    other.write(0, 256, 1 << 20, step=16)
    v.do(MERGE, volume="s0")
    v.do(MERGE, volume="s2")
    with pytest.raises(smp.SmpError, match="stands on"):
        v.do(DELETE, volume="s1")
    other.check(0, 256, 1 << 20)
    operator.end("e")
    v.do(DELETE, volume="clone")
    v.do(MERGE, volume="s1")
    v.do(volumes.RESIZE, volume="live", bytes=8 << 20)
    disk.wait(rb"disk: alive \d+\r", operator.head("d"))
    found = disk.stop_going_on(rb"disk: lived (\d+) requests, (\d+) versions")
    assert int(found[1]) > 100 and at < operator.head("d")
    assert {n: x["state"] for n, x in v.list().items() if x["kind"] == "layer"} == {"live": "live"}
    disk.quit()
    operator.end("d")
    v.do(DELETE, volume="live")
    assert "live" not in v.list()

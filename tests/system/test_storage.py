# SPDX-License-Identifier: Apache-2.0
"""Disks of VMs in the emulator, by a guest with a driver of its own (tests/guests/disk.c): each kind of volume, and
what the IDE disk holds when the machine starts again, or loses its power."""
import os
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


def again(machine, boot):
    """The same disk in a machine that is switched on; its storage."""
    machine = boot(disk=machine.disk, keep=True)
    machine.log.wait_for(r"\] ready", 240)
    return machine, Volumes(machine.smp)


def test_what_is_written_is_there_after_a_reset(boot):
    disk = boot.make_disk(conftest.guest_store("disk"), "", False, None, 8, None)
    part, pool = volumes.add_partition(disk, 2), volumes.add_partition(disk, 8)
    machine = boot(disk=disk, keep=True)
    end = machine.log.wait_for(r"\] ready", 240).end()
    v = Volumes(machine.smp)
    v.make_pool(pool)
    v.layer("data", 4)
    for name, volume in (("p", part), ("l", "data")):
        guest = Disk(machine.operator, name, volume)
        guest.start()
        guest.write(0, 256, 1, step=64)
        guest.flush()
    v.do(SNAPSHOT, volume="data", name="data@1")
    guest.write(64, 8, 2)
    guest.flush()
    machine.smp.write_request(smp.OS, smp.RESET)
    machine.log.wait_for(r"\] ready", 240, start=end)
    v = Volumes(machine.smp)
    assert v.list()["data"]["parent"] == "data@1"
    v.do(CLONE, volume="data@1", name="then")
    for name, volume, now in (("p", part, 1), ("l", "data", 2), ("t", "then", 1)):
        guest = Disk(machine.operator, name, volume)
        guest.start()
        guest.check(0, 64, 1, step=32)
        guest.check(64, 8, now)
        guest.check(72, 184, 1, step=32)
        guest.quit()


def seen(text, what):
    return [int(n) for n in re.findall(rb"disk: %s (\d+)\r" % what, text)]


@pytest.mark.parametrize("cmdline", ["", "noflush"])
def test_what_was_acknowledged_is_there_after_a_power_cut(boot, cmdline):
    """Two guests write version after version, on a layer that is snapshotted and merged, and on a partition."""
    disk = boot.make_disk(conftest.guest_store("disk"), "", False, None, 8, None)
    part, pool = volumes.add_partition(disk, 2), volumes.add_partition(disk, 8)
    machine = boot(disk=disk, keep=True)
    machine.log.wait_for(r"\] ready", 240)
    v = Volumes(machine.smp)
    v.make_pool(pool)
    v.layer("data", 4)
    guests = [("p", part), ("l", "data")]
    for name, volume in guests:
        guest = Disk(machine.operator, name, volume, cmdline=cmdline)
        guest.start()
        guest.begin("journal 0 512 1 16")
    durable = {}
    for n in range(2):
        v.do(SNAPSHOT, volume="data", name="s%d" % n)
        guest.wait(rb"disk: durable \d+\r", machine.operator.head("l"))
        if n == 0:
            v.do(MERGE, volume="s0")
    v.begin(MERGE, volume="s1")  # under way when the power goes
    for name, _ in guests:
        durable[name] = max(seen(machine.operator.output(name), b"durable"))
    machine.cut_power()

    machine, v = again(machine, boot)
    for name, volume in guests:
        guest = Disk(machine.operator, name, volume)
        guest.start()
        found = re.fullmatch(r"disk: check done, versions (\d+) to (\d+)", guest.order("check 0 512"))
        assert found, guest.operator.output(name)
        assert durable[name] <= int(found[1]) <= int(found[2]) <= int(found[1]) + 1
        guest.quit()
    # The merge went on by itself.
    assert {n for n, x in v.list().items() if x["kind"] == "layer"} in ({"data"}, {"data", "s1"})


def events(machine, start, kinds="vm"):
    return machine.smp.read_request(71, 0, {"from": start, "kinds": kinds, "wait": 0})["events"]


def test_a_full_volume_pauses_its_guest(boot):
    """It goes on when a snapshot's space has come back, with nothing lost, and its neighbour has noticed nothing."""
    disk = boot.make_disk(conftest.guest_store("disk"), "", False, None, 8, None)
    part, pool = volumes.add_partition(disk, 2), volumes.add_partition(disk, 8)
    machine = boot(disk=disk, keep=True)
    machine.log.wait_for(r"\] ready", 240)
    operator, v = machine.operator, Volumes(machine.smp)
    v.make_pool(pool)
    v.layer("old", 16)
    other = Disk(operator, "o", "old")
    other.start()
    other.write(0, 8192, 1, step=128)
    other.quit()
    v.layer("data", 16)
    neighbour = Disk(operator, "n", part)
    neighbour.start()
    neighbour.begin("live 0 1024 0 8")
    guest = Disk(operator, "g", "data")
    guest.start()
    head = machine.smp.read_request(71, 0, {"last": 1})["head"]
    at = guest.begin("write 0 12288 1 64")
    operator.wait_state("g", ("paused",))
    assert machine.log.wait_for(r"VM g is paused: a volume of its disks is full", 20)
    assert [e["kind"] for e in events(machine, head) if e["name"] == "g"] == ["vm.paused"]
    assert [(e["kind"], e["text"]) for e in events(machine, head, "volume") if e.get("name") == "g"] == [
        ("volume.full", "disk.d: volume data is full")]
    assert v.show(pool)["pool_state"]["full"] > 0
    neighbour.wait(rb"disk: alive \d+\r", operator.head("n"))
    operator.destroy("o")
    v.do(DELETE, volume="old")
    assert guest.wait(rb"disk: write done\r", at)
    assert operator.state("g") == "running"
    assert [e["kind"] for e in events(machine, head, "volume") if e.get("name") == "g"][-1] == "volume.space"
    guest.check(0, 12288, 1, step=128)
    guest.flush()
    neighbour.stop_going_on(rb"disk: lived \d+ requests")
    for g in (guest, neighbour):
        g.quit()


def pace(machine, volume, work):
    """Requests a second that the users of @volume get while @work goes on, and how late the latest was, in ns."""
    def now():
        return machine.smp.read_request(71, 0, {"last": 1})["now_ns"], Volumes(machine.smp).figures(volume)
    begun, before = now()
    work()
    ended, after = now()
    counts = dict(before["latency"])
    late = max(ns for ns, count in after["latency"] if count > counts.get(ns, 0))
    assert after["failed"] == 0, machine.operator.output("n")[-300:]
    return (after["reads"] + after["writes"] - before["reads"] - before["writes"]) * 1e9 / (ended - begun), late


def test_a_disk_that_is_cut_short_and_comes_back(boot):
    """Its file ends before the partition of one guest, who gets errors; beside him on the same disk all stays as it was."""
    disk = boot.make_disk(conftest.guest_store("disk"), "", False, None, 8, None)
    near, far = volumes.add_partition(disk, 2), volumes.add_partition(disk, 4)
    machine = boot(disk=disk, keep=True)
    machine.log.wait_for(r"\] ready", 240)
    neighbour = Disk(machine.operator, "n", near)
    neighbour.start()
    at = neighbour.begin("live 0 1024 0 8")
    neighbour.wait(rb"disk: alive \d+\r", at)
    guest = Disk(machine.operator, "g", far, cmdline="errors")
    guest.start()
    guest.write(0, 2048, 1, step=64)
    guest.flush()

    def checks(answer):
        for _ in range(3):
            assert guest.order("check 0 2048 1 8") == answer
    before, late = pace(machine, near, lambda: checks("disk: check done, versions 1 to 1"))
    head, size = machine.smp.read_request(71, 0, {"last": 1})["head"], os.path.getsize(disk)
    os.truncate(disk, volumes.first_sector(disk, far) * volumes.SECTOR)
    meanwhile, latest = pace(machine, near, lambda: checks("disk: check failed 256 of 256, status 1"))
    assert meanwhile > 0.9 * before and latest <= 2 * late, (before, meanwhile, late, latest)
    told = [e["text"] for e in events(machine, head, "volume") if (e["kind"], e.get("name")) == ("volume.error", "g")]
    assert told and re.fullmatch(r"disk\.d: volume %s fails, [1-9]\d* requests in this start" % far, told[0]), told
    assert Volumes(machine.smp).figures(far)["failed"] == 3 * 256

    os.truncate(disk, size)
    guest.write(0, 2048, 2, step=64)
    guest.check(0, 2048, 2)
    neighbour.stop_going_on(rb"disk: lived \d+ requests")
    for g in (guest, neighbour):
        g.quit()


def test_a_pool_takes_what_its_partition_has_gained(boot):
    """What did not fit before fits once the table says that the partition is larger."""
    disk = boot.make_disk(conftest.guest_store("disk"), "", False, None, 8, None)
    pool = volumes.add_partition(disk, 5, room=3)
    machine = boot(disk=disk, keep=True)
    machine.log.wait_for(r"\] ready", 240)
    v = Volumes(machine.smp)
    v.make_pool(pool)
    v.layer("data", 16)
    guest = Disk(machine.operator, "g", "data")
    guest.start()
    guest.write(0, 2048, 1, step=128)
    guest.flush()
    guest.begin("write 2048 10240 1 128")
    machine.operator.wait_state("g", ("paused",))
    small = v.show(pool)["pool_state"]["size"]
    machine.cut_power()
    volumes.resize_partition(disk, pool, 8)

    machine, v = again(machine, boot)
    assert machine.log.wait_for(r"volume %s: its pool has grown from %d to \d+ KiB" % (pool, small >> 10), 20)
    assert v.show(pool)["pool_state"]["size"] == small + (3 << 20)
    guest = Disk(machine.operator, "g", "data")
    guest.start()
    guest.check(0, 2048, 1, step=128)
    guest.write(2048, 10240, 2, step=128)
    guest.check(2048, 10240, 2, step=128)
    guest.quit()

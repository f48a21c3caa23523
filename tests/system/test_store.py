# SPDX-License-Identifier: Apache-2.0
"""The writable store on the emulator's IDE disk: what a power cut leaves, and machines without one."""
import re
import time

import parts
import smp

LIST, INFO, FORMAT = 0, 1, 3
NAMES = {"scripts/boot.lua": "log('from the seed')", "b": "seed"}


def prompt(machine, line):
    output, ret = machine.smp.shell(line)
    assert ret == 0, output
    return output.rstrip("\n")


def files(machine):
    return {f["name"]: f["size"] for f in machine.smp.read_request(77, LIST)["files"]}


def test_what_was_acknowledged_is_there_after_a_power_cut(boot):
    machine = boot(store=NAMES, keep=True)
    machine.log.wait_for(r"from the seed", 120)
    assert re.search(r"store: made on drive 0 at 0x1f0 from sector \d+: 0 names", machine.log.text())
    prompt(machine, 'store.put("scripts/boot.lua", "log(\'from the disk, \' .. store.get(\'note\'))")')
    prompt(machine, 'store.put("note", "kept")')
    prompt(machine, 'store.put("uploads/long", ("0123456789"):rep(10000))')
    prompt(machine, 'store.put("gone", "x") store.delete("gone")')
    before = files(machine)
    names = machine.smp.read_request(77, INFO)["keys"]  # with those that no list shows
    assert names >= 3
    machine.cut_power()

    machine = boot(disk=machine.disk, keep=True)
    machine.log.wait_for(r"from the disk, kept", 120)
    assert re.search(r"store: opened on drive 0 at 0x1f0 .*: %d names" % names, machine.log.text())
    assert files(machine) == before
    assert {"b": 4, "note": 4, "scripts/boot.lua": 43, "uploads/long": 100000}.items() <= before.items()
    assert "gone" not in before
    assert prompt(machine, 'store.get("uploads/long", 99990)') == "0123456789"
    info = machine.smp.read_request(77, INFO)
    assert (info["writable"], info["opens"], info["damaged"], info["bad_superblocks"]) == (True, 2, 0, 0)
    assert machine.smp.read_request(74, 1) == {"checked": True}


def test_a_cut_in_the_middle_of_writing(boot):
    """The emulator ends while the prompt writes one value after the other: each that was acknowledged is there."""
    machine = boot(store=NAMES, keep=True)
    machine.log.wait_for(r"\] ready", 120)
    for n in range(100, 120):
        prompt(machine, 'store.put("n", ("%d "):rep(8000))' % n)
    # one request that writes on and on, and no waiting for its answer
    line = 'for i = 120, 999 do store.put("n", (i .. " "):rep(8000)) end'
    machine.smp.send(smp.frame(smp.message(smp.WRITE, smp.SHELL, 0, {"argv": [line]}, 200)))
    time.sleep(1)
    machine.cut_power()
    machine = boot(disk=machine.disk, keep=True)
    machine.log.wait_for(r"\] ready", 120)
    found = prompt(machine, 'store.get("n", 0, 3)')
    assert 119 <= int(found) <= 999
    assert prompt(machine, 'store.get("n") == ("%s "):rep(8000)' % found) == "true"
    info = machine.smp.read_request(77, INFO)
    assert (info["writable"], info["damaged"], info["damaged_keys"]) == (True, 0, 0)


def test_a_disk_without_a_store(boot):
    machine = boot(store=NAMES, writable=0)
    machine.log.wait_for(r"from the seed", 120)
    assert "store: nothing can be written: no disk has a partition for it" in machine.log.text()
    assert machine.smp.read_request(77, INFO) == {"writable": False, "why": "no disk has a partition for it"}
    output, ret = machine.smp.shell('store.put("x", "y")')
    assert ret == 1 and "there is no writable store: no disk has a partition for it" in output
    assert files(machine) == {"b": 4, "scripts/boot.lua": 20}


def test_a_partition_that_holds_something_else(boot):
    # who may log in is in the store: a machine that cannot read it lets nobody in, unless it is told to
    machine = boot(store=NAMES, keep=True, cmdline="trust=line")
    machine.log.wait_for(r"\] ready", 120)
    machine.stop()
    first, count = parts.store_on(machine.disk)
    assert count == parts.WRITABLE_MIB << 11
    with open(machine.disk, "r+b") as f:
        f.seek(first * 512)
        f.write(b"another's data " * 1000)
    before = parts.content(machine.disk, first, count)
    machine = boot(disk=machine.disk, keep=True)
    machine.log.wait_for(r"\] ready", 120)
    assert re.search(r"error: store: nothing can be written: drive 0 at 0x1f0: neither superblock, sectors %d and %d, is good"
                     % (first, first + 8), machine.log.text())
    assert files(machine) == {"b": 4, "scripts/boot.lua": 20}
    assert "neither superblock" in machine.smp.read_request(71, 0, {"from": 0, "kinds": "store"})["events"][0]["text"]
    machine.stop()
    assert parts.content(machine.disk, first, count) == before
    # an owner makes a store of it, over the wire, and it stays one
    machine = boot(disk=machine.disk, keep=True)
    machine.log.wait_for(r"\] ready", 120)
    made = machine.smp.write_request(77, FORMAT)["id"]
    prompt(machine, 'store.put("scripts/boot.lua", "log(\'a store again\')")')
    machine.cut_power()
    machine = boot(disk=machine.disk, keep=True)
    machine.log.wait_for(r"a store again", 120)
    assert machine.smp.read_request(77, INFO)["id"] == made


def test_a_disk_made_anew_keeps_the_store(boot):
    """What make run does: the next disk takes the store over."""
    machine = boot(store=NAMES, keep=True)
    machine.log.wait_for(r"\] ready", 120)
    prompt(machine, 'store.put("kept", "over")')
    machine.stop()
    machine = boot(store={"scripts/boot.lua": "log('a new one: ' .. store.get('kept'))"}, take_over=machine.disk)
    machine.log.wait_for(r"a new one: over", 120)


def test_grub_disks_have_a_store(boot):
    machine = boot(store=NAMES, grub=True, keep=True)
    machine.log.wait_for(r"from the seed", 240)
    prompt(machine, 'store.put("x", "by GRUB")')
    assert machine.smp.read_request(77, INFO)["keys"] >= 1

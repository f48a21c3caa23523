# SPDX-License-Identifier: Apache-2.0
"""Counters and settings on the machine: the same tree as in the control tests, over the real managers.

An override's end comes from the host's timer with nobody on the line; what idle time clears, a turn's
length and a VM's next start follow what was set.
"""
import time

import conftest
import pytest
import smp
import vms

STAT, TREE = 2, 76
LIST, GET, SET, UNSET, WHY = range(5)
ANSWER_MAX = 10_000_000_000  # ns of the machine's time, most of it what our questions take on its line
GUESTS = vms.guest("one", "echo", more="autostart = true") + vms.guest("two", "spin", more="autostart = true")


@pytest.fixture(scope="module")
def machine(boot_shared):
    machine = boot_shared(store={"scripts/boot.lua": GUESTS, **conftest.guest_files("echo", "spin")}, megs=96)
    machine.operator.wait_output("one", rb"echo: ready")
    return machine


def get(machine, path):
    return machine.smp.read_request(TREE, GET, {"path": path})["value"]


def change(machine, path, value, **more):
    return machine.smp.write_request(TREE, SET, {"path": path, "value": value, **more})


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_the_machine_adds_up(machine):
    """Memory by owner is all of it, and busy and idle are all of a processor's time."""
    fields = machine.smp.read_request(STAT, 0, {"name": "host.mem"})["fields"]
    owned = sum(fields[k] for k in ("free", "host", "guest", "shared", "leaving"))
    assert 80 << 20 < owned <= 96 << 20
    before, began = machine.smp.read_request(STAT, 0, {"name": "host.cpu"})["fields"], get(machine, "control.uptime")
    time.sleep(1)
    after, ended = machine.smp.read_request(STAT, 0, {"name": "host.cpu"})["fields"], get(machine, "control.uptime")
    passed = sum(after[k] - before[k] for k in ("busy", "idle"))
    assert 0.5 < passed / (ended - began) < 1.5
    one, two = get(machine, "vm.one.cpu.used"), get(machine, "vm.two.cpu.used")
    assert two > one > 0, "the guest that spins has used more than the one that waits"
    assert get(machine, "line.received") > 0 and get(machine, "line.sent") > 0 and get(machine, "line.overruns") == 0


def test_an_override_ends_by_itself(machine):
    change(machine, "log.level", "debug", for_ns=1_500_000_000, why="to see it end")
    machine.log.wait_for(r"setting log\.level: debug, was info, for 1500 ms: to see it end", 60)
    # nothing is said on the line until the log has it
    machine.log.wait_for(r"setting log\.level: an override is over, info counts again", 120)
    assert get(machine, "log.level") == "info"


def test_turns_of_another_length(machine):
    """The guest that waits answers beside the one that spins, within a time of the machine's own clock."""
    assert get(machine, "host.cpu.slice") == 5_000_000
    head = machine.operator.head("one")
    for value in (100_000, "20 ms", 5_000_000):
        change(machine, "host.cpu.slice", value)
        began = get(machine, "control.uptime")
        machine.operator.type("one", b"turn\n")
        while b"echo: turn" not in machine.operator.output("one", head):
            assert get(machine, "control.uptime") - began < ANSWER_MAX, value
        head = machine.operator.head("one")
    machine.smp.write_request(TREE, UNSET, {"path": "host.cpu.slice"})
    assert machine.smp.read_request(74, 1) == {"checked": True}


def test_idle_time_clears_what_is_asked(machine):
    machine.operator.pause("two")  # or nothing would be idle
    target = get(machine, "host.mem.clear_ahead.4k") + 256
    change(machine, "host.mem.clear_ahead.4k", target)
    wait_for(lambda: get(machine, "host.mem.cleared.4k") >= target)
    assert get(machine, "host.mem.cleared.4k") < target + 64  # a batch that was under way
    machine.smp.write_request(TREE, UNSET, {"path": "host.mem.clear_ahead.4k"})
    machine.operator.resume("two")


def test_what_counts_at_a_start(machine):
    operator = machine.operator
    before = operator.info("one")["memory"]["size"]
    reply = change(machine, "vm.one.mem.size", before * 2)
    assert (reply["value"], reply["next_value"]) == (before, before * 2)
    operator.stop("one")
    operator.start("one")
    info = operator.info("one")
    assert info["memory"]["size"] == before * 2
    operator.wait_output("one", rb"echo: ready")
    with pytest.raises(smp.SmpError) as error:
        change(machine, "vm.one.mem.size", 2 ** 40)
    assert error.value.rc == smp.BAD_VALUE
    machine.smp.write_request(TREE, UNSET, {"path": "vm.one.mem.size"})
    operator.stop("one")
    operator.start("one")
    assert operator.info("one")["memory"]["size"] == before

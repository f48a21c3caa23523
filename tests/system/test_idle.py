# SPDX-License-Identifier: Apache-2.0
"""Idle: all vcpus halted and nothing due means no exit and not one host instruction over 10 M ticks.

The measure is the emulator's own: its debugger is told to execute one instruction, and a halted
processor without an event has none to execute, while ticks go by. The same measure with a guest that
runs shows that it sees instructions where there are some.
"""
import time

import bochs
import conftest
import pytest
import vms

TICKS = 10_000_000
GUESTS = vms.guest("one", "idle", more="autostart = true") + vms.guest("two", "echo", more="autostart = true")


@pytest.fixture(params=[(bochs.ICELAKE, ""), (bochs.HASWELL, "novid")], ids=["icelake", "haswell-novid"])
def machine(request, boot):
    model, cmdline = request.param
    store = {"scripts/boot.lua": GUESTS, **conftest.guest_files("idle", "echo", "spin")}
    machine = boot(store=store, megs=96, model=model, cmdline=cmdline, debugger=True)
    machine.operator.wait_output("one", rb"idle: halted")
    machine.operator.wait_output("two", rb"echo: ready")
    return machine


def ticks_without_an_instruction(machine):
    """How many ticks pass from now until the next instruction, as far as one second of ours shows."""
    time.sleep(1)  # an idle processor makes hundreds of millions of ticks of this: what was left to do is done
    start = machine.break_in()
    end = machine.step(1)
    if end is None:
        end = machine.break_in()
    machine.go_on()
    return end - start


def exits(operator):
    return {name: operator.info(name)["exits_by_kind"] for name in operator.vms()}


def test_halted_machine_does_nothing(machine):
    operator = machine.operator
    before = exits(operator)
    assert ticks_without_an_instruction(machine) >= TICKS
    assert exits(operator) == before
    assert operator.info("one")["state"] == "running"
    # and it wakes when there is something to do
    operator.type("two", b"awake\n")
    operator.wait_output("two", rb"echo: awake")
    # also after that
    before = exits(operator)
    assert ticks_without_an_instruction(machine) >= TICKS
    assert exits(operator) == before


def test_measure_sees_a_guest_that_runs(machine):
    operator = machine.operator
    operator.define(vms.guest("busy", "spin"))
    operator.start("busy")
    operator.wait_output("busy", rb"spin: interrupts off")
    before = exits(operator)
    assert ticks_without_an_instruction(machine) < 10
    after = exits(operator)
    assert after["busy"] != before["busy"]
    assert (after["one"], after["two"]) == (before["one"], before["two"])
    # paused, it takes nothing either
    operator.pause("busy")
    before = exits(operator)
    assert ticks_without_an_instruction(machine) >= TICKS
    assert exits(operator) == before

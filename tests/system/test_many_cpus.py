# SPDX-License-Identifier: Apache-2.0
"""Guests with one vcpu each on the CPUs of one machine: at once, and taken from wherever they run."""
import conftest
import pytest
import vms

LOOPS = ["loop%d" % index for index in range(4)]
STORE = {"scripts/boot.lua": "-- no machines\n", **conftest.guest_files("spin", "echo")}


@pytest.fixture(scope="module", params=[1, 2, 4])
def machine(request, boot_shared):
    machine = boot_shared(store=STORE, cpus=request.param, megs=128, cmdline="board=bochs")
    machine.cpus = request.param
    machine.log.wait_for(r"\] ready", 120)
    yield machine
    machine.stop()


@pytest.fixture
def operator(machine):
    yield machine.operator
    for name, entry in machine.operator.vms().items():
        if entry["state"] in ("running", "paused"):
            machine.operator.stop(name)
        machine.operator.destroy(name)


def start_loops(operator, count):
    """@count guests that never leave the CPU by themselves, interrupts off."""
    operator.define("".join(vms.guest(name, "spin") for name in LOOPS[:count]))
    for name in LOOPS[:count]:
        operator.start(name)
    for name in LOOPS[:count]:
        operator.wait_output(name, rb"spin: interrupts off")


def used(operator, name):
    return operator.info(name)["cpu_ns"]


def test_each_has_a_cpu(machine, operator):
    """As many as there are CPUs, but for the control plane's: none takes another's time."""
    count = max(machine.cpus - 1, 1)
    start_loops(operator, count)
    before = [(used(operator, name), operator.info(name)["uptime_ns"]) for name in LOOPS[:count]]
    operator.head(LOOPS[0])
    for name, (cpu, uptime) in zip(LOOPS[:count], before):
        info = operator.info(name)
        share = (info["cpu_ns"] - cpu) / (info["uptime_ns"] - uptime)
        assert share > 0.9 if machine.cpus > 1 else share > 0.5, (name, share)


def test_taken_from_where_they_run(machine, operator):
    """Paused, resumed, stopped, destroyed and made again, round and round, while all others run."""
    start_loops(operator, 4)
    for name in LOOPS * 2:
        operator.pause(name)
        frozen = used(operator, name)
        assert used(operator, name) == frozen
        operator.resume(name)
        operator.stop(name)
        operator.destroy(name)
        operator.define(vms.guest(name, "spin"))
        operator.start(name)
        operator.wait_output(name, rb"spin: interrupts off")
    assert operator.client.read_request(vms.INSPECT, vms.CHECK)


def test_consoles_of_all(operator):
    """A line typed at each comes back from each, wherever it runs."""
    operator.define("".join(vms.guest(name, "echo") for name in LOOPS))
    for name in LOOPS:
        operator.start(name)
        operator.wait_output(name, rb"echo: ready")
    for number in range(3):
        for name in LOOPS:
            operator.type(name, b"%s number %d\n" % (name.encode(), number))
        for name in LOOPS:
            operator.wait_output(name, b"echo: %s number %d" % (name.encode(), number))

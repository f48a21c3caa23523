# SPDX-License-Identifier: Apache-2.0
"""Guests with several processors, on machines with fewer, as many and more: the test guest that starts
its processors and takes their interrupts apart, its ends, and what it can do to its neighbours.
"""
import re

import bochs
import conftest
import pytest
import smp
import vms

TREE, GET, SET = 76, 1, 2
SLICE = "host.cpu.slice"
MODELS = {"icelake": (bochs.ICELAKE, ""), "novid": (bochs.HASWELL, "novid")}


@pytest.fixture(scope="module", params=[("icelake", 1), ("novid", 1), ("icelake", 2), ("icelake", 4)], ids=lambda p: "%s-%u" % p)
def machine(request, boot_shared):
    name, cpus = request.param
    model, cmdline = MODELS[name]
    machine = boot_shared(store=conftest.guest_store("smp", "beat", "pvtime"), megs=128, model=model,
                          cmdline="board=bochs " + cmdline, cpus=cpus)
    machine.cpus = cpus
    yield machine
    machine.stop()


def guest(name, cpus, words="", more=""):
    return vms.guest(name, "smp", "cpus=%u %s" % (cpus, words), more="cpu = { count = %u }, %s" % (cpus, more))


@pytest.mark.parametrize("cpus, words", [(2, ""), (2, "xapic"), (4, "rounds=50"), (4, "xapic rounds=50"),
                                         (4, "mixed rounds=20")])
def test_processors(operator, cpus, words):
    vms.passed(*operator.run(guest("s", cpus, words), seconds=240))


def test_clock_and_steal_time_of_all(machine, operator):
    """One time for all, and each one's own loss: about half of a CPU that two share."""
    console = vms.passed(*operator.run(vms.guest("pvtime", cmdline="cpus=2", more="cpu = { count = 2 },"), seconds=120))
    stolen = [int(ns) / int(of) for ns, of in re.findall(r"stolen \d+ (\d+) of (\d+)", console)]
    assert len(stolen) == 2 and all(0.3 < part < 0.7 if machine.cpus == 1 else part < 0.2 for part in stolen), console


def test_last_one_powers_off(operator):
    info, _ = operator.run(guest("s", 4, "off"))
    assert (info["state"], info["reason"]) == ("stopped", "power-off")


def test_init_to_the_boot_processor_resets(operator):
    """What follows the reset vector is firmware, which starts the machine anew."""
    info, _ = operator.run(guest("s", 2, "reset"))
    assert (info["state"], info["reason"]) == ("stopped", "reset")


def test_crash_names_all(operator):
    info, _ = operator.run(guest("s", 3, "crash"))
    assert (info["state"], info["reason"]) == ("crashed", "crash")
    report = operator.report("s")
    assert report.startswith("triple fault\nvcpu 2 of VM s\n"), report
    assert "\nvcpu 0: " in report and re.search(r"\nvcpu 1: (halted|running), rip ", report), report


def test_pause_and_resume(operator):
    operator.define(guest("s", 2, "spin"))
    operator.start("s")
    operator.wait_output("s", b"spinning")
    for _ in range(3):
        operator.pause("s")
        assert operator.state("s") == "paused"
        operator.resume("s")
    assert operator.state("s") == "running"


def test_slices_hardly_longer_than_a_switch(operator):
    """All its processors on one of ours, each turn a few thousand instructions: the guest goes on, and so does the operator."""
    usual = operator.client.read_request(TREE, GET, {"path": SLICE})["value"]
    operator.client.write_request(TREE, SET, {"path": SLICE, "value": 500_000})
    operator.define(vms.guest("s", "smp", "cpus=4 spin", more='cpu = { count = 4, affinity = "0" }'))
    operator.start("s")
    operator.wait_output("s", b"spinning", seconds=120)
    began = operator.info("s")["uptime_ns"]
    for _ in range(3):
        operator.host()
    assert operator.info("s")["uptime_ns"] - began < 4_000_000_000
    operator.client.write_request(TREE, SET, {"path": SLICE, "value": usual})


@pytest.mark.parametrize("words, sign", [("spin", "spinning"), ("storm", "storming"), ("timers", "setting timers"),
                                         ("inits", "100 starts")])
def test_bad_neighbour_is_destroyed(operator, words, sign):
    """Its processors are in the middle of it; another VM goes on, and everything comes back."""
    operator.define(guest("s", 3, words))
    operator.start("s")
    operator.wait_output("s", sign.encode(), seconds=120)
    operator.define(vms.guest("b", "beat"))
    operator.start("b")
    operator.wait_output("b", rb"beat: \d+ worst \d+", seconds=120)
    assert operator.state("s") == "running"
    operator.stop("s")
    operator.destroy("s")
    assert "s" not in operator.vms()


def test_a_million_timers(machine, operator):
    """Set anew by two processors together; where they have a CPU each all of them, elsewhere a part."""
    count = 500_000 if machine.cpus == 2 else 50_000
    vms.passed(*operator.run(guest("s", 2, "timers count=%u" % count), seconds=240))


def test_too_many(operator):
    with pytest.raises(smp.SmpError) as error:
        operator.define(guest("s", 17))
    assert "cpu.count is 17, a VM has at most 16 CPUs" in str(error.value)

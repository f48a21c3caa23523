# SPDX-License-Identifier: Apache-2.0
"""Guests that misbehave, each beside a witness that must not notice: only the culprit changes state,
and a report names the cause. On a new processor, and on an old one without virtual interrupts.
"""
import re

import bochs
import conftest
import pytest
import smp
import vms

CULPRITS = ("ports", "msrs", "spin", "triple", "vmxops", "hole")
WITNESS = 'vm "witness" { boot = multiboot { image = "guests/echo" }, mem = { size = MiB(4) }, autostart = true }\n'


@pytest.fixture(scope="module", params=[(bochs.ICELAKE, ""), (bochs.HASWELL, "novid")], ids=["icelake", "haswell-novid"])
def machine(request, boot_shared):
    model, cmdline = request.param
    store = {"scripts/boot.lua": WITNESS, **conftest.guest_files("echo", *CULPRITS)}
    machine = boot_shared(store=store, megs=96, model=model, cmdline=cmdline)
    yield machine
    machine.stop()


@pytest.fixture
def operator(machine):
    """The operator; afterwards the witness still runs, was never restarted and answers, and the culprits go."""
    operator = machine.operator
    operator.wait_output("witness", rb"echo: ready")
    yield operator
    witness = operator.info("witness")
    assert (witness["state"], witness["starts"], witness["report_bytes"]) == ("running", 1, 0)
    answers(operator)
    operator.clear(keep=["witness"])


def answers(operator, seconds=30):
    """The witness's loop from console input to console output goes round."""
    head = operator.head("witness")
    operator.type("witness", b"are you there\n")
    operator.wait_output("witness", rb"echo: are you there", seconds, head)


def crashed(machine, operator, text):
    """Runs the guest of @text into its crash: (the first line of the report, the report)."""
    info, _ = operator.run(text)
    name = info["name"]
    assert (info["state"], info["reason"]) == ("crashed", "crash")
    assert "exit_code" not in info
    report = operator.report(name)
    assert info["report_bytes"] == len(report)
    first = report.splitlines()[0]
    # the log says it too, in one sentence
    machine.log.wait_for(re.escape("VM %s crashed: %s" % (name, first)), 30)
    return first, report


def assert_complete(report, name):
    """What a person needs to see for themselves: the exit, registers, segments, last exits."""
    assert "vcpu 0 of VM " + name in report
    assert re.search(r"^exit: .+ at rip [0-9a-f]{16}", report, re.MULTILINE)
    for register in ("rax", "rsp", "r15", "rip", "cr0", "cr3", "cr4"):
        assert re.search(r"\b%s +[0-9a-f]{8,16}\b" % register, report), register
    for segment in ("cs", "ss", "tr", "gdtr", "idtr"):
        assert re.search(r"^%s +[0-9a-f]{4} base [0-9a-f]{16}" % segment, report, re.MULTILINE), segment
    assert len(re.findall(r"^  -\d+ [0-9a-f]{16} ", report, re.MULTILINE)) >= 3


@pytest.mark.parametrize("name, seed, survived", [
    ("ports", 1, r"ports: survived"),
    ("msrs", 1, r"msrs: survived, reads \d+ writes \d+"),
    ("msrs", 2, r"msrs: survived, reads \d+ writes \d+"),
])
def test_random_accesses_are_survived(operator, name, survived, seed):
    """Ports and MSRs that are not there, and random values in those that are, harm not even the culprit."""
    info, console = operator.run(vms.guest(name, cmdline="seed=%d" % seed), seconds=120)
    assert re.search(survived, console), console[-2000:]
    vms.passed(info, console)
    if name == "msrs":
        assert info["denied_msrs"] > 1000
    else:
        assert info["bus_misses"] > 10000


@pytest.mark.parametrize("name, seed", [("ports", 1), ("msrs", 1), ("msrs", 2)])
def test_random_accesses_that_end_a_machine_end_only_the_culprit(operator, name, seed):
    """With the registers by which a machine resets, powers off or loses its mode."""
    info, _ = operator.run(vms.guest(name, cmdline="all seed=%d" % seed), seconds=120)
    assert info["state"] in vms.ENDED
    if info["state"] == "crashed":
        assert_complete(operator.report(name), name)


def test_loop_with_interrupts_off(operator):
    """It has the CPU when it is its turn and no longer: witness and operator are served, and a stop stops it."""
    operator.define(vms.guest("spin"))
    operator.start("spin")
    operator.wait_output("spin", rb"spin: interrupts off")
    before = operator.info("spin")
    for _ in range(5):
        answers(operator, 10)
    after = operator.info("spin")
    assert after["state"] == "running" and after["cpu_ns"] > before["cpu_ns"]
    assert after["exits_by_kind"]["entry bound"] > before["exits_by_kind"]["entry bound"]
    operator.stop("spin")
    info = operator.info("spin")
    assert (info["state"], info["reason"], info["memory"]["present"]) == ("stopped", "operator", 0)


def test_several_loops_share_the_cpu(operator):
    names = ["spin%d" % index for index in range(3)]
    operator.define("".join(vms.guest(name, "spin") for name in names))
    for name in names:
        operator.start(name)
    for name in names:
        operator.wait_output(name, rb"spin: interrupts off")
    before = [operator.info(name)["cpu_ns"] for name in names]
    answers(operator)
    answers(operator)
    used = [operator.info(name)["cpu_ns"] - start for name, start in zip(names, before)]
    # equals among equals; a request falls somewhere within a turn
    assert min(used) > 0.5 * max(used), used


def test_triple_fault(machine, operator):
    first, report = crashed(machine, operator, vms.guest("triple"))
    assert "triple fault" in first
    assert_complete(report, "triple")


def test_start_after_a_crash(machine, operator):
    crashed(machine, operator, vms.guest("triple"))
    operator.start("triple")
    info = operator.wait_state("triple", vms.ENDED)
    assert (info["state"], info["starts"]) == ("crashed", 2)
    assert operator.output("triple").count(b"triple: now") == 2


def test_reset_on_triple_fault_is_not_a_loop(operator):
    """A crash stays a crash, though resets restart this VM."""
    info, _ = operator.run(vms.guest("triple").replace('"stop"', '"restart"'))
    assert (info["state"], info["starts"]) == ("crashed", 1)


def test_vmx_instructions(operator):
    info, console = operator.run(vms.guest("vmxops"))
    assert "WRONG" not in console, console
    assert console.count("exception 6") == 17 and "cr4.vmxe exception 13" in console
    assert (info["state"], info["exit_code"]) == ("stopped", vms.PASS)


def test_memory_that_is_not_there(operator):
    """Reads give ones, writes vanish, at every width: as on a machine with nothing there."""
    info, console = operator.run(vms.guest("hole"))
    assert "hole: done" in console, console
    assert (info["state"], info["exit_code"]) == ("stopped", vms.PASS)
    assert info["bus_misses"] > 0


def test_execution_where_no_memory_is(machine, operator):
    first, report = crashed(machine, operator, vms.guest("hole", cmdline="fetch"))
    assert re.search(r"0x0*d0000000|0000d0000000", first), first
    assert_complete(report, "hole")


def test_reports_are_kept_apart(machine, operator):
    """Two crashed VMs at once, each with its own cause."""
    crashed(machine, operator, vms.guest("one", "triple"))
    crashed(machine, operator, vms.guest("two", "hole", cmdline="fetch"))
    assert "triple fault" in operator.report("one") and "VM one" in operator.report("one")
    assert "triple fault" not in operator.report("two") and "VM two" in operator.report("two")


def test_report_of_a_vm_that_is_fine_is_empty(operator):
    assert operator.report("witness") == ""
    with pytest.raises(smp.SmpError) as caught:
        operator.report("nobody")
    assert caught.value.rc == smp.NO_ENTRY

# SPDX-License-Identifier: Apache-2.0
"""What the hypervisor says of its own faults: registers, a backtrace with names, what was running.

Each is provoked by a boot argument. None may end in a silent reset: the emulator is set to stop at a
triple fault, and then its exit status would be there before the last line of the report.
"""
import re

import conftest
import pytest


def report_of(boot, fault):
    machine = boot(store=conftest.EMPTY, cmdline="board=bochs fault=" + fault)
    machine.log.wait_for(r"^\*\*\* halted", 60)
    assert machine.running(), "the machine reset itself after the report"
    log = machine.log.text()
    return log[log.index("*** corbel:"):]


def assert_complete(report):
    """Every register has a value, the backtrace has names and leads to the boot."""
    for register in ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r15", "rip", "cr0", "cr3", "cr4"):
        assert re.search(r"\b%s +[0-9a-f]{16}\b" % register, report), register
    assert_backtrace(report)


def assert_backtrace(report):
    trace = report[report.index("backtrace:"):]
    names = re.findall(r"^ +ffffffff[0-9a-f]{8} (\w+)\+0x[0-9a-f]+", trace, re.MULTILINE)
    assert "selftest_run" in names, trace
    assert names.index("selftest_run") < len(names) - 1, "the trace ends where the fault was asked for"
    assert "running: boot" in report


@pytest.mark.parametrize("fault, cause", [
    ("ud", r"invalid opcode \(vector 6"),
    ("pf", r"page fault \(vector 14"),
    ("wx", r"page fault \(vector 14.*write at .*not permitted"),
])
def test_fault(boot, fault, cause):
    report = report_of(boot, fault)
    assert re.search(cause, report.splitlines()[0])
    assert_complete(report)


def test_stack_overflow_names_the_stack(boot):
    report = report_of(boot, "stack")
    assert_complete(report)
    assert re.search(r"stack overflow: guard page of stack '[\w ]+'", report)
    assert report.count("overflow_stack") > 3


def test_double_fault_has_a_stack_of_its_own(boot):
    report = report_of(boot, "df")
    assert re.search(r"double fault \(vector 8", report)
    assert re.search(r"\brip +[0-9a-f]{16}\b", report)


def test_panic(boot):
    report = report_of(boot, "panic")
    assert "panic: asked for by the boot argument fault=panic" in report
    assert_backtrace(report)


@pytest.mark.parametrize("fault, count", [("nmi", 1), ("stuck", 2)])
def test_nmi_is_recorded_and_survived(boot, fault, count):
    machine = boot(store=conftest.EMPTY, cmdline="board=bochs fault=" + fault)
    machine.log.wait_for(r"ready", 60)
    log = machine.log.text()
    assert re.search(r"warning: NMI %d on cpu 0 at ffffffff[0-9a-f]{8} \w+\+0x" % count, log)

# SPDX-License-Identifier: Apache-2.0
"""All CPUs of the machine: started, compared, named in reports; and those that cannot be used.

Idle CPUs cost the emulator much, so each run is short.
"""
import re

import pytest

EMPTY = {"scripts/boot.lua": "-- no machines\n"}


def start(boot, cpus, arguments, until=r"\] ready"):
    machine = boot(store=EMPTY, cpus=cpus, megs=128, cmdline="board=bochs " + arguments)
    machine.log.wait_for(until, 120)
    return machine.log.text()


@pytest.mark.parametrize("arguments, mode", [("", "x2APIC mode"), ("nox2apic", "xAPIC mode")])
@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_all_come_up(boot, cpus, arguments, mode):
    """Each walks the page tables it runs on: nothing maps the page they started in, and all stacks have guards."""
    log = start(boot, cpus, "selftest " + arguments)
    assert ", %s, " % mode in log
    assert "CPUs: %d of %d in use" % (cpus, cpus) in log
    # twice in the boot CPU's own checks, then once on each CPU
    assert len(re.findall(r"page tables: \d+ leaves keep the rules", log)) == 2 + cpus
    assert "left out" not in log
    assert "TSC is" not in log


@pytest.mark.parametrize("shape, text", [
    ("1:1:2", "CPUs: 2 of 2 in use; 1 package, 1 core, 2 threads, 1 last-level cache of 8192 KiB"),
    ("2:2:1", "CPUs: 4 of 4 in use; 2 packages, 4 cores, 4 threads, 2 last-level caches of 8192 KiB"),
])
def test_topology(boot, shape, text):
    """Packages, cores, threads. The emulator's leaf 0Bh is wrong for both several cores and several threads."""
    assert text in start(boot, shape, "")


def test_fewer_by_argument(boot):
    assert "CPUs: 2 of 4 in use" in start(boot, 4, "cpus=2")


def test_cpu_that_never_answers(boot):
    """The MADT may list a CPU that is not there. It is waited for, named, and the next ones get its place."""
    log = start(boot, 2, "ghost=77 selftest")
    assert "CPU with APIC id 77: no answer within 100 ms: it is left out" in log
    assert "CPUs: 2 of 3 in use" in log


def test_id_beyond_the_mode(boot):
    log = start(boot, 2, "nox2apic ghost=300")
    assert "CPU with APIC id 300: it needs x2APIC mode: it is left out" in log
    assert "CPUs: 2 of 3 in use" in log


@pytest.mark.parametrize("fault, sentence", [
    ("mtrr", r"MTRRs: variable base \d+ is 0x123000 on cpu 1 but 0x0 on the boot cpu"),
    ("skew", r"its TSC is ahead by \d+ ticks or more"),
])
def test_cpu_that_differs(boot, fault, sentence):
    """It is refused with the reason; the others run on, and the next one takes its number."""
    log = start(boot, 4, "fault=%s fault-cpu=1" % fault)
    found = re.findall(r"warning: CPU with APIC id (\d): " + sentence + ": it is left out", log)
    # the CPU that gets the number next is spoilt as well
    assert found == ["1", "2", "3"]
    assert "CPUs: 1 of 4 in use" in log


def report_of(boot, cpus, fault, cpu):
    log = start(boot, cpus, "fault=%s fault-cpu=%s" % (fault, cpu), r"^\*\*\* halted")
    return log[log.index("*** corbel:"):]


@pytest.mark.parametrize("cpu", [0, 2])
def test_fault_names_its_cpu(boot, cpu):
    report = report_of(boot, 4, "pf", cpu)
    assert re.match(r"\*\*\* corbel: page fault \(vector 14.*write at", report)
    assert "\ncpu %d, running: " % cpu in report.replace("\r", "")
    assert re.search(r"ffffffff[0-9a-f]{8} selftest_run_cpu\+0x", report)
    # the others were stopped, and say where
    for other in {0, 1, 2, 3} - {cpu}:
        assert re.search(r"^cpu %d stopped at ffffffff[0-9a-f]{8} \w+\+0x" % other, report, re.MULTILINE), report
    assert "did not stop" not in report


def test_stack_overflow_names_the_stack_of_its_cpu(boot):
    report = report_of(boot, 4, "stack", 2)
    assert "stack overflow: guard page of stack 'cpu 2 loop'" in report
    assert report.count("overflow_stack") > 3


def test_double_fault_of_another_cpu(boot):
    report = report_of(boot, 2, "df", 1)
    assert re.match(r"\*\*\* corbel: double fault", report)
    assert "cpu 1, running: " in report


def test_panics_at_once_are_one_report(boot):
    """All CPUs panic in the same instant: one prints, whole, and names itself."""
    report = report_of(boot, 4, "panic", "all")
    assert report.count("*** corbel:") == 1

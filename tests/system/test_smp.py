# SPDX-License-Identifier: Apache-2.0
"""All CPUs of the machine: started, compared, named in reports; and those that cannot be used.

Idle CPUs cost the emulator much, so each run is short.
"""
import re
import time

import conftest
import pytest
import smp
import vms

EVENTS, EVENTS_GET = 71, 0
INSPECT, INFO = 74, 0
WATCHFUL = {"scripts/boot.lua": "host { watchdog = { timeout = ms(2000) } }\n"}


def machine_of(boot, cpus, arguments, until=r"\] ready", store=None, **more):
    machine = boot(store=store or conftest.EMPTY, cpus=cpus, megs=128, cmdline="board=bochs " + arguments, **more)
    machine.log.wait_for(until, 120)
    return machine


def start(boot, cpus, arguments, until=r"\] ready"):
    return machine_of(boot, cpus, arguments, until).log.text()


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
    ("1:1:2", "CPUs: 2 of 2 in use; 1 package, 1 core, 2 threads, 1 last-level cache of 8192 KiB; APIC ids 0-1"),
    ("2:2:1", "CPUs: 4 of 4 in use; 2 packages, 4 cores, 4 threads, 2 last-level caches of 8192 KiB; APIC ids 0-3"),
])
def test_topology(boot, shape, text):
    """Packages, cores, threads. The emulator's leaf 0Bh is wrong for both several cores and several threads."""
    machine = machine_of(boot, shape, "")
    assert text in machine.log.text()
    assert "CPUs: " + machine.smp.read_request(INSPECT, INFO)["facts"]["cpus"] == text


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


@pytest.mark.parametrize("cpus", [2, 4])
def test_operator_resets_the_machine(boot, cpus):
    """All come up again. Another CPU than the one that was asked resets it: the emulator's clock would stand still."""
    machine = machine_of(boot, cpus, "")
    start = len(machine.log.data)
    machine.smp.write_request(smp.OS, smp.RESET)
    machine.log.wait_for(r"\] ready", 120, start=start)
    assert "CPUs: %d of %d in use" % (cpus, cpus) in machine.log.text()[start:]
    assert machine.smp.echo("here again") == "here again"


def traced(machine, action):
    """What the emulator says of instructions on CPU 0 and interrupts on any while @action goes on, and the ticks."""
    began = machine.break_in()
    start = len(machine.e9.data)
    machine.command("trace on")
    machine.go_on()
    action()
    ended = machine.break_in()
    lines = machine.e9.text()[start:].splitlines()
    machine.command("trace off")
    machine.go_on()
    return [line for line in lines if re.search(r"Interrupt 0x|^\(0\)\.\[", line)], ended - began


def test_idle_cpus_do_nothing(boot):
    """All asleep, nothing due: no CPU is woken, the watchdogs included, over 10 M ticks."""
    machine = machine_of(boot, 2, "", store=WATCHFUL, debugger=True)
    seen, _ = traced(machine, lambda: machine.smp.echo("awake"))
    assert seen
    time.sleep(3)  # what was left to do is done; the watchdogs look for the last time
    seen, ticks = traced(machine, lambda: time.sleep(3))
    assert ticks >= 10_000_000
    assert seen == []


def test_stuck_cpu_is_noticed(boot):
    """CPU 2 spins with interrupts off: an NMI gets its backtrace, the operator gets an event, the others run on."""
    machine = machine_of(boot, 4, "fault=hang fault-cpu=2", store=WATCHFUL)
    found = machine.log.wait_for(rb"error: cpu 2 is stuck: it has not passed its loop for (\d+) ms", 120)
    assert 2000 <= int(found[1]) < 5000
    machine.log.wait_for(r"error:   at ffffffff[0-9a-f]{8} hang\+0x", 30)
    machine.log.wait_for(r"error:   from ffffffff[0-9a-f]{8} selftest_run_cpu\+0x", 30)
    assert machine.smp.echo("still here") == "still here"
    events = machine.smp.read_request(EVENTS, EVENTS_GET, {"from": 0, "kinds": "fault", "max": 10, "wait": 0})["events"]
    assert [event["text"][:14] for event in events] == ["cpu 2 is stuck"]
    assert machine.log.text().count("is stuck") == 1


def test_stuck_boot_cpu_is_noticed(boot):
    """CPU 1 sees to it, and prints by itself: the boot CPU, whose work the log is, does not."""
    log = machine_of(boot, 2, "fault=hang fault-cpu=0", r"^\*\*\*   from ffffffff[0-9a-f]{8} continue_boot",
                     ips=4_000_000).log.text()
    assert re.search(r"^\*\*\* cpu 0 is stuck: it has not passed its loop for 1\d{4} ms", log, re.MULTILINE)
    assert re.search(r"^\*\*\*   at ffffffff[0-9a-f]{8} hang\+0x", log, re.MULTILINE)


@pytest.mark.parametrize("cpus", [2, 4])
def test_stuck_cpu_names_its_guest(boot, cpus):
    """A CPU that gets stuck in a guest's turn is reported with the guest; the other ones run on."""
    guests = "".join(vms.guest("loop%d" % index, "spin", more="autostart = true") for index in range(cpus))
    store = {"scripts/boot.lua": WATCHFUL["scripts/boot.lua"] + guests, **conftest.guest_files("spin")}
    machine = machine_of(boot, cpus, "fault=hang fault-cpu=1 fault-after=3000", store=store)
    machine.log.wait_for(r"error: cpu 1 is stuck: it has not passed its loop for \d+ ms, running: loop\d", 120)
    machine.log.wait_for(r"error:   at ffffffff[0-9a-f]{8} hang\+0x", 30)
    machine.log.wait_for(r"error:   from ffffffff[0-9a-f]{8} run_here\+0x", 30)
    assert machine.smp.echo("still here") == "still here"
    stuck = re.search(r"cpu 1 is stuck: .*, running: (loop\d)", machine.log.text())[1]
    with pytest.raises(smp.SmpError, match="VM %s is stopped, but CPU 1 is stuck and does not let go of its vcpu 0" % stuck):
        vms.Operator(machine.smp).stop(stuck)
    for name in ("loop%d" % index for index in range(cpus)):
        if name != stuck:
            vms.Operator(machine.smp).stop(name)


@pytest.mark.parametrize("cpu", [0, 2])
def test_report_stops_guests(boot, cpu):
    """A panic in the midst of work: guests with interrupts off on all CPUs are stopped where they are, and named."""
    guests = "".join(vms.guest("loop%d" % index, "spin", more="autostart = true") for index in range(4))
    store = {"scripts/boot.lua": guests, **conftest.guest_files("spin")}
    machine = machine_of(boot, 4, "fault=panic fault-cpu=%d fault-after=4000" % cpu, r"^\*\*\* halted", store=store)
    report = machine.log.text()
    report = report[report.index("*** corbel: panic"):].replace("\r", "")
    assert re.search(r"^cpu %d, running: " % cpu, report, re.MULTILINE)
    assert "did not stop" not in report
    where = dict(re.findall(r"^cpu (\d) (?:stopped at [0-9a-f]+ \S+|), running: (.*)$", report, re.MULTILINE))
    assert len(where) == 3
    assert sum("loop" in text for text in where.values()) >= 2, report

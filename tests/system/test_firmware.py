# SPDX-License-Identifier: Apache-2.0
"""The machine below the guests: its own checks on new and old processors, its clock, little and much
memory, boards that do not exist, and what follows a report. Reports themselves: test_faults.py.
"""
import re

import bochs
import conftest
import pytest
import smp
import vms

PENRYN = "core2_penryn_t9600"
SANDY_BRIDGE = "corei7_sandy_bridge_2600k"


def memory_line(machine):
    found = machine.log.wait_for(rb"memory: (\d+) MiB free, (\d+) MiB in modules, image (\d+) KiB", 120)
    return tuple(int(number) for number in found.groups())


@pytest.mark.parametrize("model, apic, protections", [
    (bochs.ICELAKE, "x2APIC mode, TSC-deadline timer", "nx smep smap umip,"),
    (bochs.HASWELL, "x2APIC mode, TSC-deadline timer", "nx smep,"),
    (SANDY_BRIDGE, "xAPIC mode, TSC-deadline timer", "nx,"),
    (PENRYN, "xAPIC mode, one-shot timer", "nx,"),
])
def test_own_checks(boot, model, apic, protections):
    """Fix-ups, page tables (W^X, aliases, memory types), timer, tasks."""
    machine = boot(store=conftest.EMPTY, cmdline="board=bochs selftest", model=model)
    machine.log.wait_for(r"selftest: \d+ checks passed", 60)
    log = machine.log.text()
    assert apic in log
    assert "protections: " + protections in log
    assert "MTRRs: all RAM is write-back" in log
    # once before the tasks come and once after they have gone
    assert len(re.findall(r"page tables: \d+ leaves keep the rules", log)) >= 2


def test_clock_is_measured_and_not_believed(boot):
    """CPUID leaf 15h of this model contradicts its TSC; 12 MHz is what one tick an instruction makes of it."""
    machine = boot(store=conftest.EMPTY, ips=12_000_000)
    machine.log.wait_for("ready", 60)
    measured = int(re.search(r"tsc: (\d+) kHz by the PM timer", machine.log.text())[1])
    assert abs(measured - 12_000) <= 12
    assert "CPUID claims" in machine.log.text()


def test_memory_above_4_gib(boot):
    """Bochs' BIOS reports what lies above 4 GiB apart; all of it is mapped, kept by the rules, and free."""
    machine = boot(store=conftest.EMPTY, megs=4608, cmdline="selftest")
    machine.log.wait_for(r"selftest: \d+ checks passed", 240)
    free, _, _ = memory_line(machine)
    # 3 GiB below the device hole and 512 MiB above 4 GiB, less a little
    assert 3584 - 32 <= free <= 3584


def test_small_machine(boot):
    machine = boot(store=conftest.EMPTY, megs=64)
    machine.log.wait_for("ready", 60)
    free, _, image = memory_line(machine)
    assert 64 - 16 <= free < 64
    assert image <= 2304


@pytest.mark.parametrize("arguments, sentence", [
    ("board=none", "board=none: there is no such board; there are: bochs pc"),
    ("board=", "there is no such board"),
])
def test_wrong_board(boot, arguments, sentence):
    """Said before the line was set up, and legible."""
    machine = boot(store=conftest.EMPTY, cmdline=arguments)
    machine.log.wait_for(r"corbel cannot start: .*" + re.escape(sentence), 60)


def test_report_can_end_the_machine(boot):
    machine = boot(store=conftest.EMPTY, cmdline="board=bochs fault=ud panic=off")
    machine.log.wait_for("powering off", 60)
    assert machine.wait(60) == 1


def test_report_can_reset_the_machine(boot):
    machine = boot(store=conftest.EMPTY, cmdline="board=bochs fault=ud panic=reset")
    end = machine.log.wait_for("resetting", 60).end()
    machine.log.wait_for("Corbel", 60, start=end)


@pytest.mark.parametrize("model", [bochs.ICELAKE, bochs.HASWELL])
def test_operator_resets_the_machine(boot, model):
    """It starts again whole, on an emulator whose timer deadlines are wrong after a reset."""
    store = {"scripts/boot.lua": vms.guest("echo", "echo", more="autostart = true"), **conftest.guest_files("echo")}
    machine = boot(store=store, model=model)
    machine.operator.wait_output("echo", b"echo: ready")
    end = machine.log.wait_for(r"\] ready", 60).end()
    machine.smp.write_request(smp.OS, smp.RESET)
    end = machine.log.wait_for("Corbel", 60, start=end).end()
    machine.log.wait_for(r"\] ready", 60, start=end)
    machine.operator.wait_output("echo", b"echo: ready")
    machine.operator.stop("echo")
    assert machine.operator.state("echo") == "stopped"


def test_nmi_that_finds_the_last_one_unread_prints_at_once(boot):
    machine = boot(store=conftest.EMPTY, cmdline="board=bochs fault=stuck")
    machine.log.wait_for("ready", 60)
    log = machine.log.text()
    assert "NMI 2, and the one before is still unread" in log
    assert re.search(r"rip [0-9a-f]{16}.*\n(.*\n)?backtrace:", log.replace("\r", ""))


def test_log_survives_a_report(boot):
    """What the line had not sent yet comes before the report, whole and once."""
    machine = boot(store=conftest.EMPTY, cmdline="board=bochs fault=pf debug")
    machine.log.wait_for(r"^\*\*\* halted", 60)
    log = machine.log.text()
    stamps = [float(stamp) for stamp in re.findall(r"^\[ *(\d+\.\d+)\]", log, re.MULTILINE)]
    assert len(stamps) > 10 and stamps == sorted(stamps)
    assert log.count("arguments:") == 1
    assert log.index("ACPI:") < log.index("*** corbel")

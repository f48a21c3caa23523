# SPDX-License-Identifier: Apache-2.0
"""The machine below the guests, where test_boot.py and test_faults.py do not look: processors with an
older local APIC, boards that do not fit the machine, and what follows a report.
"""
import re

import bochs
import pytest

EMPTY = {"scripts/boot.lua": "-- no machines\n"}
PENRYN = "core2_penryn_t9600"
SANDY_BRIDGE = "corei7_sandy_bridge_2600k"


@pytest.mark.parametrize("model, apic, protections", [
    (bochs.HASWELL, "x2APIC mode, TSC-deadline timer", "nx smep,"),
    (SANDY_BRIDGE, "xAPIC mode, TSC-deadline timer", "nx,"),
    (PENRYN, "xAPIC mode, one-shot timer", "nx,"),
])
def test_own_checks_on_older_processors(boot, model, apic, protections):
    machine = boot(store=EMPTY, cmdline="board=bochs selftest", model=model)
    machine.log.wait_for(r"selftest: \d+ checks passed", 60)
    log = machine.log.text()
    assert apic in log
    assert "protections: " + protections in log


def test_report_can_end_the_machine(boot):
    machine = boot(store=EMPTY, cmdline="board=bochs fault=ud panic=off")
    machine.log.wait_for("powering off", 60)
    assert machine.wait(60) == 1


def test_report_can_reset_the_machine(boot):
    machine = boot(store=EMPTY, cmdline="board=bochs fault=ud panic=reset")
    end = machine.log.wait_for("resetting", 60).end()
    machine.log.wait_for("Corbel", 60, start=end)


def test_nmi_that_finds_the_last_one_unread_prints_at_once(boot):
    machine = boot(store=EMPTY, cmdline="board=bochs fault=stuck")
    machine.log.wait_for("ready", 60)
    log = machine.log.text()
    assert "NMI 2, and the one before is still unread" in log
    assert re.search(r"rip [0-9a-f]{16}.*\n(.*\n)?backtrace:", log.replace("\r", ""))


def test_log_survives_a_report(boot):
    """What the line had not sent yet comes before the report, whole and once."""
    machine = boot(store=EMPTY, cmdline="board=bochs fault=pf debug")
    machine.log.wait_for(r"^\*\*\* halted", 60)
    log = machine.log.text()
    stamps = [float(stamp) for stamp in re.findall(r"^\[ *(\d+\.\d+)\]", log, re.MULTILINE)]
    assert len(stamps) > 10 and stamps == sorted(stamps)
    assert log.count("arguments:") == 1
    assert log.index("ACPI:") < log.index("*** corbel")

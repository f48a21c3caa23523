# SPDX-License-Identifier: Apache-2.0
"""The machine below the guests: self-tests on both CPU models, much memory, and faults of each kind.

Every report must name the fault, hold registers and a backtrace with the function that caused it,
say what was running, and end in a halted machine that neither resets nor falls silent.
"""
import re

import bochs
import pytest

EMPTY = {"README": "nothing to run\n"}
GIB = 1024


def boot_log(boot, cmdline, until, seconds=60, **machine):
    started = boot(store=EMPTY, cmdline=cmdline, **machine)
    started.log.wait_for(until, seconds)
    return started


@pytest.mark.parametrize("model", [bochs.ICELAKE, bochs.HASWELL])
def test_self_tests(boot, model):
    machine = boot_log(boot, "board=bochs selftest", r"selftest: \d+ checks passed", model=model)
    text = machine.log.text()
    assert "MTRRs: all RAM is write-back" in text
    assert "by the PM timer, invariant" in text
    wanted = "nx smep smap umip" if model == bochs.ICELAKE else "nx smep,"
    assert wanted in text


def test_tsc_is_measured_not_believed(boot):
    machine = boot_log(boot, "selftest", "checks passed", model=bochs.ICELAKE, ips=20000000)
    khz = int(re.search(r"tsc: (\d+) kHz by the PM timer", machine.log.text()).group(1))
    assert abs(khz - 20000) <= 20
    assert "CPUID claims" in machine.log.text()


def test_memory_above_4_gib(boot):
    machine = boot_log(boot, "selftest debug", "checks passed", megs=6 * GIB, seconds=120)
    text = machine.log.text()
    above = re.search(r"memory: 000100000000-([0-9a-f]{12}) (free RAM|boot)", text)
    assert above, text
    assert int(above.group(1), 16) > 5 << 30
    free = int(re.search(r"memory: (\d+) MiB free", text).group(1))
    assert free > 4.9 * GIB  # the hole below 4 GiB is lost


def test_small_machine(boot):
    boot_log(boot, "selftest", "checks passed", megs=32)


FAULTS = {
    "ud": [r"invalid opcode \(vector 6", r"rip [0-9a-f]{16}", r"run_fault\+0x"],
    "pf": [r"page fault \(vector 14, error 0x2\): write at 0xffff83fffffff000, not mapped", r"run_fault\+0x"],
    "wx": [r"page fault \(vector 14, error 0x3\): write at 0xffffffff80[0-9a-f]+, not permitted", r"write_rodata\+0x"],
    "stack": [r"page fault \(vector 14", r"stack overflow: guard page of stack 'cpu loop'", r"overflow_stack\+0x"],
    "df": [r"double fault \(vector 8", r"double_fault\+0x"],
    "panic": [r"panic: asked for by the boot argument", r"run_fault\+0x"],
}


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_fault_report(boot, kind):
    machine = boot_log(boot, "board=bochs fault=" + kind, r"\*\*\* halted")
    text = machine.log.text()
    for wanted in FAULTS[kind] + [r"cpu 0, running: boot", r"cr0 0000000080010033", r"backtrace:",
                                  r"continue_boot\+0x|overflow_stack"]:
        assert re.search(wanted, text), "no /%s/ in\n%s" % (wanted, text)
    # the log that was still waiting comes before the report
    assert text.index("Corbel") < text.index("*** corbel")
    assert machine.running()


def test_report_can_end_the_machine(boot):
    machine = boot(store=EMPTY, cmdline="board=bochs fault=ud panic=off")
    machine.log.wait_for("powering off", 60)
    assert machine.wait(60) == 1
    machine = boot(store=EMPTY, cmdline="board=bochs fault=ud panic=reset")
    machine.log.wait_for("resetting", 60)
    machine.log.wait_for("Corbel", 60, start=machine.log.text().index("resetting"))


def test_nmi_is_recorded_and_survived(boot):
    machine = boot_log(boot, "board=bochs fault=nmi", "ready")
    text = machine.log.text()
    assert re.search(r"NMI 1 on cpu 0 at [0-9a-f]{16} (apic_send_nmi|run_fault)\+0x", text)
    assert re.search(r"from [0-9a-f]{16} selftest_run\+0x", text)
    assert "***" not in text


def test_second_unread_nmi_prints_at_once(boot):
    machine = boot_log(boot, "board=bochs fault=stuck", "ready")
    text = machine.log.text()
    assert "NMI 2, and the one before is still unread" in text
    assert re.search(r"NMI 2 on cpu 0", text)


def test_wrong_board_is_named(boot):
    machine = boot_log(boot, "board=nonesuch", r"\*\*\* halted")
    assert "cannot start: board=nonesuch: there is no such board; there are:" in machine.log.text()

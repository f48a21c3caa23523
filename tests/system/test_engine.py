# SPDX-License-Identifier: Apache-2.0
"""The VT-x engine on the emulated processors: its self-test (guests that run straight on struct
engine) in each combination of features and mitigations, and the sentence on processors that
cannot run guests.
"""
import bochs
import conftest
import pytest

PENRYN = "core2_penryn_t9600"
RYZEN = "ryzen"


@pytest.mark.parametrize("model, arguments, described, skipped", [
    (bochs.ICELAKE, "mitigations=off", ["virtual interrupts", "mitigations: off"], 0),
    (bochs.ICELAKE, "", ["virtual interrupts", "mitigations: auto: ", "IBRS always on", "RSB barrier"], 0),
    (bochs.ICELAKE, "mitigations=off novid", ["preemption timer"], 2),
    (bochs.HASWELL, "", ["mitigations: auto: ", "RSB fill at exit", "not covered: "], 0),
])
def test_self_test(boot, model, arguments, described, skipped):
    machine = boot(store=conftest.EMPTY, cmdline="board=bochs selftest=vmx " + arguments, model=model)
    found = machine.log.wait_for(rb"self-test of vmx: (\d+) passed, (\d+) failed, (\d+) skipped", 120)
    log = machine.log.text()
    assert int(found[2]) == 0, log
    assert int(found[1]) >= 10 and int(found[3]) == skipped
    for text in described:
        assert text in log, text
    if skipped:
        assert "virtual interrupts," not in log


@pytest.mark.parametrize("model, words", [
    (PENRYN, ["this processor's VT-x lacks", "EPT", "unrestricted guest", "VPID"]),
    (RYZEN, ["this processor has no VT-x", "EPT", "unrestricted guest"]),
])
def test_a_processor_that_cannot(boot, model, words):
    """One sentence that names each missing capability, and the machine stops."""
    machine = boot(store=conftest.EMPTY, model=model)
    machine.log.wait_for(words[0], 120)
    machine.log.wait_for("\n", 10, machine.log.text().index(words[0]))
    line = [line for line in machine.log.text().splitlines() if words[0] in line][0]
    for word in words:
        assert word in line, line

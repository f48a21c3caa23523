# SPDX-License-Identifier: Apache-2.0
"""A page is taken again and again from a guest that reads it on all CPUs (boot argument selftest=flush): no processor may
read the old one once another has seen it gone, nor for ever. tests/guests/flush.c says what it looks for. The emulator
forgets translations at each exit, so that an INVEPT left out is seen by the assertions of a debug build alone (vmx/check.c).
"""
import re

import conftest
import pytest
import vms

@pytest.mark.parametrize("cpus", [2, 4])
def test_nobody_reads_a_page_that_was_taken(boot, cpus):
    machine = boot(store=conftest.guest_store("flush"), megs=128, cpus=cpus, cmdline="board=bochs selftest=flush")
    machine.log.wait_for(r"\] ready", 120)
    operator = machine.operator
    operator.define(vms.guest("flush", more="cpu = { count = %d }," % cpus))
    operator.start("flush")
    machine.log.wait_for(r"selftest: flush: \d+ of", 240)
    console = operator.wait_output("flush", rb"flush: \d+ times|: fail", seconds=60).string.decode()
    assert operator.state("flush") == "running", console
    taken, of = map(int, re.search(r"selftest: flush: (\d+) of (\d+) pages taken", machine.log.text()).groups())
    # it has the page again before the next is taken, most times
    assert taken > of // 2 and "times" in console

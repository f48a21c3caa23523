# SPDX-License-Identifier: Apache-2.0
"""The emulator's IDE disk as the machine's: its bus master, its interrupts, and what an operator is told of both."""
import re

INSPECT, INFO = 74, 0  # docs/protocol.md
NAMES = {"scripts/boot.lua": "log('from the seed')"}


def prompt(machine, line):
    output, ret = machine.smp.shell(line)
    assert ret == 0, output
    return output.rstrip("\n")


def test_the_bus_master_moves_what_the_store_keeps(boot):
    machine = boot(store=NAMES, keep=True)
    machine.log.wait_for(r"from the seed", 120)
    assert re.search(r"disk: bus master at 0x[0-9a-f]+ \(PCI 00:01\.1, 8086:70[0-9a-f]{2}\)", machine.log.text())
    assert re.search(r"disk: drive 0 at 0x1f0: by DMA", machine.log.text())
    assert machine.smp.read_request(INSPECT, INFO)["facts"]["DMA"] == "unprotected"
    prompt(machine, 'store.put("uploads/long", ("0123456789"):rep(10000))')
    assert prompt(machine, '#store.get("uploads/long")') == "100000"
    prompt(machine, 'log("end of it")')
    machine.log.wait_for(r"end of it", 60)
    assert not re.search(r"disk: .*(transfer|reset|busy)|which nobody has", machine.log.text())

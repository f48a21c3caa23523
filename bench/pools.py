# SPDX-License-Identifier: Apache-2.0
"""How long interrupts are masked while pools change on a full machine: 64 VMs that run, in 32 pools four deep, all of
which get other numbers and other places at once, and are taken back.
"""
import pathlib
import tempfile

import lab
import loads
import trace
import vms

POLICY, APPLY = 70, 3
# Branches of four pools, one below the other; the first number is another order of them and other VMs in each, the second other shares and limits.
SITE = """
local turn, number = %d, %d
local function name(i) return string.format("p%%02d", i %% 32) end
for i = 0, 31 do
  local at, up = (i + 4 * turn) %% 32, (i - 1 + 4 * turn) %% 32
  pool(name(at)) { parent = i %% 4 > 0 and name(up) or nil, cpu = { shares = 1000 + i + number, limit = pct(90 + number) } }
end
for i = 0, 63 do
  vm(string.format("v%%02d", i)) { boot = multiboot { image = "spin" }, mem = { size = MiB(2) }, pool = name(i + 7 * turn),
    cpu = { shares = 1000 + number }, autostart = true }
end
"""


def measure():
    """[(what, instructions masked, where)]."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="corbel-") as directory:
        store = {"scripts/boot.lua": SITE % (0, 0), "spin": pathlib.Path(lab.build("guests/spin.elf"))}
        disk = lab.make_disk(directory, store, "mitigations=off")
        with lab.bochs.Bochs(disk, megs=512) as machine:
            machine.log.wait_for(r"\] ready", 400)
            operator = vms.Operator(lab.smp.Client(machine.management).connect())
            assert sum(vm["state"] == "running" for vm in operator.vms().values()) == 64
            symbols = trace.Symbols()
            operator.host()
            for name, turn, number in (("other numbers", 0, 1), ("other places", 1, 1), ("both", 0, 2)):
                operator.client.write_request(POLICY, APPLY, {"text": SITE % (turn, number), "origin": "site.lua"}, seconds=400)
                masked = operator.host()["masked"]
                figures.append((name, masked["ticks"], symbols.function(masked["where"])))
            operator.check()
    return figures


def run():
    table = lab.Table("The longest masked section while 32 pools with 64 VMs change, instructions", "where it ended")
    for name, ticks, where in measure():
        table.row(name, ticks, loads.MASKED_MAX, note=where)
    return table.missed

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
# Branches of four pools, one below the other; @turn is another order of them, other shares, other VMs in each.
SITE = """
local turn = %d
local function name(i) return string.format("p%%02d", i %% 32) end
for i = 0, 31 do
  local at, up = (i + 4 * turn) %% 32, (i - 1 + 4 * turn) %% 32
  pool(name(at)) { parent = i %% 4 > 0 and name(up) or nil, cpu = { shares = 1000 + i + turn, limit = pct(90 + turn) } }
end
for i = 0, 63 do
  vm(string.format("v%%02d", i)) { boot = multiboot { image = "spin" }, mem = { size = MiB(2) }, pool = name(i + 7 * turn),
    cpu = { shares = 1000 + turn }, autostart = true }
end
"""


def measure():
    """[(what, instructions masked, where)]."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="corbel-") as directory:
        store = {"scripts/boot.lua": SITE % 0, "spin": pathlib.Path(lab.build("guests/spin.elf"))}
        disk = lab.make_disk(directory, store, "mitigations=off")
        with lab.bochs.Bochs(disk, megs=512) as machine:
            machine.log.wait_for(r"\] ready", 400)
            operator = vms.Operator(lab.smp.Client(machine.management).connect())
            assert sum(vm["state"] == "running" for vm in operator.vms().values()) == 64
            symbols = trace.Symbols()
            operator.host()
            for turn in (1, 2, 0):
                operator.client.write_request(POLICY, APPLY, {"text": SITE % turn, "origin": "site.lua"}, seconds=400)
                masked = operator.host()["masked"]
                figures.append(("other numbers and places, %d" % turn, masked["ticks"], symbols.function(masked["where"])))
            operator.check()
    return figures


def run():
    table = lab.Table("The longest masked section while 32 pools with 64 VMs change, instructions", "where it ended")
    for name, ticks, where in measure():
        table.row(name, ticks, loads.MASKED_MAX, note=where)
    return table.missed

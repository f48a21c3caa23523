# SPDX-License-Identifier: Apache-2.0
"""How long interrupts are masked while pools change on a full machine: 64 VMs that run, in 32 pools four deep, all of
which get other numbers and other places at once, and are taken back; with one vcpu each, and with as many as there can be.
"""
import pathlib
import tempfile

import lab
import loads
import trace
import vms

POLICY, APPLY = 70, 3
MACHINES = ((1, 512), (16, 1024))  # vcpus of each VM, and the host's memory in MiB
# Branches of four pools, one below the other; the first number is another order of them and other VMs in each, the second other shares and limits.
SITE = """
local turn, number, vcpus = %d, %d, %d
local function name(i) return string.format("p%%02d", i %% 32) end
for i = 0, 31 do
  local at, up = (i + 4 * turn) %% 32, (i - 1 + 4 * turn) %% 32
  pool(name(at)) { parent = i %% 4 > 0 and name(up) or nil, cpu = { shares = 1000 + i + number, limit = pct(90 + number) } }
end
for i = 0, 63 do
  vm(string.format("v%%02d", i)) { boot = multiboot { image = "spin" }, mem = { size = MiB(2) }, pool = name(i + 7 * turn),
    cpu = { shares = 1000 + number, count = vcpus }, autostart = true }
end
"""


def measure(vcpus, megs):
    """[(what, instructions masked, where)]."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="corbel-") as directory:
        store = {"scripts/boot.lua": SITE % (0, 0, vcpus), "spin": pathlib.Path(lab.build("guests/spin.elf"))}
        disk = lab.make_disk(directory, store, "mitigations=off")
        with lab.bochs.Bochs(disk, megs=megs) as machine:
            machine.log.wait_for(r"\] ready", 400)
            operator = vms.Operator(lab.smp.Client(machine.management).connect())
            assert sum(vm["state"] == "running" for vm in operator.vms().values()) == 64
            symbols = trace.Symbols()

            def row(name, do):
                operator.host()
                do()
                masked = operator.host()["masked"]
                figures.append((name, masked["ticks"], symbols.function(masked["where"])))

            def apply(turn, number):
                text = SITE % (turn, number, vcpus)
                operator.client.write_request(POLICY, APPLY, {"text": text, "origin": "site.lua"}, seconds=400)

            row("one VM's shares", lambda: operator.client.shell('set("vm.v05.cpu.shares", 500)'))
            row("other numbers", lambda: apply(0, 1))
            row("other places", lambda: apply(1, 1))
            row("both", lambda: apply(0, 2))
            row("a VM's stop", lambda: operator.client.shell('stop("v07")'))
            row("its start", lambda: operator.client.shell('start("v07")'))
            operator.check()
    return figures


def run():
    missed = []
    for vcpus, megs in MACHINES:
        table = lab.Table("The longest masked section while 32 pools with 64 VMs, vcpus each %d, change, instructions" % vcpus,
                          "where it ended")
        for name, ticks, where in measure(vcpus, megs):
            table.row(name, ticks, loads.MASKED_MAX, note=where)
        missed += table.missed
    return missed

# SPDX-License-Identifier: Apache-2.0
"""What interrupts between two vcpus cost that have a CPU each: bench/guest_ipis.c on a machine of two CPUs."""
import pathlib
import tempfile

import lab

GUEST = """vm "g" {
  boot = multiboot { image = "guest_ipis" }, mem = { size = MiB(4) }, cpu = { count = 2 },
  on_reset = "stop", debug_exit = true, autostart = true,
}"""
ROWS = (("ipi_send_running", "the sender's WRMSR, to one that runs"), ("ipi_running", "to the handler of one that runs"),
        ("ipi_running_worst", "the worst of 64"), ("ipi_send_halted", "the sender's WRMSR, to a halted one"),
        ("ipi_halted", "to the handler of a halted one"), ("ipi_halted_worst", "the worst of 64"))


def measure(model, args):
    with tempfile.TemporaryDirectory(prefix="corbel-") as directory:
        store = {"scripts/boot.lua": GUEST, "boot.lua": GUEST, "guest_ipis": pathlib.Path(lab.build("guests/guest_ipis.elf"))}
        with lab.bochs.Bochs(lab.make_disk(directory, store, args), model=model, megs=96, cpus=2) as machine:
            machine.log.wait_for(r"VM g ended: .*", 240)
            return lab.bench_lines(lab.console(lab.smp.Client(machine.management).connect(), "g").replace("\r", ""))


def run():
    table = lab.Table("An interrupt from one vcpu to another, instructions of either's CPU", "Icelake, Icelake without virtual interrupts")
    virtual, plain = measure(lab.bochs.ICELAKE, "mitigations=off"), measure(lab.bochs.ICELAKE, "mitigations=off novid")
    for name, text in ROWS:
        table.row(text, virtual[name], note="%d, %d" % (virtual[name], plain[name]))
    return table.missed

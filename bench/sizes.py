# SPDX-License-Identifier: Apache-2.0
"""What Corbel takes: the image, host memory before the first VM, and each VM beside its own pages."""
import os
import subprocess
import tempfile

import lab

MIB = 1 << 20
INSPECT, HOST = 74, 0
MEGS = 256
FRAME_ENTRY = 16
GUEST_MIB = 64
VM = """vm "g" {
  boot = multiboot { image = "idle" }, mem = { size = MiB(%d) }, on_reset = "stop", autostart = true,
}""" % GUEST_MIB


def image(table):
    table.row("corbel.elf with its symbols, bytes", os.path.getsize(lab.build("corbel.elf")), 3 * MIB // 2)
    for line in subprocess.check_output(["size", "-A", lab.build("corbel.elf")], text=True).splitlines():
        words = line.split()
        if len(words) == 3 and words[1].isdigit() and int(words[1]):
            table.row("  " + words[0], int(words[1]))


def host_memory(client):
    """Bytes that are the hypervisor's own, by its accounts."""
    return client.read_request(INSPECT, HOST)["memory"]["host"]


def boot(directory, contents, ready):
    disk = lab.make_disk(directory, contents, "mitigations=off")
    machine = lab.bochs.Bochs(disk, megs=MEGS)
    machine.start()
    machine.log.wait_for(ready, 120)
    return machine


def memory(table):
    idle = open(lab.build("guests/idle.elf"), "rb").read()
    with tempfile.TemporaryDirectory(prefix="corbel-") as directory:
        machine = boot(directory, {"boot.lua": "", "scripts/boot.lua": ""}, r"\] ready")
        try:
            client = lab.smp.Client(machine.management).connect()
            table.row("host memory before the first VM", host_memory(client),
                      16 * MIB + MEGS * MIB // 4096 * FRAME_ENTRY)
        finally:
            machine.stop()
        machine = boot(directory, {"boot.lua": VM, "scripts/boot.lua": VM, "idle": idle}, r"\] ready")
        try:
            client = lab.smp.Client(machine.management).connect()
            info = client.read_request(lab.VMS, 7, {"name": "g"})
            pages = GUEST_MIB * MIB // 4096
            ept = (pages // 512 + 8) * 4096
            table.row("a VM of %d MiB beside its pages" % GUEST_MIB, info["memory"]["overhead"],
                      MIB + ept + 8 * pages, note="bar: 1 MiB + EPT of 4 KiB leaves + 8 bytes a page")
        finally:
            machine.stop()


def run():
    table = lab.Table("Sizes in bytes", "")
    image(table)
    memory(table)
    return table.missed

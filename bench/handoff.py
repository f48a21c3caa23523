# SPDX-License-Identifier: Apache-2.0
"""From the loader's jump into the image to the first guest instruction.

The emulator's debugger stops at the image's PVH entry and at its first VMLAUNCH; each stop tells the
tick. In between lies all of start-up: page tables, calibration, memory, Lua, the boot script, a
64 MiB guest defined, loaded and started. The log drains asynchronously and is not waited for.
"""
import re
import subprocess
import tempfile

import lab
import trace

MEGS = 256
MOST = 30_000_000
STOP = re.compile(r"^Next at t=(\d+)\n\(0\) \[0x[0-9a-f]+\] [0-9a-f]+:([0-9a-f]+) \(.*?\): (.*?)\s*;", re.MULTILINE)


def launches():
    """The addresses of the image's VMLAUNCH instructions."""
    listing = subprocess.check_output(["objdump", "-d", lab.build("corbel.elf")], text=True)
    return re.findall(r"^([0-9a-f]+):.*\tvmlaunch", listing, re.MULTILINE)


def stops():
    """[(tick, address, instruction)] at the entry, the first VMLAUNCH, and what follows it."""
    entry = trace.Symbols().address("pvh_entry")
    commands = ["pb 0x%x" % entry, "c", *("lb 0x" + address for address in launches()), "c", "s", "q"]
    with tempfile.TemporaryDirectory(prefix="corbel-") as directory:
        disk = lab.make_disk(directory, trace.store(), "mitigations=off")
        with lab.bochs.Bochs(disk, megs=MEGS, commands=commands) as machine:
            machine.wait(300)
            return [(int(tick), int(address, 16), text) for tick, address, text in STOP.findall(machine.e9.text())][1:]


def run():
    (start, _, _), (launch, _, text), (first, guest, _) = stops()
    if text != "vmlaunch" or guest >= trace.IMAGE_BASE:
        raise SystemExit("handoff.py: stopped at %s and then at 0x%x, which is no guest" % (text, guest))
    table = lab.Table("Hand-off, instructions, ips 10 M", "")
    table.row("loader to VMLAUNCH", launch - start)
    table.row("loader to first guest instruction", first - start, MOST)
    return table.missed

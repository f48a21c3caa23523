#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""trace.py HANDLER [--skip N] [--all]: every instruction of one exit, as the emulator executed it.

Boots bench/guest_exits.c, stops in the emulator's debugger when HANDLER (a function of guest/ that an exit calls,
say on_io) is reached for the Nth time, and traces until it is reached again: one round trip and
the guest's own loop. Prints the instructions of each function, and those that are cheap here and
dear on silicon. The count is the emulator's own, so it checks what the guest measured.
"""
import argparse
import bisect
import collections
import pathlib
import re
import subprocess
import tempfile

import lab

GUEST = """vm "g" {
  boot = multiboot { image = "guest_exits" }, mem = { size = MiB(%u) },
  on_reset = "stop", debug_exit = true, autostart = true,
}"""
DEAR = {
    "vmread": "vmread", "vmwrite": "vmwrite", "rdmsr": "rdmsr", "wrmsr": "wrmsr", "invept": "invept",
    "invvpid": "invvpid", "xsetbv": "xsetbv", "vmptrld": "vmptrld", "vmclear": "vmclear",
}
LINE = re.compile(r"^\(0\)\.\[\d+\] \[0x[0-9a-f]+\] [0-9a-f]+:([0-9a-f]+) \(.*?\): (.*?)\s*;", re.MULTILINE)
IMAGE_BASE = 0xFFFFFFFF80000000


class Symbols:
    """Functions of the image by address."""

    def __init__(self):
        listing = subprocess.check_output(["nm", "-n", lab.build("corbel.debug.elf")], text=True)
        rows = [line.split() for line in listing.splitlines()]
        self.rows = [(int(a, 16), name) for a, kind, name in rows if kind in "tT"]
        self.starts = [a for a, _ in self.rows]
        self.rows_of = collections.Counter(name for _, name in self.rows)
        self.addresses = {name: a for a, name in self.rows}

    def address(self, name):
        """Where the one function of that name starts."""
        if self.rows_of[name] != 1:
            raise SystemExit("trace.py: the image has %d functions %s" % (self.rows_of[name], name))
        return self.addresses[name]

    def function(self, address):
        index = bisect.bisect_right(self.starts, address) - 1
        return self.rows[index][1] if address >= IMAGE_BASE and index >= 0 else "(guest)"


def store(mib=64):
    """What guest_exits.c needs to run in a VM of that size."""
    guest = GUEST % mib
    return {"scripts/boot.lua": guest, "boot.lua": guest,
            "guest_exits": pathlib.Path(lab.build("guests/guest_exits.elf"))}


def dear(text):
    """The kind of a dear instruction, or None."""
    word = text.split()[0]
    if word in DEAR:
        return DEAR[word]
    if word == "lock" or word == "xchg" and "[" in text:
        return "locked"
    if word.startswith(("xsave", "xrstor", "fxsave", "fxrstor")):
        return "xsave"
    if re.match(r"mov [cd]r\d", text):
        return "cr/dr"
    return None


def trace(handler, skip=60, model=lab.bochs.ICELAKE, args="mitigations=off", mib=64):
    """[(function, instruction)] of one loop over @handler."""
    symbols = Symbols()
    commands = ["lb 0x%x" % symbols.address(handler)] + ["c"] * skip + ["trace on", "c", "trace off", "q"]
    with tempfile.TemporaryDirectory(prefix="corbel-") as directory:
        disk = lab.make_disk(directory, store(mib), args)
        with lab.bochs.Bochs(disk, model=model, megs=256, commands=commands) as machine:
            machine.wait(120)
            seen = LINE.findall(machine.e9.text())
    return [(symbols.function(int(address, 16)), text) for address, text in seen]


def dear_counts(steps):
    return collections.Counter(kind for function, text in steps if function != "(guest)"
                               for kind in [dear(text)] if kind)


def main():
    parser = argparse.ArgumentParser(description="One exit, instruction by instruction.")
    parser.add_argument("handler")
    parser.add_argument("--skip", type=int, default=60)
    parser.add_argument("--all", action="store_true", help="print each instruction")
    parser.add_argument("--args", default="mitigations=off")
    parser.add_argument("--model", default=lab.bochs.ICELAKE)
    parser.add_argument("--mib", type=int, default=64, help="memory of the guest")
    options = parser.parse_args()
    steps = trace(options.handler, options.skip, options.model, options.args, options.mib)
    if not steps:
        raise SystemExit("trace.py: %s was not reached %d times" % (options.handler, options.skip + 1))
    if options.all:
        print("\n".join("%-28s %s" % step for step in steps))
    for function, count in collections.Counter(function for function, _ in steps).items():
        print("%6d %s" % (count, function))
    print("%6d in all; %s" % (len(steps), ", ".join("%d %s" % (n, k) for k, n in dear_counts(steps).items())))


if __name__ == "__main__":
    main()

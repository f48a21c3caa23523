# SPDX-License-Identifier: Apache-2.0
"""A page taken from a guest that runs on all CPUs: what it costs whoever takes it, and each CPU that may hold the
translation, as the emulator traced both. The taker is a task (boot argument selftest=flush) on the boot CPU, which the
guest leaves alone; each other CPU has one of its vcpus, that runs.
"""
import pathlib
import re
import tempfile

import lab
import trace

GUEST = """vm "g" {
  boot = multiboot { image = "flush", cmdline = "rest" }, mem = { size = MiB(4) }, cpu = { count = %d, affinity = "%s" }, autostart = true,
}"""
LINE = re.compile(r"^\((\d)\)\.\[\d+\] \[0x[0-9a-f]+\] [0-9a-f]+:([0-9a-f]+) \(.*?\): (.*?)\s*;", re.MULTILINE)
TAKE, FREE, TAKER, FLUSHES = "gpmap_remove", "memmgr_drain_leaving", "flush_rounds", "invept"
SETTLED, ROUNDS = 20, 3
# No promise is made of these; they shall not grow unseen.
TAKE_MAX, LOOK_MAX, FLUSH_MAX = 660, 300, 800


def rounds(cpus):
    """[(cpu, function, instruction)] of some takings, from the start of the first."""
    symbols = trace.Symbols()
    everywhere = [line for cpu in range(cpus) for line in ("set $cpu = %d" % cpu, "trace on")]
    commands = ["lb 0x%x" % symbols.address(TAKE)] + ["c"] * SETTLED + everywhere + ["c"] * ROUNDS + ["q"]
    with tempfile.TemporaryDirectory(prefix="corbel-") as directory:
        guest = GUEST % (cpus - 1, "1-%d" % (cpus - 1) if cpus > 2 else "1")
        store = {"scripts/boot.lua": guest, "boot.lua": guest, "flush": pathlib.Path(lab.build("guests/flush.elf"))}
        disk = lab.make_disk(directory, store, "mitigations=off selftest=flush")
        with lab.bochs.Bochs(disk, megs=128, cpus=cpus, commands=commands) as machine:
            machine.wait(300)
            return [(int(cpu), symbols.function(int(address, 16)), text)
                    for cpu, address, text in LINE.findall(machine.e9.text())]


def until(steps, name):
    """How many come before the first in @name."""
    return next((at for at, (function, _) in enumerate(steps) if function == name), len(steps))


def stretches(steps):
    """The host's parts between two of the guest's, of one CPU."""
    parts, part, inside = [], [], False
    for function, text in steps:
        if function == "(guest)":
            if part and inside:
                parts.append(part)
            part, inside = [], True
        else:
            part.append((function, text))
    return parts


def measure(cpus):
    """((instructions of taking, of one look whether it is free, looks), [(instructions, exits) of each other CPU])."""
    steps = rounds(cpus)
    taker = [(function, text) for cpu, function, text in steps if cpu == 0]
    taking = until(taker, TAKER)
    looks, at = [], taking
    while at < len(taker):
        begin = at + until(taker[at:], FREE)
        if begin == len(taker):
            break
        at = begin + until(taker[begin:], TAKER)
        looks.append(at - begin)
    others = []
    for cpu in range(1, cpus):
        parts = [part for part in stretches([(function, text) for who, function, text in steps if who == cpu])
                 if any(text.startswith(FLUSHES) for _, text in part)]
        # The shortest: a switch that fell into the same exit is not the flush's.
        others.append((min(map(len, parts)) if parts else 0, len(parts)))
    return (taking, min(looks), len(looks)), others


def run():
    table = lab.Table("A page taken from a running guest, instructions", "each other CPU: instructions (exits)")
    for cpus in (2, 4):
        (taking, look, looks), others = measure(cpus)
        each = ", ".join("%d (%d)" % other for other in others)
        table.row("%d CPUs: to take it" % cpus, taking, TAKE_MAX)
        table.row("%d CPUs: to look whether it is free" % cpus, look, LOOK_MAX, note="%d times" % looks)
        table.row("%d CPUs: to flush, the worst other" % cpus, max(count for count, _ in others), FLUSH_MAX, note=each)
        if not all(exits for _, exits in others):
            table.missed.append("%d CPUs: not all of the others flushed: %s" % (cpus, each))
    return table.missed

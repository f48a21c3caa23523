# SPDX-License-Identifier: Apache-2.0
"""Frames from guest to guest: exits and host instructions (docs/network.md).

Both guests are tests/guests/net.c on one processor. Exits are counted by the machine over many frames. Instructions are the
host's alone, from the emulator's trace of a few rounds of the sender's worker, with bulk copies apart.
"""
import pathlib
import tempfile

import lab
import nets
import trace
import vms

SEGMENT_MOST, SEGMENT_EXITS, SMALL_MOST, SMALL_EXITS = 4000, 2, 1500, 0.2
CARRY, FRAME = "vnet_carry", "net_cut_copy"
# words of the source, bars
CASES = {
    "segments of 64 KiB": ("payload=%d batch=8" % nets.TSO, SEGMENT_MOST, SEGMENT_EXITS),
    "small frames, 32 at a time": ("payload=22 batch=32", SMALL_MOST, SMALL_EXITS),
}
SETTLED, ROUNDS = 400, 40
FRAMES_LEAST = 400
COPY = "loop"           # of the C library's memcpy: bulk copies, which are counted in bytes (tests/system/test_net.py)
STORE = {"guests/net": pathlib.Path(lab.build("guests/net.elf"))}


def script(words, more=""):
    return nets.NETWORK + nets.guest("sink", 2, "sink report=1000000", more=more) + nets.guest("source", 1, "source to=2 " + words, more=more)


def exits(words):
    """(exits of both for each frame that came, {kind: of them})."""
    with tempfile.TemporaryDirectory(prefix="corbel-") as directory:
        disk = lab.make_disk(directory, {**STORE, "scripts/boot.lua": script(words)}, "board=bochs mitigations=off")
        with lab.bochs.Bochs(disk, megs=128) as machine:
            machine.log.wait_for(r"\] ready", 240)
            operator = vms.Operator(lab.smp.Client(machine.management).connect())
            operator.start("sink")
            operator.wait_output("sink", rb"net: ")
            operator.start("source")
            nets.wait_counter(operator, "sink", "rx.frames", FRAMES_LEAST)
            before = look(operator)
            nets.wait_counter(operator, "sink", "rx.frames", before[0] + FRAMES_LEAST)
            after = look(operator)
    frames = after[0] - before[0]
    kinds = {kind: (after[1][kind] - before[1].get(kind, 0)) / frames for kind in after[1]}
    return sum(kinds.values()), {kind: count for kind, count in kinds.items() if count > 0.001}


def look(operator):
    """Both guests stand still meanwhile: (frames that came, {kind: exits of both})."""
    for name in ("source", "sink"):
        operator.pause(name)
    kinds = {}
    for name in ("source", "sink"):
        for kind, count in operator.info(name)["exits_by_kind"].items():
            kinds[kind] = kinds.get(kind, 0) + count
    found = nets.of(operator, "sink", "rx.frames"), kinds
    for name in ("sink", "source"):
        operator.resume(name)
    return found


def instructions(words):
    """(host instructions for each frame but for copies, those, frames, {function: instructions for each frame})."""
    symbols = trace.Symbols()
    commands = (["lb 0x%x" % symbols.address(CARRY)] + ["c"] * SETTLED + ["trace on"] + ["c"] * ROUNDS + ["trace off", "q"])
    with tempfile.TemporaryDirectory(prefix="corbel-") as directory:
        text = script(words, "autostart = true")
        disk = lab.make_disk(directory, {**STORE, "boot.lua": text, "scripts/boot.lua": text}, "board=bochs mitigations=off")
        with lab.bochs.Bochs(disk, megs=128, commands=commands) as machine:
            machine.wait(600)
            steps = [(symbols.function(int(address, 16)), int(address, 16), text) for address, text in trace.LINE.findall(machine.e9.text())]
    frames = sum(at == symbols.address(FRAME) for _, at, _ in steps)
    by_function = {}
    for function, _, text in steps:
        if function != "(guest)":
            by_function[function] = by_function.get(function, 0) + 1 / frames
    copies = by_function.pop(COPY, 0)
    return sum(by_function.values()), copies, frames, by_function


def run():
    table = lab.Table("A frame from guest to guest, on one processor (Icelake, mitigations=off)", "a frame; both guests, the switch, who runs next")
    for title, (words, most, exits_most) in CASES.items():
        count, kinds = exits(words)
        table.row("exits, " + title, round(count, 3), exits_most, None, ", ".join("%s %.3f" % item for item in sorted(kinds.items())))
        host, copies, frames, functions = instructions(words)
        table.row("instructions, " + title, round(host), most, None, "besides %.0f of bulk copies; %d frames" % (copies, frames))
        dearest = sorted(functions.items(), key=lambda item: -item[1])[:8]
        print("  most in " + ", ".join("%s %.0f" % item for item in dearest))
    return table.missed

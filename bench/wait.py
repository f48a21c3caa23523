# SPDX-License-Identifier: Apache-2.0
"""How long a vcpu that can run waits for the control task, and how long interrupts are masked meanwhile.

The guest `beat` reads how late each beat of its timer comes, every 2 ms: with one guest that is the control task's
part alone. Each load is run beside a guest that halts between beats and beside one that always runs; the worse counts.
"""
import pathlib
import tempfile

import lab
import loads
import vms

GUESTS = ("", "busy")


def hostile(operator):
    for name in loads.HOSTILE:
        text, status = loads.misbehave(operator.client, name)
        assert status == 1, text


def stuck(operator):
    for name in loads.STUCK:
        loads.overshoot(operator, name)


def life(operator):
    for verb in loads.LIFE:
        loads.live(operator, verb)


# What runs beside the beat: the last one closes the machine to whoever is not logged in.
LOADS = {
    "at rest": lambda operator: None,
    "hostile scripts, %d kinds" % len(loads.HOSTILE): hostile,
    "hooks stuck in %d library functions" % len(loads.STUCK): stuck,
    "another VM's life": life,
    "sha256 of 128 KiB, eight times": lambda operator: loads.hash_a_file(operator.client),
    "logins by signature": lambda operator: loads.log_in(operator.client),
}


def measure(word):
    """({load: instructions that the worst beat was late by}, instructions of the longest masked section,
    ns that a script went on beyond its budget)."""
    late, masked = {}, 0
    guests = {"guests/" + name: pathlib.Path(lab.build("guests/%s.elf" % name)) for name in ("beat", "echo")}
    with tempfile.TemporaryDirectory(prefix="corbel-") as directory:
        disk = lab.make_disk(directory, {"scripts/boot.lua": loads.beating(word), **guests}, "")
        with lab.bochs.Bochs(disk, megs=96, keep=True) as machine:
            machine.log.wait_for(r"\] ready", 120)
            operator = vms.Operator(lab.smp.Client(machine.management).connect())
            operator.wait_output("beat", rb"beat: \d{3,} worst")
            operator.host()  # what was masked during start-up is no guest's wait
            for name, load in LOADS.items():
                start = operator.begin_beats()
                load(operator)
                late[name] = operator.worst_beat(start)
                masked = max(masked, operator.host()["masked"]["ticks"])
                if load is stuck:
                    over = loads.counter(operator, "lua.overshoot")
    return late, masked, over


def run():
    late, masked, over = zip(*(measure(word) for word in GUESTS))
    table = lab.Table("A vcpu's wait for the control task, instructions", "beside a guest that halts, that always runs")
    for name in LOADS:
        each = [figures[name] for figures in late]
        table.row(name, max(each), vms.LATE_MAX, note="%d, %d" % tuple(each))
    table.row("the longest masked section", max(masked), loads.MASKED_MAX, note="%d, %d" % masked)
    table.row("a script's time beyond its budget, ns", max(over), loads.OVERSHOOT_MAX, note="%d, %d" % over)
    return table.missed

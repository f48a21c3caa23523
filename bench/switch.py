# SPDX-License-Identifier: Apache-2.0
"""The switch from one vcpu to another: all that the host executes from the last instruction of the one guest to the
first of the next, as the emulator traced it, and the instructions among them that are dear on silicon.

It has three parts: what any exit and entry costs (exit, dispatch, the loop that looks for requests and deadlines), the
scheduler's, and the switch itself: putting the one vcpu's state, loading the other's, and an entry that launches.
"""
import collections
import pathlib
import tempfile

import lab
import trace

GUEST = 'vm "%s" { boot = multiboot { image = "spin", cmdline = "%s" }, mem = { size = MiB(4) }, autostart = true }\n'
ANCHOR = "sched_charge"     # passed once for each turn
SETTLED = 400               # turns until the control plane has come to rest
AFTER = 3000                # instructions traced beyond the turn's end
SWITCH_MAX = 500
STEAL_MAX = 550            # of guests that are told their stolen time
PUT, LOAD, LAUNCH = "put", "load", "vmx_enter_long"


def one_switch(model, args, word=""):
    """[(function, instruction)] between the two guests."""
    symbols = trace.Symbols()
    commands = (["lb 0x%x" % symbols.address(ANCHOR)] + ["c"] * SETTLED +
                ["trace on", "c", "s %d" % AFTER, "trace off", "q"])
    with tempfile.TemporaryDirectory(prefix="corbel-") as directory:
        guests = "".join(GUEST % (name, word) for name in ("one", "two"))
        store = {"scripts/boot.lua": guests, "boot.lua": guests, "spin": pathlib.Path(lab.build("guests/spin.elf"))}
        disk = lab.make_disk(directory, store, args)
        with lab.bochs.Bochs(disk, model=model, megs=128, commands=commands) as machine:
            machine.wait(300)
            steps = [(symbols.function(int(address, 16)), text)
                     for address, text in trace.LINE.findall(machine.e9.text())]
    return between_guests(steps)


def between_guests(steps):
    """The host's part around the second pass of the anchor."""
    at = max(index for index, (function, _) in enumerate(steps) if function == ANCHOR)
    start, end = at, at
    while steps[start - 1][0] != "(guest)":
        start -= 1
    while steps[end][0] != "(guest)":
        end += 1
    return steps[start:end]


def first(steps, name, start=0):
    return next(index for index in range(start, len(steps)) if steps[index][0] == name)


def parts(steps):
    """(the scheduler's, the switch itself) in instructions."""
    charge = first(steps, ANCHOR)
    put = first(steps, PUT, charge)
    release = first(steps, "sched_release", put)
    load = first(steps, LOAD, release)
    loaded = first(steps, "prepare", load)
    launch = first(steps, LAUNCH, loaded)
    scheduler = (first(steps, "trap_report_nmi", charge) - charge + put - first(steps, "sched_pick", charge) +
                 first(steps, "watchdog_work", release) - release)
    return scheduler, (release - put) + (loaded - load) + (len(steps) - launch)


def run():
    """Prints the rows; what misses its bar, as sentences."""
    missed = []
    print("\nFrom one vcpu to another, host instructions")
    for name, model, args, word in (("icelake", lab.bochs.ICELAKE, "mitigations=off", ""),
                                    ("icelake, steal time", lab.bochs.ICELAKE, "mitigations=off", "steal"),
                                    ("icelake, mitigations", lab.bochs.ICELAKE, "", ""),
                                    ("haswell", lab.bochs.HASWELL, "mitigations=off", "")):
        steps = one_switch(model, args, word)
        counts = collections.Counter(function for function, _ in steps)
        dear = ", ".join("%d %s" % (n, kind) for kind, n in sorted(trace.dear_counts(steps).items()))
        scheduler, switch = parts(steps)
        most = STEAL_MAX if word else SWITCH_MAX
        print("  %-22s %5d in all, %d the scheduler's, %d the switch (at most %d); %s" % (
            name, len(steps), scheduler, switch, most, dear))
        print("  %-22s       most in %s" % ("", ", ".join("%s %d" % row for row in counts.most_common(6))))
        if switch > most and "mitigations=off" in args:
            missed.append("a vcpu switch, %s: %d instructions, at most %d" % (name, switch, most))
    return missed

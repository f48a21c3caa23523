# SPDX-License-Identifier: Apache-2.0
"""CPU time that a guest takes for a round of a ticket lock, on two CPUs, with what helps it on and off.

tests/system/locks.py measures; the tests use it too.
"""
import pathlib
import tempfile

import lab
import locks
import vms

# name: (vcpus, burners, what is off)
CASES = {
    "2 vcpus alone": (2, 0, ()),
    "2 vcpus beside a burner": (2, 1, ()),
    "the same, no pause-loop handling": (2, 1, ("pause_loops",)),
    "the same, no co-scheduling": (2, 1, ("coschedule",)),
    "the same, neither": (2, 1, locks.HELP),
    "4 vcpus alone": (4, 0, ()),
    "4 vcpus alone, neither": (4, 0, locks.HELP),
    "4 vcpus beside a burner": (4, 1, ()),
}
ALONE, BESIDE, NEITHER = "2 vcpus alone", "2 vcpus beside a burner", "the same, neither"


def measure():
    """{name: locks.Cost}"""
    guests = {"guests/" + name: pathlib.Path(lab.build("guests/%s.elf" % name)) for name in locks.GUESTS}
    with tempfile.TemporaryDirectory(prefix="corbel-") as directory:
        disk = lab.make_disk(directory, {"scripts/boot.lua": "-- no machines\n", **guests}, "board=bochs")
        with lab.bochs.Bochs(disk, megs=128, cpus=2, ips=locks.IPS) as machine:
            machine.log.wait_for(r"\] ready", 120)
            operator = vms.Operator(lab.smp.Client(machine.management).connect())
            return {name: locks.cost(machine, operator, vcpus, burners, off) for name, (vcpus, burners, off) in CASES.items()}


def run():
    costs = measure()
    most = {BESIDE: round(min(locks.ALONE_MOST * costs[ALONE].ticks, locks.OFF_MOST * costs[NEITHER].ticks))}
    table = lab.Table("CPU time of a round of a ticket lock, on two CPUs", "of the time alone; CPUs it had, pause exits, turns")
    for name, cost in costs.items():
        table.row(name, round(cost.ticks), most.get(name), note="%.2f; %.2f, %d, %d" % (
            cost.ticks / costs[ALONE].ticks, cost.share, cost.exits, cost.turns))
    return table.missed

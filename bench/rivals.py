#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""rivals.py PROGRAM: the scheduler beside a CFS and a lottery, on one CPU, by one method.

Instructions of a turn by callgrind, then how fair and how late each is, simulated. PROGRAM is bench/host_sched.c.
Writes the figures to sched.dat and two plots next to PROGRAM. Exits 1 when a promise is missed.
"""
import os
import subprocess
import sys

import host
import plot

TURN_MOST = 400          # at 1,000 entities
GROWTH_MOST = 2.5        # from 10 to 1,000
ERROR_MOST = 2.2         # two slices and a tick
RIVALS = {"ours": "Corbel", "cfs": "cfs", "lottery": "lottery"}
COLUMNS = "scheduler entities error_slices wake_p50_slices wake_p99_slices wake_worst_slices"


def instructions(program):
    missed = []
    print(f"\n{'a turn: charge and pick':24} {'among 10':>12} {'among 1,000':>12} {'growth':>9}")
    for rival, name in RIVALS.items():
        few, many = (host.measure(program, f"turn_{rival}_{count}")[0] for count in (10, 1000))
        print("%-24s %12.0f %12.0f %9.2f" % (name, few, many, many / few), flush=True)
        if rival != "ours":
            continue
        if many > TURN_MOST:
            missed.append("a turn among 1,000 entities: %.0f instructions, at most %d" % (many, TURN_MOST))
        if many > GROWTH_MOST * few:
            missed.append("a turn among 1,000 entities: %.2f times one among 10, at most %.1f" % (many / few, GROWTH_MOST))
    return missed


def write(directory, rows):
    with open(os.path.join(directory, "sched.dat"), "w", encoding="ascii") as out:
        out.write("# " + COLUMNS + "\n" + "".join(" ".join(row) + "\n" for row in rows))
    for column, name, title in ((2, "error", "greatest error of anybody over 100 rounds"),
                                (5, "latency", "latest of 2,000 wakes")):
        series = {}
        for row in rows:
            series.setdefault(row[0], []).append((int(row[1]), float(row[column])))
        with open(os.path.join(directory, f"sched_{name}.svg"), "w", encoding="ascii") as out:
            out.write(plot.lines(title, "entities on one CPU", "slices", series))


def fairness(program):
    text = subprocess.run([program, "fair"], check=True, text=True, stdout=subprocess.PIPE).stdout
    rows = [line.split() for line in text.splitlines()]
    print(f"\n{'in slices':24} {'entities':>9} {'error':>9} {'wake p50':>9} {'p99':>9} {'worst':>9}")
    for row in rows:
        print("%-24s %9s %9s %9s %9s %9s" % tuple(row), flush=True)
    write(os.path.dirname(program), rows)
    return ["error of %s among %s entities: %s slices, at most %.1f" % (row[0], row[1], row[2], ERROR_MOST)
            for row in rows if row[0] == "Corbel" and float(row[2]) > ERROR_MOST]


def run(program):
    """Measures and shows; returns a sentence for each promise that is missed."""
    return instructions(program) + fairness(program)


if __name__ == "__main__":
    SENTENCES = run(sys.argv[1])
    print("\n".join(SENTENCES))
    sys.exit(1 if SENTENCES else 0)

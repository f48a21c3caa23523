#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""rivals.py PROGRAM [FLUID]: the scheduler beside a CFS and a lottery, on one CPU, by one method; and beside a fluid.

Instructions of a turn by callgrind, then how fair and how late each is, simulated. PROGRAM is bench/host_sched.c,
FLUID bench/sched_fluid.c. Writes the figures as sched*.dat and plots of them as sched*.svg next to PROGRAM; those
that docs/scheduler.md shows are copies. Exits 1 when a promise is missed.
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
COUNTS = (10, 30, 100, 300, 1000)
COLUMNS = "scheduler entities error_slices wake_p50_slices wake_p99_slices wake_worst_slices"
WAKE_LABELS = ["1/64", "1/32", "1/16", "1/8", "1/4", "1/2", "1", "2", "4", "8", "16", "more"]
DRIFT_EVERY = 4          # of the rows that are drawn
FLUID_EVERY = 2


def rows_of(program, *words):
    done = subprocess.run([program, *words], check=True, text=True, stdout=subprocess.PIPE)
    return [line.split() for line in done.stdout.splitlines()]


def write(program, name, drawing, columns=None, rows=()):
    """sched_NAME.svg, and with @columns sched_NAME.dat of @rows."""
    path = os.path.join(os.path.dirname(program), "sched_" + name)
    with open(path + ".svg", "w", encoding="ascii") as out:
        out.write(drawing)
    if columns:
        with open(path + ".dat", "w", encoding="ascii") as out:
            out.write("# " + columns + "\n" + "".join(" ".join(map(str, row)) + "\n" for row in rows))


def by_name(rows, x, y):
    """{first column: [(column @x, column @y)]} as numbers."""
    series = {}
    for row in rows:
        series.setdefault(row[0], []).append((float(row[x]), float(row[y])))
    return series


def instructions(program):
    """The cost of a turn, for each count of entities."""
    missed, rows = [], []
    print("\n%-24s%s %9s" % ("a turn: charge and pick", "".join("%9s" % f"{n:,}" for n in COUNTS), "growth"))
    for rival, name in RIVALS.items():
        costs = [host.measure(program, f"turn_{rival}_{count}")[0] for count in COUNTS]
        rows += [(name, count, cost) for count, cost in zip(COUNTS, costs)]
        print("%-24s%s %9.2f" % (name, "".join("%9d" % cost for cost in costs), costs[-1] / costs[0]), flush=True)
        if rival != "ours":
            continue
        if costs[-1] > TURN_MOST:
            missed.append("a turn among 1,000 entities: %.0f instructions, at most %d" % (costs[-1], TURN_MOST))
        if costs[-1] > GROWTH_MOST * costs[0]:
            missed.append("a turn among 1,000 entities: %.2f times one among 10, at most %.1f"
                          % (costs[-1] / costs[0], GROWTH_MOST))
    write(program, "cost", plot.lines("instructions of a charge and a pick", "entities on one CPU", "instructions",
                                      by_name(rows, 1, 2), y_axis=plot.Linear, bar=("at most", TURN_MOST)),
          "scheduler entities instructions", rows)
    return missed


def fairness(program):
    """The greatest error and the latest wake, for each count of entities."""
    rows = rows_of(program, "fair")
    print(f"\n{'in slices':24} {'entities':>9} {'error':>9} {'wake p50':>9} {'p99':>9} {'worst':>9}")
    for row in rows:
        print("%-24s %9s %9s %9s %9s %9s" % tuple(row), flush=True)
    write(program, "error", plot.lines("greatest error of anybody over 100 rounds", "entities on one CPU", "slices",
                                       by_name(rows, 1, 2), bar=("at most", ERROR_MOST)), COLUMNS, rows)
    write(program, "latency", plot.lines("latest of 2,000 wakes", "entities on one CPU", "slices", by_name(rows, 1, 5)))
    return ["error of %s among %s entities: %s slices, at most %.1f" % (row[0], row[1], row[2], ERROR_MOST)
            for row in rows if row[0] == "Corbel" and float(row[2]) > ERROR_MOST]


def histogram(program):
    """When the wakes of one of thirty run."""
    rows = rows_of(program, "wakes")
    series = {row[0]: [100 * float(part) for part in row[1:]] for row in rows}
    write(program, "wakes", plot.bars("2,000 wakes beside 29 that always run", "slices until it runs, at most", "% of the wakes",
                                      WAKE_LABELS, series), "scheduler " + " ".join(WAKE_LABELS), rows)
    return []


def drift(program):
    """The error as time goes by, beside the rivals."""
    rows = rows_of(program, "drift")
    write(program, "drift", plot.lines("greatest error of any of ten on one CPU", "slices gone by", "slices",
                                       by_name(rows[::DRIFT_EVERY], 1, 2), x_axis=plot.Linear, y_axis=plot.Linear,
                                       bar=("at most", ERROR_MOST)), "scheduler time_slices error_slices", rows)
    return []


def fluid(program):
    """The error as time goes by, of machines with many CPUs."""
    rows = rows_of(program)
    series = {"%s CPUs, %s" % tuple(name.split(",")): line for name, line in by_name(rows, 1, 2).items()}
    write(program, "fluid", plot.lines("greatest deviation of anybody from the fluid optimum", "slices gone by", "slices",
                                       {name: line[1::FLUID_EVERY] for name, line in series.items()}, x_axis=plot.Linear,
                                       y_axis=plot.Linear, bar=("at most", ERROR_MOST)),
          "machine time_slices error_slices", rows)
    worst = {name: max(error for _, error in line) for name, line in series.items()}
    print("\nfrom the fluid optimum at any time, in slices: " + "; ".join("%s %.2f" % row for row in worst.items()), flush=True)
    return ["%s entities: %.2f slices from the optimum, at most %.1f" % (name, error, ERROR_MOST)
            for name, error in worst.items() if error > ERROR_MOST]


def run(program, fluid_program=None):
    """Measures and shows; returns a sentence for each promise that is missed."""
    missed = [sentence for part in (instructions, fairness, histogram, drift) for sentence in part(program)]
    return missed + (fluid(fluid_program) if fluid_program else [])


if __name__ == "__main__":
    SENTENCES = run(*sys.argv[1:])
    print("\n".join(SENTENCES))
    sys.exit(1 if SENTENCES else 0)

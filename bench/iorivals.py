#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""iorivals.py PROGRAM: decisions of the I/O scheduler beside a linear scan and token buckets, by one method.

Instructions by callgrind; then who gets what of a disk that does 2,000 requests a second, 500, and 2,000
again, simulated. PROGRAM is bench/host_io.c. Writes io_*.svg next to it; those that docs/io-scheduling.md shows are
copies. Exits 1 when a promise is missed.
"""
import os
import subprocess
import sys

import host
import plot

GROWTH_MOST = 2.5        # from 10 clients to 1,000
SCAN_PART_MOST = 0.1     # of what the scan takes, at 1,000
ALONE_MOST = 200         # instructions that a request pays which stands behind nobody
RIVALS = {"io_ours": "Corbel", "io_scan": "linear scan", "io_bucket": "token bucket"}
COUNTS = (10, 30, 100, 300, 1000)
CLIENTS = ("1,000 shares", "2,000 shares", "1,000, r = 250", "4,000, l = 200", "1,000, from 2 s")


def write(program, name, drawing):
    with open(os.path.join(os.path.dirname(program), name + ".svg"), "w", encoding="ascii") as out:
        out.write(drawing)


def decisions(program):
    """The cost of a decision, for each count of clients."""
    series = {}
    print("\n%-24s%s %9s" % ("an I/O decision", "".join("%9s" % f"{n:,}" for n in COUNTS), "growth"))
    for rival, name in RIVALS.items():
        costs = [host.measure(program, f"decision_{rival}_{count}")[0] for count in COUNTS]
        series[name] = list(zip(COUNTS, costs))
        print("%-24s%s %9.2f" % (name, "".join("%9d" % cost for cost in costs), costs[-1] / costs[0]), flush=True)
    write(program, "io_cost", plot.lines("instructions of an I/O decision", "clients", "instructions", series))
    ours, scan = dict(series["Corbel"]), dict(series["linear scan"])
    missed = []
    if ours[1000] > GROWTH_MOST * ours[10]:
        missed.append("an I/O decision among 1,000 clients: %.2f times one among 10, at most %.1f"
                      % (ours[1000] / ours[10], GROWTH_MOST))
    if ours[1000] > SCAN_PART_MOST * scan[1000]:
        missed.append("an I/O decision among 1,000 clients: %.3f of a linear scan's, at most %.1f"
                      % (ours[1000] / scan[1000], SCAN_PART_MOST))
    return missed


def alone(program):
    """What a request pays that stands behind nobody."""
    direct, scheduled = (host.measure(program, "io_alone_" + way)[0] for way in ("direct", "scheduled"))
    over = host.show("io_alone", scheduled - direct, ALONE_MOST)
    return ["a request behind nobody: %.0f instructions, at most %d" % (scheduled - direct, ALONE_MOST)] if over else []


def phases(program):
    """Who gets what."""
    lines = subprocess.run([program, "phases"], check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines()
    rows = [line.split(",") for line in lines]
    for rival, name in RIVALS.items():
        series = {client: [(float(row[1]), float(row[2 + i])) for row in rows if row[0] == name]
                  for i, client in enumerate(CLIENTS)}
        write(program, "io_phases_" + rival[3:], plot.lines(
            f"{name}: a disk that does 2,000, 500 and 2,000 a second", "seconds", "requests a second", series,
            x_axis=plot.Linear, y_axis=plot.Linear))
    return []


def run(program):
    """Measures and shows; returns a sentence for each promise that is missed."""
    return [sentence for part in (decisions, alone, phases) for sentence in part(program)]


if __name__ == "__main__":
    SENTENCES = run(*sys.argv[1:])
    print("\n".join(SENTENCES))
    sys.exit(1 if SENTENCES else 0)

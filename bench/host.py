#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""host.py PROGRAM: instructions per operation of the managers, counted by callgrind.

PROGRAM is bench/host_managers.c. Prints a table with the bar of each case and exits 1 when one
is missed. The bars are shares of what docs/memory.md and docs/cpu.md promise for a whole VM
exit: the engine's part (exit, decode, EPT, entry) is measured in the emulator.
"""
import re
import subprocess
import sys
import tempfile

BARS = {
    "touch_4k_pool": 200,
    "touch_4k_inline": 820,
    "touch_4k_new_chunk": 350,
    "touch_2m": 250,
    "touch_4k_pool_ept": 300,
    "touch_4k_inline_ept": 900,
    "touch_4k_new_table_ept": 3200,
    "touch_2m_ept": 560,
    "look_up_4k": 50,
    "remove_4k": 200,
    "remove_split_2m": 11000,
    "drain_64": 14000,
    "alloc_and_free": 350,
    "sched_turn": 150,
    "sched_wake": 60,
}


def measure(program, case):
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={scratch}/out", "--collect-atstart=no",
             f"--toggle-collect=case_{case}", program, case],
            check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    rounds = int(re.search(r"rounds (\d+)", done.stdout)[1])
    total = int(re.search(r"Collected : (\d+)", done.stderr)[1])
    return total / rounds


def main():
    program = sys.argv[1]
    cases = subprocess.run([program], check=True, text=True, stdout=subprocess.PIPE).stdout.split()
    missed = 0
    print(f"{'operation':24} {'instructions':>12} {'bar':>7}")
    for case in cases:
        cost = measure(program, case)
        over = cost > BARS[case]
        missed += over
        print(f"{case:24} {cost:12.0f} {BARS[case]:7}{'  MISSED' if over else ''}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

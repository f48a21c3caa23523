#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""make bench: measures inside the emulator and by callgrind, compares with the promises, names each miss.

    run.py [exits] [wait] [switch] [ipis] [flush] [pools] [sizes] [handoff] [linux] [gang] [host] [sched] [io] [storage] [net]      all of them by default
"""
import sys

import exits
import flush
import gang
import handoff
import host
import iorivals
import ipis
import lab
import linux
import net
import pools
import rivals
import sizes
import storage
import switch
import wait

HOST_PROGRAMS = [lab.build("bench/host_" + name) for name in ("managers", "virtio", "net", "vnet", "layers", "nic", "control", "libcbor")]
PARTS = {"exits": exits.run, "wait": wait.run, "switch": switch.run, "ipis": ipis.run, "flush": flush.run,
         "pools": pools.run, "sizes": sizes.run,
         "handoff": handoff.run, "linux": linux.run, "gang": gang.run,
         "host": lambda: host.run(HOST_PROGRAMS), "sched": lambda: rivals.run(lab.build("bench/host_sched"), lab.build("bench/sched_fluid")),
         "storage": storage.run, "net": net.run,
         "io": lambda: iorivals.run(lab.build("bench/host_io"))}


def main():
    chosen = sys.argv[1:] or list(PARTS)
    for name in chosen:
        if name not in PARTS:
            raise SystemExit("run.py: there is no part %s; there are: %s" % (name, " ".join(PARTS)))
    missed = [text for name in chosen for text in PARTS[name]()]
    print("\n%s" % ("Every promise is held." if not missed else "Missed:"))
    for text in missed:
        print("  " + text)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

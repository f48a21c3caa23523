# SPDX-License-Identifier: Apache-2.0
"""Requests of a guest to its disk: exits, instructions, interrupts (docs/bench.md, docs/io-scheduling.md).

The guest is tests/guests/diskload.c with a driver of its own. Instructions are of guest and host together; the guest's own are
measured by the same code with a disk that answers from memory, and what is copied by reading 512 bytes in place of 4096.
Writes vic_*.svg into the build directory; those that docs/io-scheduling.md shows are copies.
"""
import os
import pathlib
import tempfile

import disks
import lab
import plot
import vms

INSTRUCTIONS_MOST = 2500
CASES = {1: "depth=1", 32: "depth=32 batch=16"}
# KVM's without tables, by QEMU 7.2 with a file in memory (docs/bench.md): exits, and instructions but for the guest's own, copies included.
KVM_EXITS = {1: 3.00, 32: 2.03}
KVM_INSTRUCTIONS = {1: 48330, 32: 31930}
LARGE_BYTES, SMALL_BYTES = 4096, 512
IN_FLIGHT = (1, 5, 9, 13, 20, 32)
TABLE = (1, 5, 9, 13, 32)
SERVICE_US = (100, 200, 400, 600, 1000, 2000)
POLICIES = ("off", "vic", "cif")


def ram(machine, operator, table):
    """A volume of memory: the bars of exits and of instructions, with a table for each request as from Debian's driver, and without."""
    for tables, kvm in (("", False), (" direct", True)):
        for depth, options in CASES.items():
            ram_case(machine, operator, table, depth, options + tables, kvm)


def ram_case(machine, operator, table, depth, options, kvm):
    disk = 'volume = "ram"'
    whole = disks.cost(machine, operator, disk, options)
    part = disks.cost(machine, operator, disk, options + " bytes=%d" % SMALL_BYTES)
    own = disks.cost(machine, operator, disk, options + " own").ticks
    copy = (whole.ticks - part.ticks) / (LARGE_BYTES - SMALL_BYTES) * LARGE_BYTES
    host = whole.ticks - own - copy
    table.row("exits, " + options, round(whole.exits, 3), disks.EXITS_MOST[depth], KVM_EXITS[depth] if kvm else None,
              "a request: %s; timers %.3f" % (", ".join("%s %.3f" % (k, v) for k, v in whole.by_kind.items() if k not in disks.TIMED),
                                              whole.timed))
    table.row("instructions, " + options, round(host), INSTRUCTIONS_MOST, KVM_INSTRUCTIONS[depth] if kvm else None,
              "a request; besides the guest's own %d, and %d for %d bytes copied; %.3f interrupts" % (
                  own, copy, LARGE_BYTES, whole.interrupts))


def over_in_flight(machine, operator, table):
    """Interrupts by the table, and the plot of them."""
    disks.set_service(operator, disks.SERVICE_US)
    found = {policy: {n: disks.held(machine, operator, policy, n) for n in (IN_FLIGHT if policy == "vic" else (1, 32))}
             for policy in ("off", "vic")}
    for n in TABLE:
        got = found["vic"][n]
        off = disks.off_table(got, n)
        table.row("off the table, %d in flight" % n, round(abs(off), 1), disks.OFF_TABLE, None,
                  "%d interrupts for %d requests" % (got.interrupts, got.requests))
    off, on = found["off"][32], found["vic"][32]
    table.row("interrupts at 32 in flight", on.interrupts, int(off.interrupts / disks.FEWER), None, "without coalescing %d" % off.interrupts)
    table.row("mean latency at 32 in flight", round(on.latency), round(off.latency * disks.LONGER), None,
              "without coalescing %d; not the disk's: %d, %d" % (off.latency, on.delay, off.delay))
    return found


def over_rate(machine, operator):
    """{policy: {service: Held}} with 16 in flight."""
    found = {policy: {} for policy in POLICIES}
    for us in SERVICE_US:
        disks.set_service(operator, us)
        for policy in POLICIES:
            found[policy][us] = disks.held(machine, operator, policy, 16, count=round(400_000 / us) + 64)
    return found


def draw(in_flight, rate):
    def write(name, *what, **how):
        with open(lab.build("bench/%s.svg" % name), "w", encoding="ascii") as out:
            out.write(plot.lines(*what, x_axis=plot.Linear, y_axis=plot.Linear, **how))

    def per_request(held):
        return held.interrupts / held.requests

    os.makedirs(lab.build("bench"), exist_ok=True)
    write("vic_in_flight", "interrupts a request, %d requests a second" % (1_000_000 / disks.SERVICE_US), "in flight", "interrupts", {
        "measured": [(n, per_request(h)) for n, h in in_flight["vic"].items()],
        "off": [(n, per_request(h)) for n, h in in_flight["off"].items()],
        "the table": [(n, disks.ratio(n)) for n in IN_FLIGHT]})
    write("vic_rate", "interrupts a request, 16 in flight", "requests a second", "interrupts", {
        policy: [(1e6 / us, per_request(h)) for us, h in sorted(line.items(), reverse=True)] for policy, line in rate.items()})
    write("vic_delay", "from the disk to the guest, mean, 16 in flight", "requests a second", "us", {
        policy: [(1e6 / us, h.delay * 1e6 / disks.IPS) for us, h in sorted(line.items(), reverse=True)]
        for policy, line in rate.items()})


def run():
    table = lab.Table("A guest's requests to its disk: 4 KiB, random reads (Icelake, mitigations=off)", "")
    with tempfile.TemporaryDirectory(prefix="corbel-") as directory:
        store = {"scripts/boot.lua": disks.VOLUMES_TEXT, "guests/diskload": pathlib.Path(lab.build("guests/diskload.elf"))}
        disk = lab.make_disk(directory, store, "board=bochs mitigations=off")
        with lab.bochs.Bochs(disk, megs=128, ips=disks.IPS) as machine:
            machine.log.wait_for(r"\] ready", 240)
            operator = vms.Operator(lab.smp.Client(machine.management).connect())
            ram(machine, operator, table)
            in_flight = over_in_flight(machine, operator, table)
            rate = over_rate(machine, operator)
    for us in SERVICE_US:
        print("  16 in flight, %5d a second: %s" % (1e6 / us, "; ".join("%s %.2f interrupts, %d us" % (
            policy, rate[policy][us].interrupts / rate[policy][us].requests, rate[policy][us].delay * 1e6 / disks.IPS)
            for policy in POLICIES)))
    draw(in_flight, rate)
    return table.missed

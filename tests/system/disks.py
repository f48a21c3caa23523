# SPDX-License-Identifier: Apache-2.0
"""What requests to a disk cost a guest, measured by the guest `diskload` (tests/guests/diskload.c): exits, interrupts, instructions.

The exits of a request are the difference of two lives, one with more requests than the other, so that start-up and
printing do not count. Those of timers and of the host's interrupts are apart: they come by the clock. `make bench` and the
tests both measure by this.
"""
import collections
import re

import vms

IPS = 200_000_000
SERVICE_US = 400            # over iops_min, and so slow that the guest is through with one request when the next comes back
VOLUMES, SHOW = 68, 1
TIMED = ("entry bound", "host interrupt", "host nmi")
SMALL, LARGE = 512, 2560
EXITS_MOST = {1: 1.1, 32: 0.2}  # a request, by the depth
FEWER = 3                   # times fewer interrupts at 32 in flight
LONGER = 1.08               # mean latency there
OFF_TABLE = 1               # interrupts more or fewer than the table has, of all requests together
IOPS_MIN, CIF_MIN = 2000, 4

Cost = collections.namedtuple("Cost", "exits timed ticks kicks interrupts by_kind")
Held = collections.namedtuple("Held", "requests interrupts latency delay")


def ratio(in_flight):
    """Interrupts a request by the table of docs/io-scheduling.md, for who completes at least IOPS_MIN a second."""
    for below, value in ((1, 1), (2, 4 / 5), (3, 3 / 4), (4, 2 / 3)):
        if in_flight < below * CIF_MIN:
            return value
    return 1 / (in_flight // (2 * CIF_MIN))


def off_table(held, in_flight):
    """How many interrupts it has more than the table."""
    return held.interrupts - ratio(in_flight) * held.requests


def bench_lines(text):
    return {name: int(value) for name, value in re.findall(r"^bench (\S+) (-?\d+)\s*$", text.replace("\r", ""), re.MULTILINE)}


def live(machine, operator, disk, options, name="d"):
    """
    One life of the guest with that disk: ({figure: value}, {exit kind: count}). Nobody asks the machine anything meanwhile: what
    comes over the line costs the guest time.
    """
    operator.define(vms.guest(name, "diskload", options, more="disk = { d = virtio { %s } }, rng = false, " % disk))
    seen = len(machine.log.data)
    operator.start(name)
    machine.log.wait_for(rb"VM %s (ended|crashed).*" % name.encode(), 300, seen)
    info, console = operator.info(name), operator.output(name).decode(errors="replace")
    vms.passed(info, console)
    operator.destroy(name)
    return bench_lines(console), info["exits_by_kind"]


def cost(machine, operator, disk, options):
    (_, few), (figures, many) = (live(machine, operator, disk, "%s count=%d" % (options, n)) for n in (SMALL, LARGE))
    by_kind = {kind: (many[kind] - few.get(kind, 0)) / (LARGE - SMALL) for kind in many}
    timed = sum(by_kind.get(kind, 0) for kind in TIMED)
    return Cost(sum(by_kind.values()) - timed, timed, by_kind={k: v for k, v in by_kind.items() if v},
                **{key: figures[key] / figures["requests"] for key in ("ticks", "kicks", "interrupts")})


# ---- a slow disk ----

SLOW = 'volume "slow" { model { base = "under", service = us(%d), depth = 1 } }'
VOLUMES_TEXT = 'volume "ram" { ram = MiB(1) }\nvolume "under" { ram = MiB(1) }\n' + SLOW % SERVICE_US


def set_service(operator, us):
    """From now on each request keeps the disk `slow` busy for so long, one after the other."""
    text, status = operator.client.shell(SLOW % us)
    assert status == 0, text


def at_disk(operator):
    """(requests, ns of all together) of the volume `slow`."""
    figures = operator.client.read_request(VOLUMES, SHOW, {"volume": "slow"})["figures"]
    return figures["reads"] + figures["writes"], figures["queued_ns"] + figures["service_ns"]


def held(machine, operator, policy, in_flight, count=2000, more=""):
    """
    The disk `slow` with so many requests in flight all the time: what came while there was another one to submit, the mean
    latency as the guest sees it in ticks, and how much of it is not the disk's. The second of two rounds is measured, when the ratio is
    known.
    """
    before = at_disk(operator)
    figures, _ = live(machine, operator, 'volume = "slow", interrupts = { policy = "%s"%s }' % (policy, more),
                      "depth=%d count=%d rounds=2 blind" % (in_flight, count))
    requests, ns = (b - a for a, b in zip(before, at_disk(operator)))
    latency = figures["latency"] / figures["requests"]
    return Held(figures["steady"], figures["steady_interrupts"], latency, latency - ns / requests * IPS / 1e9)

# SPDX-License-Identifier: Apache-2.0
"""What a guest with several vcpus pays for its spinlocks, alone and beside a VM that burns what it gets.

The guest `locks` takes a ticket lock over and over for a fixed time of its own, and says how often; what it used of the
CPUs meanwhile is the host's figure. CPU time a round is what the tests and `make bench` compare. Nobody looks at the
machine while it measures: each question would take the control task's CPU time from whoever runs there.
"""
import collections
import re

import vms

IPS = 20_000_000            # a slice is 100,000 instructions, twenty-four times what a pause loop may last
TICKS = 20_000_000          # of the guest's TSC: a hundred slices and more
GUESTS = ("locks", "spin")
HELP = ("coschedule", "pause_loops")  # below host.cpu
ALONE_MOST = 1.3            # of the guest's CPU time alone, beside one burner
OFF_MOST = 0.5              # of its CPU time with skew control and pause-loop handling off

Cost = collections.namedtuple("Cost", "ticks rounds share pauses exits costopped turns")


def switch(operator, off):
    """What helps such a guest is on, but for @off."""
    for knob in HELP:
        text, status = operator.client.shell('set("host.cpu.%s", %s)' % (knob, str(knob not in off).lower()))
        assert status == 0, text


def define(operator, name, image, cmdline="", more=""):
    operator.define(vms.guest(name, image, cmdline, more=more))


def cost(machine, operator, vcpus, burners=1, off=(), words=""):
    """The Cost of a guest with @vcpus beside @burners, without the help of @off; ticks: host ticks of CPU time a round."""
    switch(operator, off)
    names = ["burner%u" % i for i in range(burners)]
    for name in names:
        define(operator, name, "spin")
        operator.start(name)
        operator.wait_output(name, b"interrupts off")
    define(operator, "locks", "locks", "cpus=%u ticks=%u %s" % (vcpus, TICKS, words), "cpu = { count = %u }" % vcpus)
    seen = len(machine.log.data)
    operator.start("locks")
    machine.log.wait_for(rb"VM locks ended: .*", 300, seen)
    info, said = operator.info("locks"), operator.output("locks").decode()
    assert (info["reason"], info["exit_code"]) == ("debug-exit", vms.PASS), said
    for name in names + ["locks"]:
        operator.end(name)
    rounds, pauses = (int(re.search(r"locks: (\d+) %s" % what, said)[1]) for what in ("rounds", "pauses"))
    ticks = info["cpu_ns"] * operator.host()["clock_hz"] / 1e9
    return Cost(ticks / rounds, rounds, ticks / TICKS, pauses / rounds, info["exits_by_kind"].get("pause", 0),
                info["cpu"]["costopped_ns"] / 1e6, info["cpu"]["turns"])

# SPDX-License-Identifier: Apache-2.0
"""Guests with several processors that abuse them: each comes to the end that it should, and what a neighbour gets
of the CPUs falls by less than 2 % against what it gets beside a guest that merely runs.

Two witnesses stay on CPU 1, where the control plane is not, beside the culprit, which is there too. They are
measured by the time that their own clock shows, in instructions.
"""
import itertools
import time

import conftest
import pytest
import vms

TREE, TREE_SET = 76, 2
SLICE = 1_000_000          # ns: so that the ends of a window are small beside it
WINDOW = 1_500_000_000     # ns of a witness' clock
LOSS_MAX = 0.02
ABUSES = {                 # image and words of a guest that does it for ever
    "interrupts off on all": ("smp", "spin"), "IPI storm": ("smp", "storm"), "timers": ("unruly", "timers"),
    "INIT to itself": ("unruly", "selfinit"), "INIT in mid-exit": ("unruly", "midexit"),
    "INIT to all": ("unruly", "broadcast"), "NMIs to sleepers": ("unruly", "nmi"), "nobody there": ("unruly", "absent"),
    "lowest priority": ("unruly", "lowest"),
}
WITNESSES = ("one", "two")


@pytest.fixture(scope="module")
def machine(boot_shared):
    machine = boot_shared(store=conftest.guest_store("smp", "unruly", "beat", "spin"), megs=128, cpus=2,
                          cmdline="board=bochs")
    machine.log.wait_for(r"\] ready", 120)
    yield machine
    machine.stop()


def guest(name, image, words, cpus, where="any"):
    words = "%s cpus=%d" % (words, cpus) if image in ("smp", "unruly") else words
    return vms.guest(name, image, words, more='cpu = { count = %d, affinity = "%s" }' % (cpus, where))


@pytest.mark.parametrize("word, rounds", [("selfinit", 12), ("broadcast", 4), ("midexit", 40), ("nmi", 60), ("absent", 15),
                                          ("lowest", 2000), ("timers", 5000)])
def test_abuse_ends_as_it_should(operator, word, rounds):
    vms.passed(*operator.run(guest("u", "unruly", "%s rounds=%d" % (word, rounds), 4), seconds=240))


@pytest.mark.parametrize("word", ["midexit", "lowest", "absent"])
def test_many_on_one_cpu(operator, word):
    """Sixteen processors of a guest share one of ours."""
    vms.passed(*operator.run(guest("u", "unruly", word + " rounds=8", 16, "1"), seconds=240))


# ---- the neighbours ----

def part(operator, window=WINDOW):
    """What each witness gets of a CPU from now on, for so long."""
    before = [operator.info(name) for name in WITNESSES]
    while operator.info("one")["uptime_ns"] - before[0]["uptime_ns"] < window:
        time.sleep(0.2)
    after = [operator.info(name) for name in WITNESSES]
    return [(b["cpu_ns"] - a["cpu_ns"]) / (b["uptime_ns"] - a["uptime_ns"]) for a, b in zip(before, after)]


def beside(operator, text, during=None):
    """What they get beside the guests of @text."""
    made = [entry["name"] for entry in operator.define(text)]
    for name in made:
        operator.start(name)
        operator.wait_output(name, rb".+\n", seconds=120)
    parts = during(operator, made[0]) if during else part(operator)
    for name in made:
        operator.stop(name)
        operator.destroy(name)
    return parts


def reborn(operator, name):
    """The culprit dies while its processors run, and comes again, all the while."""
    before = [operator.info(witness) for witness in WITNESSES]
    for _ in itertools.count():
        operator.stop(name)
        operator.start(name)
        after = [operator.info(witness) for witness in WITNESSES]
        if after[0]["uptime_ns"] - before[0]["uptime_ns"] > WINDOW:
            return [(b["cpu_ns"] - a["cpu_ns"]) / (b["uptime_ns"] - a["uptime_ns"]) for a, b in zip(before, after)]


def loss(parts, normal):
    return max((b - a) / b for a, b in zip(parts, normal))


@pytest.fixture
def witnesses(operator):
    operator.client.write_request(TREE, TREE_SET, {"path": "host.cpu.slice", "value": SLICE})
    operator.define("".join(guest(name, "beat", "busy", 1, "1") for name in WITNESSES))
    for name in WITNESSES:
        operator.start(name)
        operator.wait_output(name, rb"beat: ")


@pytest.mark.usefixtures("witnesses")
def test_neighbours_do_not_notice(operator):
    normal = beside(operator, guest("good", "beat", "busy", 1, "1"))
    seen = {name: beside(operator, guest("bad", image, words, 4, "1")) for name, (image, words) in ABUSES.items()}
    lost = {name: loss(parts, normal) for name, parts in seen.items()}
    print(normal, lost)
    assert all(part < LOSS_MAX for part in lost.values()), (normal, lost)
    # the same burners without the pool of one VM around them are noticed
    apart = beside(operator, "".join(guest("part%d" % i, "spin", "", 1, "1") for i in range(4)))
    assert loss(apart, normal) > 10 * LOSS_MAX, (normal, apart)


@pytest.mark.usefixtures("witnesses")
def test_neighbours_of_one_that_dies_and_comes_again(operator):
    """Its four processors run wherever there is room, and are taken from there while they run."""
    normal = beside(operator, guest("good", "smp", "spin", 4))
    assert loss(beside(operator, guest("bad", "smp", "spin", 4), reborn), normal) < LOSS_MAX

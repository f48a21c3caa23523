# SPDX-License-Identifier: Apache-2.0
"""How much CPU time guests receive, and how soon one that wakes runs: by their own count and by the host's.

The guest `greedy` (tests/guests/greedy.c) loops on all its processors and says, when it is asked, how often since it was
asked last; a loop costs the same number of ticks everywhere, so what it received needs no clock but its own. The host's
figure is the time charged to the VM, read together with how long it has been up. While the time goes by that counts,
little is asked of the machine: a question takes CPU time too.

The tests and `make bench` share this.
"""
import re
import time

import vms

ANSWER = re.compile(rb"^greedy: ticks (\d+) loops (\d+)\r?\n", re.MULTILINE)
COST = re.compile(rb"^greedy: a loop is (\d+)\r?\n", re.MULTILINE)
WAKES = re.compile(rb"^wake: (\d+) half (\d+) most (\d+) worst (\d+)\r?\n", re.MULTILINE)
ROW_SECONDS = 1.8  # of the machine's time: 400 wakes of `wake`, 4 ms apart on average, and a rest
TREE, GET = 76, 1
SECOND_NS = 1_000_000_000


def greedy(name, count=1, words="", more=""):
    """Lua text of a VM whose @count processors take all there is; @more: entries of its cpu table."""
    return vms.guest(name, "greedy", "cpus=%u %s" % (count, words), more="cpu = { count = %u, %s }" % (count, more))


def start(operator, *texts):
    """The VMs of @texts run and have said their first line each: their names."""
    names = [entry["name"] for text in texts for entry in operator.define(text)]
    for name in names:
        operator.start(name)
    for name in names:
        operator.wait_output(name, rb"^\w+: .*\n", seconds=120)
    return names


def end(operator, names):
    for name in names:
        operator.end(name)


def figure(operator, name, path):
    return operator.client.read_request(TREE, GET, {"path": "vm.%s.%s" % (name, path)})["value"]


def ask(operator, names):
    """What each has looped since it was asked last: {name: (ticks, loops)}."""
    heads = {name: operator.head(name) for name in names}
    for name in names:
        operator.type(name, b"?")
    answers = {name: operator.wait_output(name, ANSWER.pattern, seconds=120, start=heads[name]) for name in names}
    return {name: (int(answer[1]), int(answer[2])) for name, answer in answers.items()}


def charged(operator, names):
    """{name: (ns charged, ns up)}."""
    infos = {name: operator.info(name) for name in names}
    return {name: (info["cpu_ns"], info["uptime_ns"]) for name, info in infos.items()}


def pass_time(operator, name, seconds):
    """Until the machine has gone on for @seconds of its own time; looks seldom, since each look is work for it."""
    def up():
        return figure(operator, name, "uptime") / SECOND_NS

    began, clock = up(), time.monotonic()
    left, pause = seconds, 1
    while left > 0:
        assert time.monotonic() - clock < 240, "the machine stands still"
        time.sleep(min(max(pause, 0.2), 20))
        left = began + seconds - up()
        pause = left * (time.monotonic() - clock) / (seconds - left) if left < seconds else 1


def measure(operator, names, seconds, meanwhile=None):
    """
    {name: (CPUs by its loops, CPUs by the host)} over @seconds of the machine's time, or while @meanwhile() goes on.
    """
    costs = {name: int(COST.search(operator.output(name))[1]) / 1000 for name in names}
    ask(operator, names)
    before = charged(operator, names)
    if meanwhile:
        meanwhile()
    else:
        pass_time(operator, names[0], seconds)
    after = charged(operator, names)
    loops = ask(operator, names)
    return {name: (loops[name][1] * costs[name] / loops[name][0],
                   (after[name][0] - before[name][0]) / (after[name][1] - before[name][1])) for name in names}


def wakes(operator, name):
    """(half, 99 of a hundred, worst) in ticks, of the first whole row of wakes of the guest `wake` from now on."""
    start = operator.head(name)
    pass_time(operator, name, 2 * ROW_SECONDS)
    operator.wait_output(name, WAKES.pattern + rb"[^\n]*" + WAKES.pattern[1:], seconds=120, start=start)
    return tuple(int(value) for value in WAKES.findall(operator.output(name, start))[1][1:])

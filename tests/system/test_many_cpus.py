# SPDX-License-Identifier: Apache-2.0
"""Guests with one vcpu each on the CPUs of one machine: at once, and taken from wherever they run."""
import collections
import json

import conftest
import pytest
import vms

CPU, CPU_LIST = 67, 0
LOOPS = ["loop%d" % index for index in range(4)]


@pytest.fixture(scope="module", params=[1, 2, 4])
def machine(request, boot_shared):
    machine = boot_shared(store=conftest.guest_store("spin", "echo", "beat"), cpus=request.param, megs=128, cmdline="board=bochs")
    machine.cpus = request.param
    machine.log.wait_for(r"\] ready", 120)
    machine.share_line()
    yield machine
    machine.stop()


def start_loops(operator, count):
    """@count guests that never leave the CPU by themselves, interrupts off."""
    operator.define("".join(vms.guest(name, "spin") for name in LOOPS[:count]))
    for name in LOOPS[:count]:
        operator.start(name)
    for name in LOOPS[:count]:
        operator.wait_output(name, rb"spin: interrupts off")


def used(operator, name):
    return operator.info(name)["cpu_ns"]


def test_each_has_a_cpu(machine, operator):
    """As many as there are CPUs, but for the control plane's: none takes another's time."""
    count = max(machine.cpus - 1, 1)
    start_loops(operator, count)
    before = [(used(operator, name), operator.info(name)["uptime_ns"]) for name in LOOPS[:count]]
    operator.head(LOOPS[0])
    for name, (cpu, uptime) in zip(LOOPS[:count], before):
        info = operator.info(name)
        share = (info["cpu_ns"] - cpu) / (info["uptime_ns"] - uptime)
        assert share > 0.9 if machine.cpus > 1 else share > 0.5, (name, share)


def test_time_of_the_whole_machine(machine, operator):
    """What a script sees of busy and idle is the sum over all processors, which only grows."""
    def sums():
        cpus = operator.client.read_request(CPU, CPU_LIST)["cpus"]
        assert len(cpus) == machine.cpus
        return [sum(cpu[key] for cpu in cpus) for key in ("busy_ns", "idle_ns")]

    start_loops(operator, machine.cpus)
    before = sums()
    text, status = operator.client.shell("return now.host.busy_ns, now.host.idle_ns")
    assert status == 0, text
    for low, seen, high in zip(before, map(int, text.split()), sums()):
        assert 0 < low <= seen < high + machine.cpus  # each processor's time was rounded down to a nanosecond


def test_taken_from_where_they_run(machine, operator):
    """Paused, resumed, stopped, destroyed and made again, round and round, while all others run."""
    start_loops(operator, 4)
    for name in LOOPS * 2:
        operator.pause(name)
        frozen = used(operator, name)
        assert used(operator, name) == frozen
        operator.resume(name)
        operator.stop(name)
        operator.destroy(name)
        operator.define(vms.guest(name, "spin"))
        operator.start(name)
        operator.wait_output(name, rb"spin: interrupts off")
    assert operator.client.read_request(vms.INSPECT, vms.CHECK)


def test_consoles_of_all(operator):
    """A line typed at each comes back from each, wherever it runs."""
    operator.define("".join(vms.guest(name, "echo") for name in LOOPS))
    for name in LOOPS:
        operator.start(name)
        operator.wait_output(name, rb"echo: ready")
    for number in range(3):
        for name in LOOPS:
            operator.type(name, b"%s number %d\n" % (name.encode(), number))
        for name in LOOPS:
            operator.wait_output(name, b"echo: %s number %d" % (name.encode(), number))


def check_order(events, cpu):
    """Turns on one CPU follow one another, each of its guest's exits lies within one, and none within another's."""
    turns = [e for e in events if e["cat"] == "turn"]
    exits = [e for e in events if e["cat"] == "exit"]
    rounding = 0.002  # each time is rounded down to a nanosecond
    assert turns and exits, "CPU %u" % cpu
    for before, after in zip(turns, turns[1:]):
        assert before["ts"] + before["dur"] <= after["ts"] + rounding
    for e in exits:
        if turns[0]["ts"] <= e["ts"] and e["ts"] < turns[-1]["ts"]:
            around = [t for t in turns if t["ts"] - rounding <= e["ts"] and e["ts"] + e["dur"] <= t["ts"] + t["dur"] + rounding]
            assert [t["name"] for t in around] == [e["args"]["guest"]], e


def test_trace_of_all(machine, operator, tmp_path):
    """What corbelctl records is one valid file in order of time: turns, exits and wakes of every CPU, with the VMs' names."""
    path = tmp_path / "trace.json"
    start_loops(operator, 4)
    operator.define(vms.guest("beat"))
    operator.start("beat")
    operator.wait_output("beat", rb"beat: \d+ worst")
    said = json.loads(machine.ctl("--json", "sched", "trace", str(path), "0.05"))
    assert said["cpus"] == machine.cpus
    trace = json.loads(path.read_text())
    events = [e for e in trace["traceEvents"] if e["ph"] != "M"]
    assert said["events"] == len(events) > 0
    names = [e["args"]["name"] for e in trace["traceEvents"] if e["ph"] == "M"]
    assert names == ["Corbel"] + ["CPU %u" % i for i in range(machine.cpus)]
    assert [e["ts"] for e in events] == sorted(e["ts"] for e in events)
    by_cpu = collections.defaultdict(list)
    for e in events:
        assert e["pid"] == 1 and e["ph"] == ("i" if e["cat"] == "wake" else "X")
        by_cpu[e["tid"]].append(e)
    assert sorted(by_cpu) == list(range(machine.cpus))
    for cpu, its in by_cpu.items():
        check_order(its, cpu)
    ran = {e["name"] for e in events if e["cat"] == "turn"}
    assert ran <= {"control"} | {name + "/0" for name in LOOPS + ["beat"]}
    assert "beat/0" in ran and len(ran & {name + "/0" for name in LOOPS}) >= machine.cpus
    assert any(e["cat"] == "wake" and e["args"]["guest"] == "beat/0" for e in events)
    assert {"entry bound", "hlt"} <= {e["name"] for e in events if e["cat"] == "exit"}

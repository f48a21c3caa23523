# SPDX-License-Identifier: Apache-2.0
"""Group 67: the processors, and the trace of who had which; corbelctl's faces of both."""
import json
import time

import pytest
import smp
from conftest import vm

CPU, LIST, TRACE, RECORDS = 67, 0, 1, 2
TURN, EXIT, WAKE = 0, 1, 2


def read_records(client, cpu=0, start=0):
    records, lost = [], 0
    while True:
        page = client.read_request(CPU, RECORDS, {"cpu": cpu, "from": start})
        records += page["records"]
        lost += page["lost"]
        start = page["next"]
        if start >= page["head"]:
            return records, lost


def test_the_processors_and_where_their_time_went(host):
    machine = host(script=vm("a", "echo", more="autostart = true"))  # it looks for input without end
    first = machine.smp.read_request(CPU, LIST)
    second, deadline = first, time.monotonic() + 10
    while second["cpus"][0]["busy_ns"] == first["cpus"][0]["busy_ns"] and time.monotonic() < deadline:
        second = machine.smp.read_request(CPU, LIST)
    for reply in (first, second):
        assert [cpu["cpu"] for cpu in reply["cpus"]] == [0]
        assert (reply["cpus"][0]["apic_id"], reply["cpus"][0]["core"]) == (16, 0)
        assert 0 < reply["cpus"][0]["rate"] <= 10 ** 6 and reply["cpus"][0]["pulled"] == 0
    passed = second["now_ns"] - first["now_ns"]
    counted = sum(second["cpus"][0][key] - first["cpus"][0][key] for key in ("busy_ns", "idle_ns"))
    assert 0 < counted <= passed + 10 ** 9
    assert machine.smp.read_request(CPU, LIST, {"from": 1})["cpus"] == []
    rows = machine.ctl("cpu", "list").splitlines()
    assert len(rows) == 2 and rows[1].split()[0] == "0" and "16" in rows[1].split()
    assert json.loads(machine.ctl("--json", "cpu", "list"))["cpus"][0]["apic_id"] == 16


def test_nothing_is_recorded_until_it_is_asked_for(host):
    machine = host(script=vm("a", "say=hello") + 'start "a"')
    state = machine.smp.read_request(CPU, TRACE)
    assert (state["on"], state["heads"]) == (False, [])
    assert "hlt" in state["exit_kinds"]
    with pytest.raises(smp.SmpError) as e:
        machine.smp.read_request(CPU, RECORDS, {"cpu": 0})
    assert e.value.rc == smp.BAD_STATE and "switch the trace on" in str(e.value)


def test_turns_exits_and_wakes(host):
    machine = host(script=vm("a", "say=hello end=exit:0") + vm("b", "say=goodbye end=exit:0"))
    client = machine.smp
    assert client.write_request(CPU, TRACE, {"on": True})["heads"] == [0]
    for name in "ab":
        client.write_request(65, 2, {"name": name})
    while any(v["state"] == "running" for v in client.read_request(65, 0)["vms"]):
        pass
    state = client.write_request(CPU, TRACE, {"on": False})
    records, lost = read_records(client)
    assert lost == 0 and len(records) == state["heads"][0]
    ends = [r[0] + r[1] for r in records]
    assert all(after >= before - 1 for before, after in zip(ends, ends[1:])), "in the order of their ends"
    for number in (1, 2):
        kinds = {r[2] for r in records if r[3] == number}
        assert kinds == {TURN, EXIT, WAKE}, number
    ports = [r for r in records if r[2] == EXIT and state["exit_kinds"][r[5]] == "port access"]
    assert ports
    # an exit lies within a turn of its guest
    turns = [r for r in records if r[2] == TURN]
    for r in records:
        if r[2] == EXIT:
            assert any(t[3] == r[3] and t[0] <= r[0] + 1 and r[0] + r[1] <= t[0] + t[1] + 1 for t in turns), r
    machine.smp.write_request(65, 2, {"name": "a"})
    assert client.read_request(CPU, TRACE)["heads"] == state["heads"], "off is off"


def test_what_was_overwritten_is_counted(host):
    machine = host(script=vm("a", "say=" + "x" * 200))
    client = machine.smp
    client.write_request(CPU, TRACE, {"on": True})
    head = 0
    while head < 4500:
        client.write_request(65, 2, {"name": "a"})
        client.write_request(65, 3, {"name": "a"})
        head = client.read_request(CPU, TRACE)["heads"][0]
    head = client.write_request(CPU, TRACE, {"on": False})["heads"][0]
    records, lost = read_records(client)
    assert len(records) == 4095 and lost == head - 4095
    assert client.read_request(CPU, RECORDS, {"cpu": 0, "from": 10 ** 12})["next"] == head
    page = client.read_request(CPU, RECORDS, {"cpu": 0, "from": head - 5, "max": 2})
    assert (len(page["records"]), page["next"], page["lost"]) == (2, head - 3, 0)


@pytest.mark.parametrize("op,command,arguments,rc,why", [
    ("write", TRACE, {}, smp.BAD_VALUE, "on, true or false"),
    ("write", TRACE, {"on": 1}, smp.BAD_VALUE, "on, true or false"),
    ("read", TRACE, {"on": True}, smp.BAD_VALUE, "reading takes no argument on"),
    ("read", RECORDS, {}, smp.BAD_VALUE, "needs the argument cpu"),
    ("read", RECORDS, {"cpu": 1}, smp.NO_ENTRY, "there is no CPU 1, the last is 0"),
    ("read", RECORDS, {"cpu": 1 << 40}, smp.NO_ENTRY, "there is no CPU 1099511627776"),
])
def test_bad_arguments(host, op, command, arguments, rc, why):
    machine = host()
    machine.smp.write_request(CPU, TRACE, {"on": True})
    with pytest.raises(smp.SmpError) as e:
        (machine.smp.write_request if op == "write" else machine.smp.read_request)(CPU, command, arguments)
    assert e.value.rc == rc and why in str(e.value)


def test_a_trace_file_that_viewers_open(host, tmp_path):
    machine = host(script=vm("a", "say=hello", more="autostart = true") + vm("b", "say=bye", more="autostart = true"))
    path = tmp_path / "trace.json"
    said = machine.ctl("sched", "trace", str(path), "0.3")
    trace = json.loads(path.read_text())
    events = trace["traceEvents"]
    assert said.startswith("%d events on 1 CPUs" % sum(e["ph"] != "M" for e in events))
    names = [e["args"]["name"] for e in events if e["ph"] == "M"]
    assert names == ["Corbel", "CPU 0"]
    times = [e["ts"] for e in events if e["ph"] != "M"]
    assert times == sorted(times)
    for e in events:
        if e["ph"] == "X":
            assert e["dur"] >= 0 and (e["pid"], e["tid"]) == (1, 0) and e["cat"] in ("turn", "exit")
    assert machine.smp.read_request(CPU, TRACE)["on"] is False


@pytest.mark.parametrize("words", [(), ("FILE", "0"), ("FILE", "61"), ("FILE", "x"), ("FILE", "1", "2")])
def test_usage(host, words, tmp_path):
    words = [str(tmp_path / "t") if w == "FILE" else w for w in words]
    done = host().ctl_run("sched", "trace", *words)
    assert done.returncode == 2 and "usage: sched trace FILE [SECONDS]" in done.stderr

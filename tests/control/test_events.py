# SPDX-License-Identifier: Apache-2.0
"""Events: the ring, reading by cursor and by long-poll, push on the third marker, slow readers."""
import time

import cbor2
import pytest
import smp
from conftest import vm
from signer import Key, enroll, login, own
from smp import READ, WRITE
from test_consoles import pushes

EVENTS, VMS = 71, 65
GET, ATTACH, DETACH, KINDS = range(4)
START, STOP, PAUSE, RESUME, DESTROY = 2, 3, 4, 5, 6
RING = 256


def read(machine, **arguments):
    return machine.smp.read_request(EVENTS, GET, arguments)


def kinds(reply):
    return [e["kind"] for e in reply["events"]]


def refused(machine, command, arguments, op=READ):
    with pytest.raises(smp.SmpError) as error:
        machine.smp.exchange(op, EVENTS, command, arguments).map()
    return error.value.rc, error.value.group, error.value.text


def flood(machine, name, changes):
    """So many changes of the state of VM @name: it runs, and is paused and resumed in turns."""
    client = machine.smp
    state = client.read_request(VMS, 7, {"name": name})["state"]
    if state not in ("running", "paused"):
        client.write_request(VMS, START, {"name": name})
        state, changes = "running", changes - 1
    for n in range(changes):
        client.write_request(VMS, PAUSE if (n % 2 == 0) == (state == "running") else RESUME, {"name": name})


def pushed_events(machine):
    """The pushed events, their texts put together, as dictionaries; and the counts of missed ones."""
    found, missed = [], []
    for push in pushes(machine):
        if push[0] == 3:
            assert not found or not found[-1]["more"]
            found.append(dict(zip(("seq", "time_ns", "kind", "vm", "name", "text", "more", "time"), push[1:])))
        elif push[0] == 4:
            assert found[-1]["more"] and found[-1]["seq"] == push[1]
            found[-1].update(text=found[-1]["text"] + push[2], more=push[3])
        elif push[0] == 5:
            missed.append(push[1:])
    return found, missed


def test_what_vms_do(host):
    machine = host(vm("a", "echo") + vm("b"))
    client = machine.smp
    client.write_request(VMS, START, {"name": "a"})
    client.write_request(VMS, PAUSE, {"name": "a"})
    client.write_request(VMS, RESUME, {"name": "a"})
    client.write_request(VMS, STOP, {"name": "a"})
    client.write_request(VMS, DESTROY, {"name": "a"})
    reply = read(machine, kinds="vm")
    assert [(e["kind"], e["name"]) for e in reply["events"]] == [
        ("vm.defined", "a"), ("vm.defined", "b"), ("vm.running", "a"), ("vm.paused", "a"), ("vm.running", "a"),
        ("vm.stopped", "a"), ("vm.destroyed", "a")]
    numbers = [e["seq"] for e in reply["events"]]
    times = [e["time_ns"] for e in reply["events"]]
    assert numbers == sorted(set(numbers)) and times == sorted(times) and times[-1] <= reply["now_ns"]
    assert reply["events"][0]["text"] == "boot.lua:1" and reply["events"][5]["text"] == "operator"
    assert reply["next"] == reply["head"] == numbers[-1] + 1 and "missed" not in reply


def test_crash_carries_its_sentence(host):
    machine = host(vm("a", "end=crash", more="autostart = true"))
    machine.wait_for("VM a crashed")
    (event,) = read(machine, kinds=["vm.crashed"])["events"]
    assert "triple fault" in event["text"] and event["vm"] == 1


def test_overrides(host):
    machine = host()
    machine.smp.write_request(76, 2, {"path": "log.level", "value": "warn", "for_ns": 50_000_000, "why": "quiet"})
    reply = read(machine, **{"from": 0, "kinds": "override.expired", "wait": 1900})
    assert kinds(reply) == ["override.expired"] and "log.level" in reply["events"][0]["text"]
    assert kinds(read(machine, kinds="override")) == ["override.set", "override.expired"]


def test_pages_and_filters(host):
    machine = host(vm("a", "echo"))
    flood(machine, "a", 40)
    everything = read(machine)["events"]
    assert len(everything) > 40
    page, got = {"next": 0}, []
    while page["next"] < everything[-1]["seq"] + 1:
        page = read(machine, **{"from": page["next"], "max": 7, "wait": 0})
        assert len(page["events"]) <= 7
        got += page["events"]
    assert got == everything
    paused = read(machine, kinds=["vm.paused", "login"])["events"]
    assert paused == [e for e in everything if e["kind"] == "vm.paused"]
    assert read(machine, last=3)["events"] == everything[-3:]
    assert read(machine, last=10 ** 9)["events"] == everything
    assert machine.smp.read_request(EVENTS, KINDS)["kinds"][0] == "vm.defined"
    # a filter that nothing matches still moves the cursor
    assert read(machine, **{"from": 0, "kinds": "fault", "wait": 0})["next"] == everything[-1]["seq"] + 1


def test_long_poll_waits_less_than_two_seconds(host):
    machine = host()
    head = read(machine)["head"]
    for arguments, low, high in (({}, 1.3, 2.0), ({"wait": 300}, 0.25, 1.0), ({"wait": 0}, 0, 0.5)):
        began = machine.uptime()
        reply = read(machine, **{"from": head, **arguments})
        assert low < machine.uptime() - began < high
        assert (reply["events"], reply["next"]) == ([], head)


def ask(machine, sequence, **arguments):
    machine.smp.send(smp.frame(smp.message(READ, EVENTS, GET, arguments, sequence)))


def test_long_poll_is_answered_by_the_event_and_blocks_nobody(host):
    machine = host(vm("a", "echo"))
    head = read(machine)["head"]
    ask(machine, 200, **{"from": head, "wait": 1900, "kinds": "vm.running"})
    began = machine.uptime()
    for n in range(50):  # others get their answers meanwhile
        assert machine.smp.echo(str(n)) == str(n)
    assert machine.uptime() - began < 1.5
    machine.smp.send(smp.frame(smp.message(WRITE, VMS, START, {"name": "a"}, 201)))
    first, second = machine.smp.next_frame(5), machine.smp.next_frame(5)
    assert machine.uptime() - began < 1.8
    assert (first.sequence, second.sequence) == (201, 200)
    assert kinds(second.map()) == ["vm.running"]


def test_a_second_poll_takes_the_place_of_the_first(host):
    machine = host(vm("a", "echo"))
    head = read(machine)["head"]
    began = machine.uptime()
    ask(machine, 200, **{"from": head, "wait": 1900})
    ask(machine, 201, **{"from": head, "wait": 1900})
    first = machine.smp.next_frame(5)
    assert (first.sequence, first.map()["events"]) == (200, [])
    assert machine.uptime() - began < 1
    machine.smp.send(smp.frame(smp.message(WRITE, VMS, START, {"name": "a"}, 202)))
    answers = {r.sequence: r.map() for r in (machine.smp.next_frame(5), machine.smp.next_frame(5))}
    assert kinds(answers[201]) == ["vm.running"]


def test_a_repeated_poll_is_the_same_one(host):
    machine = host(vm("a", "echo"))
    head = read(machine)["head"]
    for _ in range(3):
        ask(machine, 200, **{"from": head, "wait": 1900})
    machine.smp.send(smp.frame(smp.message(WRITE, VMS, START, {"name": "a"}, 202)))
    answers = [machine.smp.next_frame(5) for _ in range(2)]
    assert [a.sequence for a in answers] == [202, 200] and kinds(answers[1].map()) == ["vm.running"]
    assert machine.smp.echo("x") == "x", "and no further answer to the first"


def test_a_client_that_dies_waiting_is_in_nobodys_way(host):
    machine = host()
    began = machine.uptime()
    machine.disconnect()
    line = machine.connect()
    line.sendall(smp.frame(smp.message(READ, EVENTS, GET, {"from": 0, "kinds": "fault", "wait": 1900}, 3)))
    time.sleep(0.1)
    line.close()
    assert machine.smp.echo("x") == "x"
    assert machine.uptime() - began < 1.5


def test_ten_thousand_events_with_nobody_reading(host):
    machine = host(vm("a", "echo"))
    machine.smp.write_request(EVENTS, ATTACH, {"from": 0, "credit": 3})
    flood(machine, "a", 10)
    before = machine.smp.read_request(74, 0)["memory"]
    flood(machine, "a", 10_000)
    head = read(machine, last=1)["head"]
    assert head > 10_000
    page, got, missed = {"next": 0}, [], 0
    while page["next"] < head:
        page = read(machine, **{"from": page["next"], "wait": 0})
        missed += page.get("missed", 0)
        got += page["events"]
    assert len(got) == RING and missed == head - RING
    assert [e["seq"] for e in got] == list(range(head - RING, head))
    assert all(x["kind"] != y["kind"] for x, y in zip(got, got[1:])), "pauses and resumptions take turns"
    after = machine.smp.read_request(74, 0)["memory"]
    assert after["host"] == before["host"]
    found, lost = pushed_events(machine)
    assert len(found) == 3 and not lost, "credit is a bound"
    # once it has credit again it learns what it missed
    machine.smp.write_request(EVENTS, ATTACH, {})
    machine.smp.wait_until(lambda: len(pushed_events(machine)[0]) == 3 + RING, 10)
    found, lost = pushed_events(machine)
    assert lost == [[head - RING - found[2]["seq"] - 1, head - RING]]
    assert [e["seq"] for e in found[3:]] == list(range(head - RING, head))


def test_push(host):
    machine = host(vm("a", "echo"))
    reply = machine.smp.write_request(EVENTS, ATTACH, {"kinds": ["vm.running", "vm.stopped"], "from": 0})
    assert (reply["next"], reply["oldest"]) == (0, 0)
    flood(machine, "a", 5)
    machine.smp.write_request(VMS, STOP, {"name": "a"})
    machine.smp.wait_until(lambda: any(e["kind"] == "vm.stopped" for e in pushed_events(machine)[0]), 5)
    found, missed = pushed_events(machine)
    by_poll = [e for e in read(machine)["events"] if e["kind"] in ("vm.running", "vm.stopped")]
    assert not missed and [{k: v for k, v in e.items() if k != "more"} for e in found] == \
        [{"text": "", "time": 0, **e} for e in by_poll]
    assert machine.smp.write_request(EVENTS, DETACH) == {}
    flood(machine, "a", 5)
    machine.smp.echo("x")
    assert pushed_events(machine)[0] == found
    # without a place it starts now
    head = read(machine, last=0)["head"]
    assert machine.smp.write_request(EVENTS, ATTACH, {})["next"] == head


def test_long_texts_are_pushed_in_pieces(host):
    machine = host('alert(("0123456789"):rep(11) .. "end")\n' + vm("n" * 31))
    machine.smp.write_request(EVENTS, ATTACH, {"from": 0})
    machine.smp.wait_until(lambda: len(pushed_events(machine)[0]) >= 2, 5)
    machine.smp.wait_until(lambda: not pushed_events(machine)[0][-1]["more"], 5)
    by_poll = {e["seq"]: e for e in read(machine)["events"]}
    assert any(len(e.get("text", "")) == 113 for e in by_poll.values())
    for event in pushed_events(machine)[0]:
        assert event["text"] == by_poll[event["seq"]].get("text", "")
    assert any(push[0] == 4 for push in pushes(machine))


def test_push_beside_console_output_and_replies(host):
    machine = host(vm("a", "flood echo", more="autostart = true") + vm("b"), options=("--rate", "40000"))
    machine.smp.write_request(72, 2, {"name": "a", "from": 0})
    machine.smp.write_request(EVENTS, ATTACH, {"from": 0})
    flood(machine, "b", 20)
    assert machine.smp.echo("x" * 500) == "x" * 500
    machine.smp.wait_until(lambda: len([e for e in pushed_events(machine)[0] if e["name"] == "b"]) >= 20, 10)


@pytest.mark.parametrize("command,op,arguments,text", [
    (GET, READ, {"from": 5, "last": 5}, "give from or last, not both"),
    (GET, READ, {"from": 10 ** 6}, "from is 1000000, but the next event is number 0: the machine was started again since"),
    (GET, READ, {"max": 0}, "max is 0: a read takes one event at least"),
    (GET, READ, {"wait": 1901}, "wait is 1901 ms, at most 1900 are possible: read again"),
    (GET, READ, {"kinds": "vn"}, "there is no kind of event called vn"),
    (GET, READ, {"kinds": ""}, "there is no kind of event called "),
    (GET, READ, {"kinds": "x" * 500}, "there is no kind of event called " + "x" * 39),
    (GET, READ, {"kinds": ["vm", "vm.exploded\x1b"]}, "there is no kind of event called vm.exploded?"),
    (GET, READ, {"kinds": []}, "kinds is an empty list: no event would be there"),
    (GET, READ, {"kinds": ["vm", 5]}, "kinds takes names of events, or one, not integer"),
    (GET, READ, {"kinds": {}}, "kinds takes names of events, or one, not map"),
    (GET, READ, {"from": -1}, "from takes a whole number, not negative integer"),
    (GET, READ, {"form": 1}, "read takes no argument form"),
    (ATTACH, WRITE, {"credit": 0}, "credit is 0: nothing could be pushed"),
    (ATTACH, WRITE, {"kinds": "vn"}, "there is no kind of event called vn"),
    (ATTACH, WRITE, {"from": 5, "last": 5}, "give from or last, not both"),
    (DETACH, WRITE, {"from": 5}, "detach takes no argument from"),
])
def test_refusals(host, command, op, arguments, text):
    machine = host()
    assert refused(machine, command, arguments, op) == (smp.BAD_VALUE, EVENTS, text)
    machine.smp.echo("x")
    assert not pushes(machine)


@pytest.mark.parametrize("version", [smp.V1, smp.V2])
def test_versions(host, version):
    machine = host(vm("a"))
    reply = machine.smp.exchange(READ, EVENTS, GET, {"from": 0, "wait": 100}, version=version)
    assert reply.version == version and cbor2.loads(reply.payload)["events"]


def test_a_key_limited_to_vms_hears_of_those_alone(host, tmp_path):
    machine = host(vm("a", "echo") + vm("b", "echo"), options=("--disk", str(tmp_path / "disk")))
    client = machine.smp
    bob = Key()
    own(client)
    enroll(client, "bob", "observer", bob, vms=["a"])
    flood(machine, "a", 3)
    flood(machine, "b", 3)
    machine.smp.write_request(EVENTS, ATTACH, {"from": 0})
    machine.smp.wait_until(lambda: len(pushed_events(machine)[0]) > 6, 5)
    login(client, bob)
    before = len(pushes(machine))
    assert {e.get("name") for e in read(machine)["events"]} == {"a"}
    machine.smp.write_request(EVENTS, ATTACH, {"from": 0})
    machine.smp.wait_until(lambda: len(pushes(machine)) >= before + 4, 5)
    assert {push[5] for push in pushes(machine)[before:] if push[0] == 3} == {"a"}

# SPDX-License-Identifier: Apache-2.0
"""Consoles: reading by sequence number, live push, input, forged bytes, slow lines and lost bytes."""
import base64
import time

import cbor2
import pytest
import smp
from conftest import vm

VMS, CONSOLES, START, STOP, DESTROY = 65, 72, 2, 3, 6
LIST, READ, ATTACH, DETACH, INPUT = range(5)
PUSH = b"\x05\x0c"


def pushes(machine):
    """What was pushed so far, decoded; each line's checksum is verified."""
    found = []
    for line in machine.smp.deframer.other:
        assert line.startswith(PUSH), "neither a frame nor a pushed line: %r" % line
        assert len(line) < 127
        data = base64.b64decode(line[2:], validate=True)
        assert smp.crc16(data[:-2]) == int.from_bytes(data[-2:], "big")
        found.append(cbor2.loads(data[:-2]))
    return found


def output(machine, console):
    """The pushed bytes of a console and the sequence number of the first; they must be without a gap."""
    data, first, expect = b"", None, None
    for push in pushes(machine):
        if push[:2] != [0, console]:
            continue
        assert expect in (None, push[2]), "a gap"
        first = push[2] if first is None else first
        data, expect = data + push[3], push[2] + len(push[3])
    return first, data


def wait_output(machine, console, text, seconds=10):
    machine.smp.wait_until(lambda: text in output(machine, console)[1], seconds)


def read(machine, **arguments):
    return machine.smp.read_request(CONSOLES, READ, arguments)


def wait_head(machine, name, head, seconds=20):
    deadline = time.monotonic() + seconds
    while read(machine, name=name)["head"] < head:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def refused(machine, command, arguments, write):
    with pytest.raises(smp.SmpError) as error:
        (machine.smp.write_request if write else machine.smp.read_request)(CONSOLES, command, arguments)
    return error.value.rc, error.value.text


def test_read_later(host):
    """What a guest printed while nobody was there is read after it stopped."""
    machine = host(vm("a", "say=hello_world end=off", more="autostart = true"))
    machine.wait_for("VM a ended")
    got = read(machine, name="a")
    assert got == {"id": 1, "seq": 0, "data": b"hello world\n", "next": 12, "head": 12}
    assert read(machine, id=1, **{"from": 6, "max": 3})["data"] == b"wor"
    assert read(machine, name="a", last=6)["data"] == b"world\n"
    assert read(machine, name="a", last=600)["data"] == b"hello world\n"
    assert read(machine, name="a", text=True)["data"] == "hello world\n"
    past = read(machine, name="a", **{"from": 99})
    assert (past["seq"], past["data"], past["next"]) == (12, b"", 12)


def test_list(host):
    machine = host(vm("a") + vm("b"))
    consoles = machine.smp.read_request(CONSOLES, LIST)["consoles"]
    assert [(c["id"], c["name"], c["attached"]) for c in consoles] == \
        [(0, "corbel", False), (1, "a", False), (2, "b", False)]
    machine.smp.write_request(CONSOLES, ATTACH, {"name": "b"})
    assert [c["attached"] for c in machine.smp.read_request(CONSOLES, LIST)["consoles"]] == [False, False, True]
    page = machine.smp.read_request(CONSOLES, LIST, {"after": 1})
    assert [c["name"] for c in page["consoles"]] == ["b"]


def test_log_is_console_0(host):
    machine = host(vm("a"))
    for target in ({"name": "corbel"}, {"id": 0}):
        assert b"VM a: defined (boot.lua:1)" in read(machine, **target)["data"]
    machine.smp.write_request(CONSOLES, ATTACH, {"id": 0, "last": 100000})
    machine.smp.write_request(9, 0, {"argv": ["log 'seen live'"]})
    wait_output(machine, 0, b"seen live")
    assert b"VM a: defined" in output(machine, 0)[1]
    assert refused(machine, INPUT, {"id": 0, "data": "x"}, True) == (smp.NOT_SUPPORTED, "the log takes no input")


def test_oldest_bytes_alone_are_lost_and_counted(host):
    machine = host(vm("a", "flood=200000"))
    machine.smp.write_request(VMS, START, {"name": "a"})
    wait_head(machine, "a", 200000)
    got = read(machine, name="a", **{"from": 1000})
    assert got["head"] == 200000
    assert got["seq"] == 200000 - 65536 and got["lost"] == 200000 - 65536 - 1000
    data, at = b"", got["seq"]
    while at < 200000:
        part = read(machine, name="a", **{"from": at, "max": 4096})
        assert part["seq"] == at and "lost" not in part
        data, at = data + part["data"], part["next"]
    first = (200000 - 65536) % 16
    pattern = b"0123456789abcdef" * 5000
    assert data == pattern[first : first + 65536]


def test_attach_live_and_detach(host):
    machine = host(vm("a", "echo"))
    machine.smp.write_request(VMS, START, {"name": "a"})
    got = machine.smp.write_request(CONSOLES, ATTACH, {"name": "a"})
    assert got == {"id": 1, "seq": 0, "oldest": 0, "head": 0}
    assert machine.smp.write_request(CONSOLES, INPUT, {"name": "a", "data": "hello "}) == {"taken": 6}
    assert machine.smp.write_request(CONSOLES, INPUT, {"id": 1, "data": b"world\r"}) == {"taken": 6}
    wait_output(machine, 1, b"HELLO WORLD\r")
    assert output(machine, 1) == (0, b"HELLO WORLD\r")
    assert machine.smp.write_request(CONSOLES, DETACH, {"name": "a"}) == {}
    machine.smp.write_request(CONSOLES, INPUT, {"name": "a", "data": "unseen"})
    wait_head(machine, "a", 18)
    assert output(machine, 1)[1] == b"HELLO WORLD\r"
    machine.smp.write_request(CONSOLES, ATTACH, {"name": "a", "from": 12})
    wait_output(machine, 1, b"UNSEEN")


def test_attach_with_a_backlog(host):
    machine = host(vm("a", "say=one_two_three"))
    machine.smp.write_request(VMS, START, {"name": "a"})
    wait_head(machine, "a", 14)
    assert machine.smp.write_request(CONSOLES, ATTACH, {"name": "a", "last": 6})["seq"] == 8
    wait_output(machine, 1, b"three\n")
    assert output(machine, 1) == (8, b"three\n")
    # attaching again without a place goes on where it was
    assert machine.smp.write_request(CONSOLES, ATTACH, {"name": "a"})["seq"] == 14
    assert refused(machine, ATTACH, {"name": "a", "from": 1, "last": 1}, True)[0] == smp.BAD_VALUE
    assert refused(machine, READ, {"name": "a", "from": 1, "last": 1}, False)[0] == smp.BAD_VALUE
    assert refused(machine, READ, {"name": "a", "max": 0}, False)[0] == smp.BAD_VALUE


def test_credit_is_flow_control(host):
    machine = host(vm("a", "flood=5000"))
    machine.smp.write_request(CONSOLES, ATTACH, {"name": "a", "credit": 1000})
    machine.smp.write_request(VMS, START, {"name": "a"})
    wait_head(machine, "a", 5000)
    for total in (1000, 2500, 5000):
        machine.smp.wait_until(lambda: len(output(machine, 1)[1]) == total, 10)
        time.sleep(0.1)
        assert len(output(machine, 1)[1]) == total
        machine.smp.write_request(CONSOLES, ATTACH, {"name": "a", "credit": 1500} if total == 1000 else {"name": "a"})
    assert refused(machine, ATTACH, {"name": "a", "credit": 0}, True)[0] == smp.BAD_VALUE


def test_state_changes_are_pushed(host):
    machine = host(vm("a", "say=bye end=exit:3"))
    machine.smp.write_request(CONSOLES, ATTACH, {"name": "a"})
    machine.smp.write_request(VMS, START, {"name": "a"})
    machine.smp.wait_until(lambda: [2, 1, "stopped", "debug-exit"] in pushes(machine), 10)
    machine.smp.write_request(VMS, DESTROY, {"name": "a"})
    machine.smp.wait_until(lambda: [1, 1] in pushes(machine), 10)
    kinds = [p[0] for p in pushes(machine)]
    assert kinds.index(0) < kinds.index(1) and kinds[-1] == 1
    # the same id again is another VM: nobody is attached to it
    machine.smp.write_request(VMS, 1, {"text": vm("b", "say=secret")})
    machine.smp.write_request(VMS, START, {"name": "b"})
    wait_head(machine, "b", 7)
    assert machine.smp.read_request(CONSOLES, LIST)["consoles"][1]["attached"] is False
    assert pushes(machine)[-1] == [1, 1]


def test_forged_frames_stay_data(host):
    """A guest that prints a reply, a pushed line and terminal sequences reaches nobody's parser."""
    machine = host(vm("a", "forge") + vm("b", "echo"))
    machine.smp.write_request(CONSOLES, ATTACH, {"name": "a"})
    machine.smp.write_request(VMS, START, {"name": "a"})
    forged = b"\x06\x09ABQLAAAKAAAqAKFhcmZjb3JiZWyKsg==\n\x05\x0cgwAAQA==\n\x1b[2J\x1b]0;owned\x07"
    wait_output(machine, 1, forged)
    assert machine.smp.echo("really you?") == "really you?"
    assert not machine.smp.deframer.frames
    assert bytes(machine.smp.received).count(b"\x06\x09") == 3  # attach, start, echo
    assert b"\x1b" not in machine.smp.received
    assert read(machine, name="a")["data"] == forged
    assert "\x1b" not in read(machine, name="a", text=True)["data"]


def test_input_is_bounded_and_says_what_it_took(host):
    machine = host(vm("a", "say=x"))
    assert refused(machine, INPUT, {"name": "a", "data": "x"}, True) == \
        (smp.BAD_STATE, "VM a is defined: its console takes no input")
    assert refused(machine, INPUT, {"name": "a"}, True)[0] == smp.BAD_VALUE
    assert refused(machine, INPUT, {"name": "a", "data": 5}, True) == \
        (smp.BAD_VALUE, "data takes text or a byte string, not integer")
    machine.smp.write_request(VMS, START, {"name": "a"})
    taken = 0
    for _ in range(20):
        got = machine.smp.write_request(CONSOLES, INPUT, {"name": "a", "data": b"y" * 200})["taken"]
        taken += got
        if got < 200:
            break
    assert 1024 <= taken < 1200 and got < 200
    assert refused(machine, ATTACH, {"name": "nobody"}, True)[0] == smp.NO_ENTRY


def test_flood_on_a_slow_line(host):
    """115200 baud and a guest that prints without end: replies come at once, the flood loses its oldest bytes."""
    machine = host(vm("a", "flood=100000000"), options=("--rate", "11520"))
    machine.smp.write_request(CONSOLES, ATTACH, {"name": "a"})
    machine.smp.write_request(VMS, START, {"name": "a"})
    machine.smp.wait_until(lambda: len(machine.smp.deframer.other) > 20, 10)
    slowest = 0
    for n in range(15):
        began = time.monotonic()
        assert machine.smp.echo("are you there %d" % n, seconds=5)
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 1.0, "a reply waited %.2f s behind console output" % slowest
    seen = [p for p in pushes(machine) if p[0] == 0]
    numbers = [(p[2], len(p[3])) for p in seen]
    assert all(a + n <= b for (a, n), (b, _) in zip(numbers, numbers[1:])), "order"
    assert any(a + n < b for (a, n), (b, _) in zip(numbers, numbers[1:])), "nothing was lost: not a flood"
    pattern = b"0123456789abcdef" * 10
    for push in seen:
        start = push[2] % 16
        assert push[3] == pattern[start : start + len(push[3])]
    machine.smp.write_request(VMS, STOP, {"name": "a"})


def test_long_reply_is_not_interrupted_by_pushes(host):
    machine = host(vm("a", "flood=100000000"), options=("--rate", "40000"))
    machine.smp.write_request(CONSOLES, ATTACH, {"name": "a"})
    machine.smp.write_request(VMS, START, {"name": "a"})
    text = "w" * 6000
    for _ in range(3):
        mark = len(machine.smp.received)
        assert machine.smp.echo(text, seconds=10) == text
        raw = bytes(machine.smp.received)[mark:]
        reply = raw[raw.index(b"\x06\x09"):]
        lines = reply.split(b"\n")
        length = 2 + 2 + 8 + 6 + 6000
        count = -(-length // 93)
        assert all(line[:2] == b"\x04\x14" for line in lines[1:count])


def test_two_consoles_share_the_line(host):
    """While both have something to say, whatever the speed of what prints: it is all there before anybody listens."""
    machine = host(vm("a", "flood=30000") + vm("b", "flood=30000"), options=("--rate", "20000"))
    for name in "ab":
        machine.smp.write_request(VMS, START, {"name": name})
    deadline = time.monotonic() + 30
    while [c["head"] for c in machine.smp.read_request(CONSOLES, LIST)["consoles"][1:]] != [30000, 30000]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for name in "aba":  # once more from its beginning: the line needs seconds for each, and none is done by then
        machine.smp.write_request(CONSOLES, ATTACH, {"name": name, "from": 0})
    before = len([p for p in pushes(machine) if p[0] == 0])

    def order():
        return [p[1] for p in pushes(machine) if p[0] == 0][before:]

    machine.smp.wait_until(lambda: len(order()) >= 40, 30)
    both = order()[:40]
    assert both.count(1) >= 15 and both.count(2) >= 15, both


def test_small_output_is_gathered(host):
    """A guest prints byte by byte: while the line is busy its bytes wait to share one."""
    machine = host(vm("a", "flood=2000"), options=("--rate", "5000"))
    machine.smp.write_request(CONSOLES, ATTACH, {"name": "a"})
    machine.smp.write_request(VMS, START, {"name": "a"})
    machine.smp.wait_until(lambda: len(output(machine, 1)[1]) == 2000, 20)
    assert len([p for p in pushes(machine) if p[0] == 0]) < 40

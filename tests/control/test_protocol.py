# SPDX-License-Identifier: Apache-2.0
"""The wire and the standard groups: framing, versions, errors, what stock clients rely on."""
import time

import cbor2
import pytest
import smp
from smp import OS, SHELL, ENUM, READ, WRITE, V1, V2

IMAGE, STAT, SETTINGS, FILE, SESSION, VMS, CPU, VOLUMES, NET, EVENTS = 1, 2, 3, 8, 64, 65, 67, 68, 69, 71
CONSOLES, INSPECT, TREE, STORE = 72, 74, 76, 77
POLICY = 70


def test_worked_vector(host):
    """The bytes of the protocol's example, to the last one."""
    machine = host()
    machine.smp.send(b"\x06\x09ABQKAAAKAAAqAKFhZGZjb3JiZWzH/A==\n")
    machine.smp.wait_until(lambda: b"\n" in machine.smp.received, 5)
    assert bytes(machine.smp.received) == b"\x06\x09ABQLAAAKAAAqAKFhcmZjb3JiZWyKsg==\n"


@pytest.mark.parametrize("version", [V1, V2])
@pytest.mark.parametrize("op", [READ, WRITE])
def test_echo(host, version, op):
    machine = host()
    for text in ("", "corbel", "\u00fc\u6c34", "x" * 300, "y" * 8000):
        reply = machine.smp.exchange(op, OS, smp.ECHO, {"d": text}, version=version)
        assert reply.version == version
        assert reply.map() == {"r": text}


def test_parameters_and_info(host):
    machine = host()
    assert machine.smp.read_request(OS, smp.PARAMETERS) == {"buf_size": 8192, "buf_count": 1}
    assert machine.smp.read_request(OS, smp.INFO) == {"output": "Corbel"}
    assert machine.smp.read_request(OS, smp.INFO, {"format": "mrs"}) == {"output": "Corbel 0.0-test x86_64"}
    everything = machine.smp.read_request(OS, smp.INFO, {"format": "a"})["output"]
    assert everything == "Corbel corbel 0.0-test 0.0-test host x86_64 fake processor fake Corbel"
    for version, want in ((V1, (3, None)), (V2, (2, OS))):
        with pytest.raises(smp.SmpError) as error:
            machine.smp.read_request(OS, smp.INFO, {"format": "sx"}, version=version)
        assert (error.value.rc, error.value.group) == want


def test_largest_request_and_reply(host):
    machine = host()
    limit = 8192 - 4
    text = "z" * (limit - 8 - 6)  # header; a1 61 64 79 hh hh
    assert len(smp.message(WRITE, OS, 0, {"d": text})) == limit
    assert machine.smp.echo(text) == text
    reply = machine.smp.exchange(WRITE, OS, 0, {"d": text + "z"})
    with pytest.raises(smp.SmpError) as error:
        reply.map()
    assert (error.value.rc, error.value.group) == (smp.NO_MEMORY, None)
    assert "too long" in error.value.text
    assert machine.smp.echo("still there") == "still there"


def test_enumeration(host):
    machine = host()
    groups = [OS, IMAGE, STAT, SETTINGS, FILE, SHELL, ENUM, SESSION, VMS, CPU, VOLUMES, NET, POLICY, EVENTS, CONSOLES, INSPECT, TREE, STORE]
    assert machine.smp.read_request(ENUM, 0) == {"count": len(groups)}
    assert machine.smp.read_request(ENUM, 1) == {"groups": groups}
    for index, group in enumerate(groups):
        want = {"group": group}
        if index == len(groups) - 1:
            want["end"] = True
        assert machine.smp.read_request(ENUM, 2, {"index": index}) == want
    assert machine.smp.read_request(ENUM, 2) == {"group": OS}
    with pytest.raises(smp.SmpError) as error:
        machine.smp.read_request(ENUM, 2, {"index": len(groups)})
    assert (error.value.rc, error.value.group) == (4, ENUM)
    details = machine.smp.read_request(ENUM, 3)["groups"]
    assert [d["group"] for d in details] == groups
    assert all(set(d) == {"group", "name", "handlers"} for d in details)
    some = machine.smp.read_request(ENUM, 3, {"groups": [VMS, 9999, OS]})["groups"]
    assert [d["group"] for d in some] == [OS, VMS]
    with pytest.raises(smp.SmpError) as error:
        machine.smp.read_request(ENUM, 3, {"groups": list(range(20))})
    assert (error.value.rc, error.value.group) == (2, ENUM)


@pytest.mark.parametrize("version", [V1, V2])
def test_trouble_with_the_protocol_is_a_plain_rc(host, version):
    machine = host()
    cases = [
        ((READ, 4711, 0, {}), smp.NOT_SUPPORTED),
        ((READ, OS, 99, {}), smp.NOT_SUPPORTED),
        ((WRITE, OS, smp.PARAMETERS, {}), smp.NOT_SUPPORTED),
        ((READ, OS, smp.RESET, {}), smp.NOT_SUPPORTED),
        ((READ, OS, smp.ECHO, b"\xa1\x61"), smp.BAD_VALUE),
        ((READ, OS, smp.ECHO, b"\x80"), smp.BAD_VALUE),
        ((READ, OS, smp.ECHO, b"\xa0\xa0"), smp.BAD_VALUE),
        ((READ, OS, smp.ECHO, b"\xa1\x61d\xff"), smp.BAD_VALUE),
        ((READ, OS, smp.ECHO, {"d": 5}), smp.BAD_VALUE),
        ((READ, OS, smp.ECHO, {}), smp.BAD_VALUE),
        ((READ, VMS, 0, b"\x9f\x9f"), smp.BAD_VALUE),
    ]
    for request, rc in cases:
        with pytest.raises(smp.SmpError) as error:
            machine.smp.exchange(*request, version=version).map()
        assert (error.value.rc, error.value.group) == (rc, None), request
        assert error.value.text


def test_errors_of_our_groups(host):
    machine = host()
    reply = machine.smp.exchange(READ, VMS, 7, {"name": "nobody"}, version=V2)
    assert cbor2.loads(reply.payload) == {"err": {"group": VMS, "rc": smp.NO_ENTRY},
                                          "rsn": "there is no VM called nobody"}
    reply = machine.smp.exchange(READ, VMS, 7, {"name": "nobody"}, version=V1)
    assert cbor2.loads(reply.payload) == {"rc": smp.NO_ENTRY, "rsn": "there is no VM called nobody"}
    for arguments, rc, text in [
        ({}, smp.BAD_VALUE, "info needs either name or id"),
        ({"name": "a", "id": 1}, smp.BAD_VALUE, "info needs either name or id"),
        ({"name": 5}, smp.BAD_VALUE, "name takes text, not integer"),
        ({"id": -1}, smp.BAD_VALUE, "id takes a whole number, not negative integer"),
        ({"id": 1 << 40}, smp.NO_ENTRY, "there is no VM with id 1099511627776"),
        ({"id": 0}, smp.NO_ENTRY, "there is no VM with id 0"),
        ({"name": "a\x1b[2J\u00fc"}, smp.NO_ENTRY, "there is no VM called a?[2J??"),
        ({"nome": "a"}, smp.BAD_VALUE, "info takes no argument nome"),
        ({5: "a"}, smp.BAD_VALUE, "an argument's name is integer, not text"),
        ({"name": "x" * 500}, smp.NO_ENTRY, "there is no VM called " + "x" * 39),
    ]:
        with pytest.raises(smp.SmpError) as error:
            machine.smp.read_request(VMS, 7, arguments)
        assert (error.value.rc, error.value.group, error.value.text) == (rc, VMS, text)
    twice = b"\xa2\x64name\x61a\x64name\x61b"
    with pytest.raises(smp.SmpError) as error:
        machine.smp.read_request(VMS, 7, twice)
    assert error.value.text == "name is given twice"


def test_indefinite_lengths_and_absent_payloads(host):
    """What other clients send: AuTerm opens maps without a count, some send no payload at all."""
    machine = host()
    assert machine.smp.read_request(OS, smp.ECHO, b"\xbf\x61d\x63abc\xff") == {"r": "abc"}
    assert machine.smp.read_request(OS, smp.PARAMETERS, b"")["buf_count"] == 1
    assert machine.smp.read_request(OS, smp.ECHO, {"d": "x", "unknown": [1, {"a": 2}]}) == {"r": "x"}


@pytest.mark.parametrize("version", [2, 3])
def test_newer_versions_are_refused(host, version):
    machine = host()
    machine.smp.send(smp.frame(smp.message(READ, OS, smp.ECHO, {"d": "x"}, 7, version)))
    reply = machine.smp.next_frame(5)
    assert (reply.version, reply.sequence) == (V2, 7)
    assert cbor2.loads(reply.payload)["rc"] == smp.TOO_NEW


def test_damaged_frames_are_dropped_and_the_next_one_answered(host):
    machine = host()
    good = smp.message(READ, OS, smp.ECHO, {"d": "x" * 200}, 1)
    lines = smp.frame(good).splitlines(keepends=True)
    assert len(lines) > 2
    damaged = [
        smp.frame(good, crc=smp.crc16(good) ^ 1),
        smp.frame(good, length=len(good) + 3)[:-1],              # states more than it has, and is cut
        smp.frame(good, length=len(good) - 7),
        lines[0] + lines[2],                                     # a line is missing
        lines[1] + lines[2],                                     # the first is
        lines[0][:50] + b"\n",
        lines[0][:50],
        b"\x06\x09" + b"!" * 40 + b"\n",
        b"\x06\x09\n",
        b"noise \x00\xff\x06\x04\x05 more\r\n",
        b"\x06\x09" * 100,
        b"A" * 20000 + b"\n",
    ]
    for piece in damaged:
        machine.smp.send(piece)
        assert machine.smp.echo("after") == "after", piece
    assert not machine.smp.deframer.frames
    counts = machine.smp.read_request(INSPECT, 0)["line"]
    assert counts["dropped"] >= 8 and counts["frames"] == len(damaged) + 1
    machine.wait_for(b"dropped a frame: its checksum is wrong")


def test_replies_and_nonsense_are_not_answered(host):
    machine = host()
    for op in (1, 3, 4, 5, 6, 7):
        machine.smp.send(smp.frame(smp.message(op, OS, smp.ECHO, {"d": "x"}, 9)))
    machine.smp.send(smp.frame(b"short"))
    machine.smp.send(smp.frame(b""))
    assert machine.smp.echo("only this") == "only this"
    assert not machine.smp.deframer.frames


def test_length_in_the_header_must_be_right(host):
    machine = host()
    for delta in (-1, 1, 100):
        body = bytearray(smp.message(READ, OS, smp.ECHO, {"d": "x"}, 3))
        body[3] += delta
        machine.smp.send(smp.frame(bytes(body)))
        assert cbor2.loads(machine.smp.next_frame(5).payload)["rc"] == smp.CORRUPT


def test_requests_in_a_row_are_answered_in_order(host):
    machine = host()
    count = 40
    machine.smp.send(b"".join(smp.frame(smp.message(READ, OS, smp.ECHO, {"d": str(n)}, n)) for n in range(count)))
    for n in range(count):
        reply = machine.smp.next_frame(10)
        assert (reply.sequence, reply.map()) == (n, {"r": str(n)})


def test_reset_answers_first(host):
    machine = host()
    assert machine.smp.write_request(OS, smp.RESET) == {}
    machine.wait_for("reset")
    assert machine.process.wait(10) == 42


def test_host_and_check(host):
    machine = host()
    info = machine.smp.read_request(INSPECT, 0)
    assert info["version"] == "0.0-test" and info["engine"] == "fake" and info["uptime_ns"] > 0
    memory = info["memory"]
    assert sum(memory[k] for k in ("free", "host", "guest", "shared", "leaving")) <= 64 << 20
    assert info["facts"] == {"board": "fake", "mitigations": "off: there is no silicon"}
    assert machine.smp.read_request(INSPECT, 1) == {"checked": True}


def test_line_survives_a_client_that_leaves(host):
    machine = host()
    line = machine.connect()
    line.sendall(b"\x06\x09ABQKAAAK")
    line.close()
    time.sleep(0.1)
    assert machine.smp.echo("x") == "x"

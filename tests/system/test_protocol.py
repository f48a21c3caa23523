# SPDX-License-Identifier: Apache-2.0
"""The management line against the protocol's text: what a stock SMP client relies on, and bad input.

One machine for all of it, and most tests end with an echo: whatever was sent, the next good request
is answered.
"""
import random

import cbor2
import conftest
import pytest
import smp


@pytest.fixture(scope="module")
def machine(boot_shared):
    return boot_shared(store=conftest.EMPTY)


@pytest.fixture
def line(machine):
    client = machine.smp
    yield client
    assert client.echo("still there") == "still there"


def refused(line, rc, op, group, command, payload, **more):
    with pytest.raises(smp.SmpError) as caught:
        line.exchange(op, group, command, payload, **more).map()
    assert caught.value.rc == rc, caught.value
    return caught.value


def silent(line, data, seconds=2):
    """Sends @data, which must not be answered."""
    line.send(data)
    with pytest.raises(smp.NoAnswer):
        line.next_frame(seconds)


def test_worked_vector_byte_for_byte(line):
    start = len(line.received)
    line.send(b"\x06\x09ABQKAAAKAAAqAKFhZGZjb3JiZWzH/A==\n")
    line.next_frame()
    assert b"\x06\x09ABQLAAAKAAAqAKFhcmZjb3JiZWyKsg==\n" in line.received[start:]


@pytest.mark.parametrize("version", [smp.V1, smp.V2])
def test_answers_in_the_version_of_the_request(line, version):
    reply = line.exchange(smp.WRITE, smp.OS, smp.ECHO, {"d": "x"}, version=version)
    assert reply.version == version
    # exactly the documented key: a stock client refuses others
    assert reply.map() == {"r": "x"}


@pytest.mark.parametrize("text", ["", "a", "Grüße, 世界", "x" * 23, "x" * 24, "x" * 255, "x" * 256, "x" * 1000])
def test_echo(line, text):
    assert line.echo(text) == text


def test_parameters_are_true(line):
    parameters = line.read_request(smp.OS, smp.PARAMETERS)
    assert set(parameters) == {"buf_size", "buf_count"}
    assert parameters["buf_size"] >= 1024 and parameters["buf_count"] >= 1
    # the largest body is the buffer less length and checksum
    largest = parameters["buf_size"] - 4
    text = "x" * (largest - 8 - len(cbor2.dumps({"d": "x" * (largest - 20)})) + (largest - 20))
    assert len(smp.message(smp.WRITE, smp.OS, smp.ECHO, {"d": text})) == largest
    assert line.echo(text, seconds=60) == text


def test_too_large_a_request_is_not_taken_for_another(line):
    size = line.read_request(smp.OS, smp.PARAMETERS)["buf_size"]
    body = smp.message(smp.WRITE, smp.OS, smp.ECHO, {"d": "x" * size}, sequence=200)
    line.send(smp.frame(body))
    try:
        with pytest.raises(smp.SmpError):
            line.next_frame(10).map()
    except smp.NoAnswer:
        pass


def test_info_names_the_product(line):
    answer = line.read_request(smp.OS, smp.INFO)
    assert set(answer) == {"output"} and "Corbel" in answer["output"]
    everything = line.read_request(smp.OS, smp.INFO, {"format": "a"})["output"]
    assert len(everything) > len(answer["output"])
    with pytest.raises(smp.SmpError):
        line.read_request(smp.OS, smp.INFO, {"format": "!"})


def test_enumeration_names_each_group(line):
    count = line.read_request(smp.ENUM, 0)["count"]
    groups = line.read_request(smp.ENUM, 1)["groups"]
    assert len(groups) == count and len(set(groups)) == count
    assert {smp.OS, smp.SHELL, smp.ENUM} <= set(groups)
    assert any(group >= 64 for group in groups)


def test_unknown_groups_and_commands(line):
    refused(line, smp.NOT_SUPPORTED, smp.READ, 63, 0, {})
    refused(line, smp.NOT_SUPPORTED, smp.READ, 0xFFFF, 0, {})
    refused(line, smp.NOT_SUPPORTED, smp.READ, smp.OS, 200, {})
    refused(line, smp.NOT_SUPPORTED, smp.READ, smp.OS, smp.RESET, {})


@pytest.mark.parametrize("version", [2, 3])
def test_versions_to_come(line, version):
    refused(line, smp.TOO_NEW, smp.WRITE, smp.OS, smp.ECHO, {"d": "x"}, version=version)


@pytest.mark.parametrize("payload", [
    b"", b"\xff", b"\xa1", b"\xa1\x61", b"\xa1\x61d", b"\xa1\x61d\x7a\xff\xff\xff\xff", b"\x80", b"\x00", b"\xf6",
    b"\xa1\x61d\x1c", b"\xbf\x61d\x61x", b"\x81" * 200, b"\xa1\x61d" * 100, b"\xa1\x61d\x61\xff",
    cbor2.dumps({"d": 1}), cbor2.dumps({"d": None}), cbor2.dumps({"d": ["x"]}), cbor2.dumps({"x": "d"}),
    cbor2.dumps({"d": b"bytes"}), cbor2.dumps(["d", "x"]), cbor2.dumps({1: "x"}), cbor2.dumps({"d": "x"}) + b"\0",
], ids=lambda payload: payload[:12].hex() or "none")
def test_wrong_cbor_and_wrong_types(line, payload):
    refused(line, smp.BAD_VALUE, smp.WRITE, smp.OS, smp.ECHO, payload)


def test_wrong_checksum_and_length_are_not_answered(line):
    body = smp.message(smp.WRITE, smp.OS, smp.ECHO, {"d": "x"})
    silent(line, smp.frame(body, crc=0xBAD0))
    silent(line, smp.frame(body, length=len(body) + 1))
    silent(line, smp.frame(body, length=2))
    silent(line, smp.frame(body[:7]))


def test_a_frame_cut_short_spoils_nothing_after_it(line):
    whole = smp.frame(smp.message(smp.WRITE, smp.OS, smp.ECHO, {"d": "x" * 400}, sequence=9))
    first, rest = whole[:126], whole[126:]
    silent(line, first)
    assert line.echo("between") == "between"
    silent(line, rest)
    silent(line, b"\x06\x09")
    silent(line, b"\n")


@pytest.mark.parametrize("noise", [
    b"hello\n", b"\n\n\n", b"\x04\x14AAAA\n", b"\x06\x09\n", b"\x06\x09!!!!\n", b"\x06\x09AAA=AAAA\n", b"\x00" * 300 + b"\n",
    b"\xff" * 2000 + b"\n", b"\x06" * 500 + b"\n", b"\x06\x09" + b"A" * 5000 + b"\n", b"\x06\x09//8=\n",
], ids=lambda noise: noise[:10].hex())
def test_noise(line, noise):
    silent(line, noise, seconds=1)


def test_random_bodies(line):
    """Headers with right checksums and random contents: each is refused or answered, none hurts."""
    numbers = random.Random(1)
    for _ in range(150):
        payload = numbers.randbytes(numbers.randrange(60))
        group = numbers.choice([smp.STAT, smp.SHELL, smp.ENUM, 1, 3, 8, 63, 64, 65, 66, 72, 1000])
        body = smp.message(numbers.randrange(4), group, numbers.randrange(8), payload, numbers.randrange(256))
        line.send(smp.frame(body))
    while True:
        try:
            line.next_frame(3)
        except smp.NoAnswer:
            break


def test_two_requests_at_once(line):
    first = smp.message(smp.WRITE, smp.OS, smp.ECHO, {"d": "one"}, sequence=101)
    second = smp.message(smp.WRITE, smp.OS, smp.ECHO, {"d": "two"}, sequence=102)
    line.send(smp.frame(first) + smp.frame(second))
    replies = [line.next_frame(), line.next_frame()]
    assert [(r.sequence, r.map()["r"]) for r in replies] == [(101, "one"), (102, "two")]


def test_same_sequence_twice(line):
    """A client that restarts begins its sequence anew."""
    body = smp.frame(smp.message(smp.WRITE, smp.OS, smp.ECHO, {"d": "x"}, sequence=5))
    for _ in range(2):
        line.send(body)
        assert line.next_frame().map() == {"r": "x"}

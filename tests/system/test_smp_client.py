# SPDX-License-Identifier: Apache-2.0
"""The tests' own SMP client against the protocol's published values, without any machine."""
import cbor2
import pytest

import smp

BODY = bytes.fromhex("0a00000a00002a00a16164") + b"\x66corbel"
WIRE = b"\x06\x09ABQKAAAKAAAqAKFhZGZjb3JiZWzH/A==\n"
REPLY_WIRE = b"\x06\x09ABQLAAAKAAAqAKFhcmZjb3JiZWyKsg==\n"


def test_checksum_of_the_standard_text():
    assert smp.crc16(b"123456789") == 0x31C3


def test_worked_vector():
    body = smp.message(smp.WRITE, smp.OS, smp.ECHO, {"d": "corbel"}, sequence=0x2A)
    assert body == BODY
    assert smp.frame(body) == WIRE


def test_reply_of_the_worked_vector_in_any_pieces():
    for size in range(1, len(REPLY_WIRE) + 1):
        deframer = smp.Deframer()
        for at in range(0, len(REPLY_WIRE), size):
            deframer.feed(REPLY_WIRE[at : at + size])
        assert len(deframer.frames) == 1 and not deframer.damaged and not deframer.other
        reply = smp.Reply(deframer.frames[0])
        assert (reply.op, reply.version, reply.sequence) == (smp.WRITE_REPLY, smp.V2, 0x2A)
        assert reply.map() == {"r": "corbel"}


def test_long_frames_are_cut_and_joined():
    body = smp.message(smp.WRITE, 64, 1, {"d": bytes(range(256)) * 4})
    wire = smp.frame(body)
    lines = wire.split(b"\n")[:-1]
    assert all(len(line) <= 126 for line in lines)
    assert lines[0].startswith(smp.START) and all(line.startswith(smp.CONTINUE) for line in lines[1:])
    # padding only at the very end, for clients that decode line by line
    assert all(b"=" not in line for line in lines[:-1])
    deframer = smp.Deframer()
    deframer.feed(b"some text\n" + wire[:200] + wire[200:])
    assert deframer.frames == [body] and deframer.other == [b"some text"]


def test_damage_is_noticed():
    for wrong in (smp.frame(BODY, crc=0), smp.frame(BODY, length=len(BODY)), b"\x06\x09A!QK\n"):
        deframer = smp.Deframer()
        deframer.feed(wrong)
        assert not deframer.frames and len(deframer.damaged) == 1


def test_both_ways_of_an_error():
    def reply(version, payload):
        data = cbor2.dumps(payload)
        return smp.Reply(smp.header(smp.READ_REPLY, 65, 0, 1, len(data), version) + data)

    with pytest.raises(smp.SmpError) as caught:
        reply(smp.V2, {"err": {"group": 65, "rc": 3}}).map()
    assert (caught.value.group, caught.value.rc) == (65, 3)
    for version in (smp.V1, smp.V2):
        with pytest.raises(smp.SmpError) as caught:
            reply(version, {"rc": 8, "rsn": "no such group"}).map()
        assert (caught.value.group, caught.value.rc, caught.value.text) == (None, 8, "no such group")
    with pytest.raises(AssertionError):
        reply(smp.V1, {"err": {"group": 65, "rc": 3}}).map()
    assert reply(smp.V1, {}).map() == {}

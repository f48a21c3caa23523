# SPDX-License-Identifier: Apache-2.0
"""Every command with every field missing, doubled, of each wrong type and out of range; broken CBOR; floods.

The commands and their fields are those of docs/protocol.cddl: a command that is added there is swept too. Each
request has one answer, each refusal a sentence, and the machine carries on.
"""
import cbor2
import checked
import cddl
import pytest
import smp
from checked import COMMANDS, SCHEMA
from conftest import vm
from smp import READ, WRITE

OS, RESET = 0, 5
EVERY = sorted((group, command) for group, (_, commands) in COMMANDS.items() for command in commands
               if (group, command) != (OS, RESET))

VALUES = [0, 1, -1, 2 ** 31, 2 ** 32, 2 ** 63, 2 ** 64 - 1, -2 ** 63, "", "a", "x" * 4000, "\x00", "\x1b[2J", "\u00e4\U0001f600",
          b"", b"\xff" * 100, True, False, None, 1.5, float("nan"), [], [[]], [1, "a"], {}, {"a": 1}, {1: 2},
          cbor2.CBORTag(1, 0), cbor2.undefined, cbor2.CBORSimpleValue(99)]


def members(kind):
    """The fields that a request's rule knows, by name, with all the types that they may have."""
    while kind[0] == "name" and kind[1] in SCHEMA.rules:
        kind = SCHEMA.rules[kind[1]]
    if kind[0] == "choice":
        found = {}
        for one in kind[1]:
            for key, types in members(one).items():
                found.setdefault(key, []).extend(types)
        return found
    return {key: [member[1]] for key, member in kind[1].items()} if kind[0] == "map" else {}


def example(kind):
    """A value of the type: the first of VALUES that the schema takes."""
    return next((v for v in ["a", 1, b"x", True, [], {}] + VALUES if SCHEMA.fault(kind, v, "") is None), None)


def operations(client, group, command):
    found = []
    for op in (READ, WRITE):
        answer = cbor2.loads(smp.Client.exchange(client, op, group, command, {"\x00": 0}).payload)
        text = answer.get("rsn", "")
        if answer.get("rc") != smp.NOT_SUPPORTED or not text.endswith((" request", "request")):
            found.append(op)
    return found


def ask(client, op, group, command, payload):
    """The answer, which must be a failure with a sentence or a success."""
    reply = smp.Client.exchange(client, op, group, command, payload, version=smp.V1)
    answer = cbor2.loads(reply.payload)
    if answer.get("rc", 0):
        SCHEMA.check("failure", answer)
        assert answer.get("rsn"), "a refusal without a sentence: %r" % answer
        assert answer["rsn"].isascii() and answer["rsn"].isprintable(), answer
    return answer


def doubled(key, value):
    pair = cbor2.dumps(key) + cbor2.dumps(value)
    return b"\xa2" + pair + pair


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """One machine for the whole sweep: it must survive all of it."""
    import conftest
    import mkcpio
    path = tmp_path_factory.mktemp("sweep") / "store.cpio"
    with open(path, "wb") as out:
        cpio = mkcpio.Cpio(out)
        cpio.entry("scripts/boot.lua", 0o100644, (vm("a", "echo", more="autostart = true") + vm("b")).encode())
        cpio.entry("kernel", 0o100644, conftest.kernel())
        cpio.close()
    machine = conftest.Host(str(path), "", ())
    yield machine
    assert machine.smp.echo("alive") == "alive"
    machine.close()
    assert machine.process.returncode == 0, machine.log.decode(errors="replace")[-3000:]


@pytest.mark.parametrize("group,command", EVERY, ids=[checked.rule(*e) for e in EVERY])
def test_fields(swept, group, command):
    client = swept.smp
    fields = members(("name", checked.rule(group, command) + "-request"))
    ops = operations(client, group, command)
    assert ops, "neither a read nor a write"
    for op in ops:
        base = {key: example(kinds[0]) for key, kinds in fields.items()}
        for key, kinds in fields.items():
            ask(client, op, group, command, {k: v for k, v in base.items() if k != key})
            answer = ask(client, op, group, command, doubled(key, base[key]))
            assert answer.get("rc") in (smp.BAD_VALUE, smp.DENIED), "%s may be doubled: %r" % (key, answer)
            for value in VALUES:
                allowed = any(SCHEMA.fault(kind, value, "") is None for kind in kinds)
                answer = ask(client, op, group, command, dict(base, **{key: value}))
                alone = ask(client, op, group, command, {key: value})
                assert allowed or answer.get("rc"), "%s takes %r" % (key, value)
                assert allowed or alone.get("rc"), "%s takes %r" % (key, value)
        if group >= 64:
            assert "takes no argument" in ask(client, op, group, command, {"frobnicate": 1})["rsn"]
    assert client.echo("x") == "x"


def test_broken_cbor(swept):
    client = swept.smp
    nested = b"\x81" * 1000 + b"\x00"
    cases = [b"\xa1\x61d" + nested, nested, b"\xa1\x61d" + b"\xa1\x61a" * 1000 + b"\x00", b"\xbf\x61d\x61a", b"\xbf\x61d\xff",
             b"\xa1\x61d\x7f\x61a\xff", b"\xa1\x61d\x5f\x41a\xff", b"\xa1\x61d\x7b" + b"\xff" * 8, b"\xbb" + b"\xff" * 8,
             b"\x9b" + b"\xff" * 8, b"\xa1\x61d\x1c", b"\xa1\x61d\x62\xc3\x28", b"\xff", b"\x00", b"\xf6", b"\xa2\x61d\x61a",
             b"\xa1\x61d\xfb\x00", b"\xa1\x61d\xf8\x00", b"\xc1" * 100 + b"\x00"]
    for payload in cases:
        for group, command, op in ((0, 0, READ), (8, 0, WRITE), (71, 0, READ), (1, 1, WRITE)):
            answer = ask(client, op, group, command, payload)
            assert answer.get("rc") in (smp.BAD_VALUE, smp.CORRUPT, smp.DENIED), (payload[:20], answer)


def test_requests_cut_at_every_byte(swept):
    """The payload of a large request cut anywhere, in a frame that is right."""
    client = swept.smp
    for op, group, command, payload in ((WRITE, 8, 0, {"off": 0, "name": "cut", "data": b"x" * 30, "len": 30}),
                                        (READ, 71, 0, {"from": 0, "kinds": ["vm", "login"], "max": 5, "wait": 0}),
                                        (WRITE, 1, 1, {"off": 0, "data": b"x" * 30, "len": 300, "sha": bytes(32)})):
        data = cbor2.dumps(payload)
        for cut in range(1, len(data)):
            assert ask(client, op, group, command, data[:cut]).get("rc") == smp.BAD_VALUE, cut
    answer = smp.Client.exchange(client, READ, 77, 0, {"prefix": "cut"}).map()
    assert answer == {"files": []}


def test_a_flood(swept):
    """More than the line's input holds, at once: what found no room is counted, and the next request is answered."""
    client = swept.smp
    before = client.read_request(74, 0)["line"]
    one = smp.frame(smp.message(READ, OS, 0, {"d": "x" * 500}, 9))
    client.send(one * 300 + b"\x06\x09" * 3000 + bytes(range(256)) * 100 + b"\n")
    answers = 0
    while True:
        try:
            client.next_frame(1.5)
            answers += 1
        except smp.NoAnswer:
            break
    assert 0 < answers <= 300
    assert client.echo("after") == "after"
    after = client.read_request(74, 0)["line"]
    assert after["dropped"] > before["dropped"] or after["lost"] > before["lost"]


def test_the_sweep_can_fail():
    assert set(members(("name", "vm-info-request"))) == {"name", "id"}
    assert members(("name", "events-read-request"))["wait"] == [("range", 0, 1900)]
    assert example(("range", 0, 1900)) == 1
    assert isinstance(SCHEMA, cddl.Schema)

# SPDX-License-Identifier: Apache-2.0
"""Groups 2, 3 and 76 under bad input: every field missing, doubled, of each wrong type, and cut at every byte."""
import cbor2
import pytest
import smp
from conftest import vm
from smp import READ, WRITE
from test_tree import TREE, pages

TYPES = {"number": 5, "negative": -5, "text": "x", "bytes": b"x", "flag": True, "nothing": None, "array": [],
         "map": {}, "float": 1.5}

# (op, group, command, a request that is right, what of it is needed, types that each field takes)
COMMANDS = [
    (READ, 2, 0, {"name": "host"}, {"name"}, {"name": {"text"}}),
    (READ, 3, 0, {"name": "log.level", "max_size": 40}, {"name"}, {"name": {"text"}, "max_size": {"number"}}),
    (WRITE, 3, 0, {"name": "log.level", "val": b"warn"}, {"name", "val"}, {"name": {"text"}, "val": {"text", "bytes"}}),
    (WRITE, 3, 1, {"name": "log.level"}, {"name"}, {"name": {"text"}}),
    (WRITE, 3, 3, {"name": "log"}, set(), {"name": {"text"}}),
    (READ, 76, 0, {"prefix": "host", "settings": True, "changed": False, "after": 0, "max": 2}, set(),
     {"prefix": {"text"}, "settings": {"flag"}, "changed": {"flag"}, "after": {"number"}, "max": {"number"}}),
    (READ, 76, 1, {"path": "host.mem.free"}, {"path"}, {"path": {"text"}}),
    (WRITE, 76, 2, {"path": "log.level", "value": "warn", "why": "x", "for_ns": 10 ** 9}, {"path", "value"},
     {"path": {"text"}, "value": {"text", "bytes"}, "why": {"text"}, "for_ns": {"number"}}),
    (WRITE, 76, 3, {"path": "log.level"}, {"path"}, {"path": {"text"}}),
    (READ, 76, 4, {"path": "log.level"}, {"path"}, {"path": {"text"}}),
    (READ, 76, 5, {"after": 0}, set(), {"after": {"number"}}),
    (READ, 76, 6, {"group": "vm", "after": 0}, set(), {"group": {"text"}, "after": {"number"}}),
]


def encode(pairs):
    return bytes([0xA0 + len(pairs)]) + b"".join(cbor2.dumps(k) + cbor2.dumps(v) for k, v in pairs)


def outcome(machine, op, group, command, payload):
    """"done", or the code of the refusal."""
    try:
        machine.smp.exchange(op, group, command, payload).map()
    except smp.SmpError as error:
        return error.rc
    return "done"


def settings(machine):
    return pages(machine, 0, "items", {"settings": True})[0]


@pytest.mark.parametrize("op,group,command,good,needed,types", COMMANDS, ids=lambda v: str(v) if type(v) is int else "")
def test_bad_fields(host, op, group, command, good, needed, types):
    machine = host(vm("a"))
    before = settings(machine)
    pairs = list(good.items())
    for key in good:
        rest = [p for p in pairs if p[0] != key]
        if key in needed:
            assert outcome(machine, op, group, command, encode(rest)) == smp.BAD_VALUE, "without %s" % key
        assert outcome(machine, op, group, command, encode(pairs + [(key, good[key])])) == smp.BAD_VALUE, key
        for name, value in TYPES.items():
            if name not in types[key]:
                got = outcome(machine, op, group, command, encode(rest + [(key, value)]))
                assert got == smp.BAD_VALUE, (key, name, got)
    assert settings(machine) == before, "a refused request changed something"
    unknown = outcome(machine, op, group, command, encode(pairs + [("zz", 1)]))
    assert unknown == (smp.BAD_VALUE if group >= 64 else "done")
    assert outcome(machine, op, group, command, encode(pairs)) == "done"


@pytest.mark.parametrize("op,group,command,good,needed,types", COMMANDS, ids=lambda v: str(v) if type(v) is int else "")
def test_payloads_that_are_cut_or_worse(host, op, group, command, good, needed, types):
    machine = host(vm("a"))
    before = settings(machine)
    whole = encode(list(good.items()))
    for cut in range(1, len(whole)):
        assert outcome(machine, op, group, command, whole[:cut]) == smp.BAD_VALUE, cut
    key = cbor2.dumps(next(iter(good)))
    nested = key + b"\x81" * 1000 + b"\x00"
    too_long = key + b"\x7b" + b"\xff" * 8
    chunked = key + b"\x7f\x61x\xff"
    for content in (nested, too_long, chunked):
        assert outcome(machine, op, group, command, b"\xa1" + content) == smp.BAD_VALUE
        assert outcome(machine, op, group, command, b"\xbf" + content + b"\xff") == smp.BAD_VALUE
    assert outcome(machine, op, group, command, b"\xbf" + whole[1:] + b"\xff") == "done"  # no stated length is fine
    if op == READ:
        assert settings(machine) == before


def test_the_list_is_whole(host):
    """Every command that takes an argument is above."""
    machine = host()
    have = {(g, c) for _, g, c, *_ in COMMANDS}
    for group in (2, 3, TREE):
        handlers = machine.smp.read_request(10, 3, {"groups": [group]})["groups"][0]["handlers"]
        without = {(2, 1), (3, 2)}
        assert {(group, c) for c in range(handlers)} - without <= have

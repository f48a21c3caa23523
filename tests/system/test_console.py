# SPDX-License-Identifier: Apache-2.0
"""Consoles: both directions, what was printed before anyone looked, what is pushed live, what is lost
when nobody reads, and guests that print what looks like the management protocol.
"""
import re
import time

import conftest
import pytest
import smp
import vms

RING = 64 * vms.KIB
LEGAL_PUSHES = {smp.OUTPUT, smp.CLOSED, smp.STATE}
WORKED_REPLY = b"ABQLAAAKAAAqAKFhcmZjb3JiZWyKsg=="


@pytest.fixture(scope="module")
def machine(boot_shared):
    store = {"scripts/boot.lua": vms.guest("witness", "echo", more="autostart = true"),
             **conftest.guest_files("echo", "idle", "chatter", "forge", "triple", "hello", "spin")}
    return boot_shared(store=store, megs=96)


@pytest.fixture
def operator(machine):
    operator = machine.operator
    operator.wait_output("witness", rb"echo: ready")
    yield operator
    operator.clear(keep=["witness"])
    answers(operator, "witness")
    for name in operator.consoles():
        operator.detach(name)
    assert_line_is_clean(operator.client)


def assert_line_is_clean(client):
    """Frames that were asked for, and pushed lines of the legal kinds: nothing else was ever on the line."""
    assert not client.deframer.damaged and not client.deframer.frames
    for line in client.deframer.other:
        assert smp.pushed(line)[0] in LEGAL_PUSHES


def answers(operator, name, text=b"are you there", seconds=30):
    head = operator.head(name)
    operator.type(name, text + b"\n")
    return operator.wait_output(name, b"echo: " + re.escape(text), seconds, head)


def chatter(start, end):
    """Bytes @start to @end of what the chattering guest prints, whatever their line."""
    text, line, at = b"", 0, 0
    for digits in range(1, 12):
        size, count = len("chatter: line \r\n") + digits, 9 * 10 ** (digits - 1) + (digits == 1)
        if start < at + size * count:
            line += (start - at) // size
            at += (start - at) // size * size
            break
        line, at = line + count, at + size * count
    first = at
    while first + len(text) < end:
        text += b"chatter: line %d\r\n" % line
        line += 1
    return text[start - first : end - first]


def test_the_expected_stream_is_what_it_says():
    whole = b"".join(b"chatter: line %d\r\n" % line for line in range(2000))
    for start in (0, 1, 169, 170, 171, 1699, 1700, 1789, 1790, 1791, 19_000, 20_000):
        assert chatter(start, start + 500) == whole[start : start + 500]


# ---- both ways ----

def test_typed_lines_come_back(operator):
    for text in (b"a", b"x" * 200, bytes(range(0x20, 0x7F)), bytes(range(0x80, 0x100))):
        answers(operator, "witness", text)


@pytest.mark.parametrize("word", ["", "poll"])
def test_reading_by_interrupt_and_by_polling(operator, word):
    operator.define(vms.guest("e", "echo", cmdline=word))
    operator.start("e")
    operator.wait_output("e", rb"echo: ready")
    operator.type("e", b"".join(b"line %d\n" % number for number in range(300)))
    operator.wait_output("e", rb"echo: line 299")
    lines = operator.output("e").split(b"\r\n")
    assert lines[1:301] == [b"echo: line %d" % number for number in range(300)]
    operator.type("e", b"quit\n")
    info = operator.wait_state("e", vms.ENDED)
    assert info["exit_code"] == vms.PASS, operator.output("e")


def test_input_nobody_reads_is_refused_when_its_store_is_full(operator):
    operator.define(vms.guest("deaf", "idle"))
    operator.start("deaf")
    operator.wait_output("deaf", rb"idle: halted")
    taken, total = None, 0
    while taken != 0:
        taken = operator.client.write_request(vms.CONSOLE, vms.CONSOLE_INPUT, {"name": "deaf", "data": b"y" * 700})["taken"]
        total += taken
        assert total < 10_000
    assert 500 <= total <= 2 * vms.KIB
    assert operator.state("deaf") == "running"


# ---- reading afterwards ----

def test_what_was_printed_before_anyone_looked(operator):
    _, console = operator.run(vms.guest("h", "hello", cmdline="of old"))
    assert console.startswith("hello: by multiboot") and "command line [of old]" in console
    text = operator.output("h")
    # by pieces of any size the same bytes come
    for size in (1, 7, 50):
        at, pieces = 0, b""
        while at < min(len(text), 60):
            answer = operator.read("h", **{"from": at, "max": size})
            assert answer["seq"] == at and answer["next"] == at + len(answer["data"])
            pieces, at = pieces + answer["data"], answer["next"]
        assert pieces == text[: len(pieces)] and len(pieces) >= min(len(text), 60)
    assert operator.read("h", last=5)["data"] == text[-5:]
    past = operator.read("h", **{"from": len(text) + 1000})
    assert past["data"] == b"" and past["head"] == len(text)
    # a stopped VM's console is to be read, not to be typed into
    with pytest.raises(smp.SmpError) as caught:
        operator.type("h", b"x")
    assert caught.value.rc == smp.BAD_STATE and "VM h is stopped" in caught.value.text


def test_console_goes_on_over_a_restart(operator):
    operator.run(vms.guest("h", "hello"))
    first = operator.output("h")
    operator.start("h")
    operator.wait_state("h", vms.ENDED)
    assert operator.output("h") == first + first


def test_the_log_is_a_console_too(machine, operator):
    listed = operator.consoles()
    assert set(listed) == {"corbel", "witness"} and listed["corbel"]["id"] == 0
    text = operator.output("corbel").decode()
    assert "VM witness: started" in text
    log = machine.log.text().replace("\r", "")
    assert text.splitlines()[:20] == log.splitlines()[:20]
    with pytest.raises(smp.SmpError) as caught:
        operator.type("corbel", b"x")
    assert caught.value.rc == smp.NOT_SUPPORTED


@pytest.mark.parametrize("command, write, arguments", [
    (vms.CONSOLE_READ, False, {"name": "witness", "from": 0, "last": 1}),
    (vms.CONSOLE_READ, False, {"name": "witness", "max": 0}),
    (vms.CONSOLE_READ, False, {"name": "witness", "from": "0"}),
    (vms.CONSOLE_READ, False, {"name": "witness", "from": -1}),
    (vms.CONSOLE_READ, False, {"name": "witness", "size": 1}),
    (vms.CONSOLE_READ, False, {}),
    (vms.CONSOLE_ATTACH, True, {"name": "witness", "credit": 0}),
    (vms.CONSOLE_ATTACH, True, {"name": "witness", "from": 0, "last": 0}),
    (vms.CONSOLE_INPUT, True, {"name": "witness"}),
    (vms.CONSOLE_INPUT, True, {"name": "witness", "data": 5}),
    (vms.CONSOLE_INPUT, True, {"name": "witness", "data": ["x"]}),
])
def test_wrong_arguments(operator, command, write, arguments):
    send = operator.client.write_request if write else operator.client.read_request
    with pytest.raises(smp.SmpError) as caught:
        send(vms.CONSOLE, command, arguments)
    assert caught.value.rc == smp.BAD_VALUE and caught.value.text


@pytest.mark.parametrize("command, write", [
    (vms.CONSOLE_READ, False), (vms.CONSOLE_ATTACH, True), (vms.CONSOLE_DETACH, True), (vms.CONSOLE_INPUT, True)])
def test_consoles_that_do_not_exist(operator, command, write):
    send = operator.client.write_request if write else operator.client.read_request
    data = {"data": b"x"} if command == vms.CONSOLE_INPUT else {}
    for target in ({"name": "nobody"}, {"id": 60}, {"id": 70000}):
        with pytest.raises(smp.SmpError) as caught:
            send(vms.CONSOLE, command, {**target, **data})
        assert caught.value.rc == smp.NO_ENTRY


# ---- live ----

def test_attached_console_is_pushed_as_it_prints(operator):
    pushed = vms.Pushed(operator.client)
    answer = operator.attach("witness")
    number = operator.vms()["witness"]["id"]
    assert answer["id"] == number and answer["seq"] == answer["head"]
    operator.type("witness", b"live\n")
    pushed.wait(lambda lines: b"echo: live\r\n" in b"".join(line[3] for line in lines if line[0] == smp.OUTPUT))
    at = answer["seq"]
    for sequence, data in pushed.output(number):
        assert sequence == at
        at += len(data)
    operator.detach("witness")
    quiet = len(pushed.lines())
    answers(operator, "witness")
    assert len(pushed.lines()) == quiet


def test_attach_from_the_past_pushes_the_backlog(operator):
    _, console = operator.run(vms.guest("h", "hello", cmdline="x" * 300))
    pushed = vms.Pushed(operator.client)
    answer = operator.attach("h", **{"from": 0})
    assert (answer["seq"], answer["oldest"], answer["head"]) == (0, 0, len(console))
    pushed.wait(lambda lines: sum(len(line[3]) for line in lines if line[0] == smp.OUTPUT) >= len(console))
    assert b"".join(data for _, data in pushed.output(answer["id"])).decode() == console


def test_state_changes_and_the_end_are_pushed(operator):
    operator.define(vms.guest("t", "triple"))
    pushed = vms.Pushed(operator.client)
    number = operator.attach("t")["id"]
    operator.start("t")
    pushed.wait(lambda lines: [smp.STATE, number, "crashed", "crash"] in lines)
    # what it printed came before the news of its end
    kinds = [line[0] for line in pushed.lines() if line[1] == number]
    assert kinds.index(smp.OUTPUT) < len(kinds) - 1 - kinds[::-1].index(smp.STATE)
    operator.destroy("t")
    pushed.wait(lambda lines: [smp.CLOSED, number] in lines)
    assert "t" not in operator.consoles()


def test_credit_bounds_what_is_pushed(operator):
    """To the byte, and only what is pushed: the guest prints on, and all of it can be read."""
    pushed = vms.Pushed(operator.client)
    answer = operator.attach("witness", credit=20)
    answers(operator, "witness", b"x" * 100)
    pushed.wait(lambda lines: sum(len(line[3]) for line in lines if line[0] == smp.OUTPUT) >= 20)
    answers(operator, "witness", b"y" * 100)
    assert sum(len(data) for _, data in pushed.output(answer["id"])) == 20
    again = operator.attach("witness", credit=1000, **{"from": answer["seq"] + 20})
    assert again["seq"] == answer["seq"] + 20
    printed = operator.output("witness", answer["seq"])
    pushed.wait(lambda lines: sum(len(line[3]) for line in lines if line[0] == smp.OUTPUT) >= len(printed))
    assert b"".join(data for _, data in pushed.output(answer["id"])) == printed


def test_two_consoles_are_kept_apart(operator):
    operator.define(vms.guest("one", "echo") + vms.guest("two", "echo"))
    pushed = vms.Pushed(operator.client)
    numbers = {}
    for name in ("one", "two"):
        operator.start(name)
        operator.wait_output(name, rb"echo: ready")
        numbers[name] = operator.attach(name, **{"from": 0})["id"]
    for index in range(20):
        operator.type("one", b"first %d\n" % index)
        operator.type("two", b"second %d\n" % index)
    for name, last in (("one", rb"echo: first 19"), ("two", rb"echo: second 19")):
        operator.wait_output(name, last)
        text = operator.output(name)
        pushed.wait(lambda lines: sum(len(l[3]) for l in lines if l[:2] == [smp.OUTPUT, numbers[name]]) >= len(text))
        assert b"".join(data for _, data in pushed.output(numbers[name])) == text
    assert b"second" not in operator.output("one") and b"first" not in operator.output("two")


# ---- nobody reads ----

def test_console_nobody_reads(operator):
    """More than a megabyte: the newest 64 KiB stay, the loss is told to the byte, and nobody else minds."""
    lines = 55_000
    operator.define(vms.guest("c", "chatter", cmdline="burst lines=%d" % lines))
    operator.start("c")
    for _ in range(3):
        answers(operator, "witness")
    info = operator.wait_state("c", vms.ENDED, 300)
    assert (info["reason"], info["exit_code"]) == ("debug-exit", vms.PASS)
    head = operator.consoles()["c"]["head"]
    assert head > vms.MIB
    first = operator.read("c", **{"from": 0, "max": 4096})
    assert first["lost"] == first["seq"] == operator.consoles()["c"]["oldest"] == head - RING
    kept = operator.output("c")
    assert len(kept) == RING
    verdict = b"chatter: pass\r\n"
    assert kept.endswith(verdict)
    assert kept[: -len(verdict)] == chatter(head - RING, head - len(verdict))
    # what is there is no loss
    assert "lost" not in operator.read("c", **{"from": head - 100})


def test_console_faster_than_the_line(operator):
    """Pushed pieces are right where they say they are; gaps are seen from the numbers; requests get through."""
    operator.define(vms.guest("c", "chatter", cmdline="burst"))
    pushed = vms.Pushed(operator.client)
    operator.start("c")
    number = operator.attach("c", **{"from": 0})["id"]
    for _ in range(10):
        assert operator.client.echo("in between") == "in between"
    # until the line has fallen behind by more than the ring
    deadline = time.monotonic() + 240
    while not any(b[0] > a[0] + len(a[1]) for a, b in zip(pushed.output(number), pushed.output(number)[1:])):
        assert time.monotonic() < deadline, "nothing was lost"
        time.sleep(0.5)
    assert operator.client.echo("in between") == "in between"
    operator.detach("c")
    at = 0
    for sequence, data in pushed.output(number):
        assert sequence >= at and data == chatter(sequence, sequence + len(data))
        at = sequence + len(data)
    assert operator.state("c") == "running"


# ---- forged frames ----

def test_guest_cannot_forge_a_reply(operator):
    """It prints a genuine reply in every position; attached and not, none of its bytes is raw on the line."""
    client = operator.client
    operator.define(vms.guest("f", "forge"))
    start = len(client.received)
    pushed = vms.Pushed(client)
    number = operator.attach("f")["id"]
    operator.start("f")
    # requests with just the sequence number that the forged reply answers, while it prints
    for index in range(12):
        client.sequence = 0x29
        assert client.echo("true %d" % index) == "true %d" % index
    operator.wait_output("f", rb"forge: done")
    text = operator.output("f")
    # it did print them, and the operator sees them: as what they are
    assert text.count(b"\x06\x09" + WORKED_REPLY) == 32 and text.count(b"\x04\x14" + WORKED_REPLY) == 16
    pushed.wait(lambda lines: sum(len(l[3]) for l in lines if l[:2] == [smp.OUTPUT, number]) >= len(text))
    assert b"".join(data for _, data in pushed.output(number)) == text
    received = bytes(client.received[start:])
    assert WORKED_REPLY not in received and b"\x1b" not in received
    assert_line_is_clean(client)
    # every byte of the line belongs to a line that begins with a marker
    for line in received.split(b"\n")[:-1]:
        assert line[:2] in (smp.START, smp.CONTINUE, smp.PUSH) and re.fullmatch(rb"[A-Za-z0-9+/=]*", line[2:])


def test_names_cannot_forge_either(operator):
    """Neither a VM's name nor what the log quotes of a request gets control characters through."""
    evil = "\x06\x09" + WORKED_REPLY.decode() + "\n"
    start = len(operator.client.received)
    with pytest.raises(smp.SmpError) as caught:
        operator.define('vm "%s" { boot = multiboot { image = "guests/hello" }, mem = { size = MiB(2) } }' % evil.replace("\n", "\\n"))
    assert caught.value.rc == smp.BAD_VALUE
    with pytest.raises(smp.SmpError):
        operator.define("error('%s')" % evil.replace("\n", "\\n"), origin=evil)
    with pytest.raises(smp.SmpError):
        operator.start(evil)
    operator.client.shell("print('%s')" % evil.replace("\n", "\\n"))
    assert WORKED_REPLY not in bytes(operator.client.received[start:])

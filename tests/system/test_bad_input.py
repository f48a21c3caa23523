# SPDX-License-Identifier: Apache-2.0
"""Bad input in the machine while two guests run: scripts, kernels, sizes, frames, CBOR, names.

Each gets a clear error, or nothing where the protocol says so. After each, two witnesses that ran before it
still run, were never restarted and answer; nothing of their consoles was lost, and nothing stays taken.
What guests do wrong is in test_bad_guests.py, what they print in test_console.py.
"""
import os
import random
import re

import cbor2
import conftest
import pytest
import smp
import vms

MEGS = 96
NAMES = ("one", "two")
WITNESSES = "".join(vms.guest(name, "echo", more="autostart = true") for name in NAMES)


def store():
    contents = {"scripts/boot.lua": WITNESSES, "text": "this is no kernel\n" * 1000, "empty": "",
                **conftest.guest_files("echo", "hello")}
    contents["hello.cut"] = contents["guests/hello"].read_bytes()[:12000]
    for name, size in (("vmlinux", 1_000_000), ("vmlinuz", 700_000)):
        with open(os.path.join(conftest.DEPS, "guests", name), "rb") as f:
            contents[name + ".cut"] = f.read(size)
    contents["vmlinuz.head"] = contents["vmlinuz.cut"][:600]
    contents["vmlinux.head"] = contents["vmlinux.cut"][:100]
    return contents


@pytest.fixture(scope="module")
def machine(boot_shared):
    machine = boot_shared(store=store(), megs=MEGS)
    for name in NAMES:
        machine.operator.wait_output(name, rb"echo: ready")
    return machine


def answers(operator, name):
    head = operator.head(name)
    operator.type(name, b"still there\n")
    operator.wait_output(name, rb"echo: still there\r\n", 30, head)


@pytest.fixture
def operator(machine):
    operator = machine.operator
    before = operator.host()
    lengths = {name: len(operator.output(name)) for name in NAMES}
    yield operator
    for name in set(operator.vms()) - set(NAMES):
        operator.destroy(name)
    after = operator.host()
    for figure in ("committed", "guest", "shared"):
        assert after["memory"][figure] == before["memory"][figure], figure
    assert after["uptime_ns"] > before["uptime_ns"]
    for name in NAMES:
        info = operator.info(name)
        assert (info["state"], info["starts"], info["report_bytes"]) == ("running", 1, 0)
        assert len(operator.output(name)) == lengths[name], "a witness printed unasked, or lost what it had printed"
        answers(operator, name)


def refused(operator, rc, group, command, arguments, write=True):
    """The sentence with which one of our groups refuses."""
    send = operator.client.write_request if write else operator.client.read_request
    with pytest.raises(smp.SmpError) as caught:
        send(group, command, arguments, seconds=60)
    assert caught.value.rc == rc, caught.value
    assert re.fullmatch(r"[ -~]+", caught.value.text), "no sentence, or no printable one"
    return caught.value.text


# ---- scripts ----

BAD_TEXTS = {
    "syntax": ("vm 'x' {{ boot", r"{0}:1: '}}' expected near <eof>"),
    "error": ("\nlocal t = nil\nt.x = 1\n", r"{0}:3: attempt to index a nil value \(local 't'\)"),
    "unknown key": ("vm 'x' {{ boot = pvh {{ image = 'vmlinux.cut' }}, memory = {{ size = MiB(2) }} }}",
                    r"VM x \({0}:1\): unknown setting memory; it is called mem"),
    "misspelt key": ("vm 'x' {{ boot = pvh {{ image = 'vmlinux.cut' }},\n mem = {{ sise = MiB(2) }} }}",
                     r"VM x \({0}:\d\): unknown setting mem\.sise; did you mean mem\.size\?"),
    "no unit": ("vm 'x' {{ boot = pvh {{ image = 'vmlinux.cut' }}, mem = {{ size = 64 }} }}",
                r"VM x \({0}:1\): mem\.size needs a unit: write MiB\(64\), not 64"),
    "wrong unit": ("vm 'x' {{ boot = pvh {{ image = 'vmlinux.cut' }}, mem = {{ size = ms(64) }} }}",
                   r"VM x \({0}:1\): mem\.size .*"),
    "wrong type": ("vm 'x' {{ boot = 'pvh', mem = {{ size = MiB(2) }} }}", r"VM x \({0}:1\): boot .*"),
    "conflict": ("vm 'x' {{ boot = multiboot {{ image = 'text', initrd = 'empty' }}, mem = {{ size = MiB(2) }} }}",
                 r"VM x \({0}:1\): boot\.initrd conflicts with the multiboot protocol, which takes boot\.modules"),
    "twice": ("vm 'one' {{ boot = pvh {{ image = 'text' }}, mem = {{ size = MiB(2) }} }}",
              r"VM one \({0}:1\) is already defined \(boot\.lua:1\)"),
    "endless": ("while true do end", r"{0}:1: stopped: it used up its (instruction budget|time)"),
    "greedy": ("local t = {{}} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end", r".*memory"),
    "bytecode": ("\x1bLuaS", r".*attempt to load a binary chunk"),
}
# more than the budget of time or memory: not wrong, but not to be had
BAD_TEXT_CODES = {"greedy": smp.NO_MEMORY, "endless": smp.NO_MEMORY}


@pytest.mark.parametrize("what", BAD_TEXTS)
def test_text_to_define(operator, what):
    """Refused with its place, and nothing of the text is defined, even what was right before the error."""
    text, sentence = BAD_TEXTS[what]
    arguments = {"text": text.format(), "origin": "x.lua"}
    said = refused(operator, BAD_TEXT_CODES.get(what, smp.BAD_VALUE), vms.VM, vms.DEFINE, arguments)
    assert re.match(sentence.format(r"x\.lua"), said), said
    assert set(operator.vms()) == set(NAMES)


def test_good_machines_before_a_bad_one_are_not_defined_either(operator):
    said = refused(operator, smp.BAD_VALUE, vms.VM, vms.DEFINE,
                   {"text": vms.guest("good", "hello") + "vm 'bad' { sise = 1 }", "origin": "x.lua"})
    assert "VM bad (x.lua:2)" in said
    assert set(operator.vms()) == set(NAMES)


@pytest.mark.parametrize("text, logged", [
    (BAD_TEXTS["unknown key"][0], BAD_TEXTS["unknown key"][1]), (BAD_TEXTS["no unit"][0], BAD_TEXTS["no unit"][1]),
    (BAD_TEXTS["error"][0], BAD_TEXTS["error"][1]), (BAD_TEXTS["endless"][0], BAD_TEXTS["endless"][1]),
    (None, r"script nowhere\.lua: ")], ids=["unknown key", "no unit", "error", "endless", "no script"])
def test_start_up_script(boot, text, logged):
    """Its error is logged with file and line; what was defined before it runs, and the operator can help himself."""
    good = WITNESSES.strip().splitlines()
    name = "nowhere.lua" if text is None else "own.lua"
    contents = {**conftest.guest_files("echo"), **({} if text is None else {"scripts/own.lua": " ".join(good) + " " + text.format()})}
    machine = boot(store=contents, megs=MEGS, cmdline="script=" + name)
    machine.log.wait_for(logged.format(r"own\.lua"), 60)
    operator = machine.operator
    assert set(operator.vms()) == (set() if text is None else set(NAMES))
    if text is None:
        operator.define(WITNESSES)
        for each in NAMES:
            operator.start(each)
    for each in NAMES:
        operator.wait_output(each, rb"echo: ready")
        answers(operator, each)


# ---- kernels ----

@pytest.mark.parametrize("protocol, image, rc, sentence", [
    ("multiboot", "text", smp.NOT_SUPPORTED, "image 'text' is no multiboot kernel: its first 8192 bytes hold no header"),
    ("multiboot", "empty", smp.NOT_SUPPORTED, "image 'empty' is no multiboot kernel"),
    ("multiboot", "hello.cut", smp.CORRUPT, "image 'hello.cut' is truncated or damaged: segment 0 is cut off"),
    ("pvh", "text", smp.NOT_SUPPORTED, "image 'text' is no ELF file"),
    ("pvh", "empty", smp.NOT_SUPPORTED, "image 'empty' is no ELF file"),
    ("pvh", "vmlinux.cut", smp.CORRUPT, "image 'vmlinux.cut' is truncated or damaged"),
    ("pvh", "vmlinux.head", smp.CORRUPT, "image 'vmlinux.head' is truncated: its program headers are cut off"),
    ("pvh", "vmlinuz.cut", smp.NOT_SUPPORTED, "image 'vmlinuz.cut' is no ELF file"),
    ("linux", "text", smp.NOT_SUPPORTED, "image 'text' is no Linux bzImage: it has no HdrS setup header"),
    ("linux", "vmlinux.cut", smp.NOT_SUPPORTED, "image 'vmlinux.cut' is no Linux bzImage"),
    ("linux", "vmlinuz.cut", smp.CORRUPT, "image 'vmlinuz.cut' is truncated: setup and protected-mode code needs 14"),
    ("linux", "vmlinuz.head", smp.CORRUPT, "image 'vmlinuz.head' is truncated: the setup header needs "),
    ("pvh", "nothing", smp.NO_ENTRY, "there is no file 'nothing' in the store"),
])
def test_kernels_that_are_none_or_truncated(operator, protocol, image, rc, sentence):
    operator.define('vm "bad" { boot = %s { image = "%s" }, mem = { size = MiB(40) } }' % (protocol, image))
    said = refused(operator, rc, vms.VM, vms.START, {"name": "bad"})
    assert said.startswith(sentence), said
    info = operator.info("bad")
    assert (info["state"], info["starts"], info["memory"]["present"]) == ("defined", 0, 0)


# ---- memory ----

@pytest.mark.parametrize("size", ["MiB(%d)" % MEGS, "GiB(4)", "GiB(64)"])
def test_memory_beyond_what_the_machine_has(operator, size):
    operator.define(vms.guest("big", "hello", mem=size))
    said = refused(operator, smp.NO_MEMORY, vms.VM, vms.START, {"name": "big"})
    assert re.match(r"VM big needs \d+ bytes of memory and \d+ of overhead, but \d+ of \d+ are promised", said), said
    assert operator.state("big") == "defined"


@pytest.mark.parametrize("size", ["GiB(1 << 20)", "GiB(1 << 40)", "KiB(1)", "KiB(0)", "MiB(-4)", "MiB(2) + KiB(1)", "MiB(0/0)"])
def test_sizes_that_no_machine_has(operator, size):
    said = refused(operator, smp.BAD_VALUE, vms.VM, vms.DEFINE,
                   {"text": vms.guest("big", "hello", mem=size), "origin": "x.lua"})
    assert "x.lua:1" in said, said


# ---- names ----

@pytest.mark.parametrize("group, command, write", [
    *[(vms.VM, verb, True) for verb in (vms.START, vms.STOP, vms.PAUSE, vms.RESUME, vms.DESTROY, vms.POWER)],
    (vms.VM, vms.INFO, False), (vms.VM, vms.REPORT, False), (vms.CONSOLE, vms.CONSOLE_READ, False),
    (vms.CONSOLE, vms.CONSOLE_ATTACH, True), (vms.CONSOLE, vms.CONSOLE_DETACH, True), (vms.CONSOLE, vms.CONSOLE_INPUT, True)])
def test_names_that_do_not_exist(operator, group, command, write):
    more = {"data": b"x"} if (group, command) == (vms.CONSOLE, vms.CONSOLE_INPUT) else {}
    for arguments in ({"name": "nobody"}, {"name": "ONE"}, {"name": "one "}, {"name": "\x1b[2J"}, {"id": 63}):
        said = refused(operator, smp.NO_ENTRY, group, command, {**arguments, **more}, write)
        assert said.startswith("there is no ")


# ---- frames and CBOR ----

GOOD = smp.message(smp.READ, vms.VM, vms.LIST, {}, sequence=9)
WHOLE = smp.frame(smp.message(smp.WRITE, vms.VM, vms.STOP, {"name": "one", "x": "y" * 300}, sequence=9))


@pytest.mark.parametrize("data", [
    WHOLE[:100], WHOLE[:127] + b"\n", WHOLE[127:], smp.frame(GOOD, crc=0), smp.frame(GOOD, crc=0xFFFF),
    smp.frame(GOOD, length=len(GOOD) + 1), smp.frame(GOOD, length=len(GOOD)), smp.frame(GOOD, length=0), smp.frame(GOOD, length=0xFFFF),
    smp.frame(GOOD[:7]), smp.frame(b""), smp.frame(smp.message(smp.READ_REPLY, vms.VM, vms.LIST, {})),
    smp.frame(smp.message(7, vms.VM, vms.LIST, {})), b"\x06\x09" * 500, b"\x06\x09" + b"A" * 20_000, b"\0" * 20_000,
    b"\xff" * 5000 + b"\n", smp.PUSH + b"AAAA\n",
], ids=["truncated in a line", "first line only", "second line only", "checksum 0", "checksum ffff", "length one too much",
        "length too little", "length 0", "length ffff", "half a header", "empty", "a reply", "operation 7", "markers", "endless line",
        "zeros", "ones", "a pushed line"])
def test_frames_that_are_none(operator, data):
    """Not answered, and the next request is: its reply is the next frame, however late another one were."""
    client = operator.client
    client.send(data + b"\n")
    with pytest.raises(smp.NoAnswer):
        client.next_frame(0.3)
    assert client.echo("after it") == "after it"


def test_damaged_frames_are_counted(operator):
    before = operator.host()["line"]["dropped"]
    for number in range(3):
        operator.client.send(smp.frame(GOOD, crc=number))
    assert operator.host()["line"]["dropped"] == before + 3


def test_oversized_frames(operator):
    """Too long is said, at any length up to where the line stops listening."""
    client = operator.client
    size = client.read_request(smp.OS, smp.PARAMETERS)["buf_size"]
    for extra in (1, 100, 4000):
        text = "x" * (size + extra)
        client.send(smp.frame(smp.message(smp.WRITE, smp.OS, smp.ECHO, {"d": text}, sequence=77)))
        with pytest.raises(smp.SmpError) as caught:
            client.next_frame(60).map()
        assert caught.value.rc == smp.NO_MEMORY
        assert client.echo("after it") == "after it"


@pytest.mark.parametrize("group, command, write", [
    (63, 0, False), (0xFFFF, 0, True), (vms.VM, 10, True), (vms.VM, 255, False), (vms.CONSOLE, 9, True), (vms.INSPECT, 9, False),
    (vms.VM, vms.START, False), (vms.VM, vms.LIST, True)])
def test_unknown_commands(operator, group, command, write):
    send = operator.client.write_request if write else operator.client.read_request
    with pytest.raises(smp.SmpError) as caught:
        send(group, command, {"name": "one"})
    assert caught.value.rc == smp.NOT_SUPPORTED


@pytest.mark.parametrize("payload", [
    b"\xff", b"\xa1", b"\xa1\x64name", b"\xa1\x64name\x7b\xff\xff\xff\xff\xff\xff\xff\xff", b"\x80", b"\x9f" * 100, b"\xbf" * 100,
    b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff", b"\xa1\x64name\x1c", b"\xa1\x64name\x62\xff\xfe", b"\xa2\x64name\x63one\x64name\x63two",
    cbor2.dumps({"name": 1}), cbor2.dumps({"name": 1.5}), cbor2.dumps({"name": b"one"}), cbor2.dumps({"name": True}),
    cbor2.dumps({"name": {}}), cbor2.dumps({"name": ["one"]}), cbor2.dumps({"name": None}), cbor2.dumps({"id": "1"}),
    cbor2.dumps({"id": 1.0}), cbor2.dumps({"id": -1}), cbor2.dumps({"id": 1, "name": "one"}), cbor2.dumps({}),
    cbor2.dumps({"name": "one", "now": True}), cbor2.dumps(["one"]), cbor2.dumps({1: "one"}), cbor2.dumps({"name": "one"}) + b"\0",
], ids=lambda payload: payload[:12].hex())
def test_wrong_cbor_stops_nobody(operator, payload):
    """A command that would stop a witness, if it were taken for what it is not."""
    with pytest.raises(smp.SmpError) as caught:
        operator.client.write_request(vms.VM, vms.STOP, payload)
    assert caught.value.rc == smp.BAD_VALUE


def test_random_frames(operator):
    """Right checksums, random contents, to every group but the shell's, whose Lua could stop a witness."""
    numbers = random.Random(2)
    client = operator.client
    for _ in range(120):
        payload = numbers.choice([numbers.randbytes(numbers.randrange(80)),
                                  cbor2.dumps({numbers.choice(["name", "id", "text", "data", "from", "max"]):
                                               numbers.choice([0, -1, 2 ** 63, "", "nobody", b"", [], {}, None, 1.5])})])
        body = smp.message(numbers.randrange(8), numbers.choice([2, 10, vms.VM, vms.CONSOLE, vms.INSPECT, 75]),
                           numbers.randrange(12), payload, numbers.randrange(256), numbers.randrange(4))
        client.send(smp.frame(body))
    while True:
        try:
            client.next_frame(1)
        except smp.NoAnswer:
            break
    for name in operator.consoles():
        operator.detach(name)

# SPDX-License-Identifier: Apache-2.0
"""Every command of the VM group over the wire, in right and wrong states, with right and wrong names.

One machine, small guests; each test defines what it needs and destroys it again.
"""
import os
import re
import time

import conftest
import pytest
import smp
import vms

VERBS = {"start": vms.START, "stop": vms.STOP, "pause": vms.PAUSE, "resume": vms.RESUME,
         "destroy": vms.DESTROY, "power": vms.POWER}
MEGS = 96


@pytest.fixture(scope="module")
def machine(boot_shared):
    store = conftest.guest_store("echo", "idle", "spin", "triple", "power", "hello", "memory")
    store.update({"text": "this is no kernel\n" * 1000, "empty": ""})
    store["cut"] = store["guests/hello"].read_bytes()[:12000]
    with open(os.path.join(conftest.DEPS, "guests", "vmlinuz"), "rb") as f:
        store["bzimage"] = f.read(700000)
    store["bzhead"] = store["bzimage"][:600]
    return boot_shared(store=store, megs=MEGS)


@pytest.fixture
def operator(machine):
    operator = machine.operator
    before = operator.host()["memory"]
    yield operator
    operator.clear()
    # whatever was defined and run, all of it is given back
    after = operator.host()["memory"]
    assert (after["committed"], after["guest"], after["shared"]) == (before["committed"], 0, 0)
    assert after["free"] + after["leaving"] == before["free"] + before["leaving"]


def refused(operator, rc, command, arguments, write=True):
    """The sentence with which the VM group refuses."""
    send = operator.client.write_request if write else operator.client.read_request
    with pytest.raises(smp.SmpError) as caught:
        send(vms.VM, command, arguments, seconds=60)
    assert caught.value.rc == rc, caught.value
    assert caught.value.text, "refused without a sentence"
    return caught.value.text


# ---- life ----

def test_a_life(operator):
    defined = operator.define(vms.guest("a", "echo"), origin="life.lua")
    assert [entry["name"] for entry in defined] == ["a"]
    listed = operator.vms()["a"]
    assert (listed["id"], listed["state"], listed["starts"]) == (defined[0]["id"], "defined", 0)
    assert (listed["size"], listed["present"], listed["cpu_ns"]) == (4 * vms.MIB, 0, 0)
    operator.start("a")
    operator.wait_output("a", rb"echo: ready")
    info = operator.info("a")
    assert (info["state"], info["starts"], info["origin"]) == ("running", 1, "life.lua:1")
    assert "reason" not in info and info["report_bytes"] == 0
    assert 0 < info["memory"]["present"] <= 4 * vms.MIB
    assert info["exits"] == sum(info["exits_by_kind"].values()) > 0
    assert 0 < info["cpu_ns"] <= info["uptime_ns"]
    operator.stop("a")
    ended = operator.info("a")
    assert (ended["state"], ended["reason"], ended["memory"]["present"]) == ("stopped", "operator", 0)
    # what it came to is still there to read
    assert ended["exits"] >= info["exits"] and ended["cpu_ns"] >= info["cpu_ns"]
    operator.start("a")
    operator.wait_output("a", rb"echo: ready\r\necho: ready")
    assert operator.info("a")["starts"] == 2
    operator.stop("a")
    operator.destroy("a")
    assert "a" not in operator.vms()


def test_every_verb_in_every_state(operator):
    """What a state does not allow is refused with a sentence that names both, and changes nothing."""
    legal = {"defined": {"start", "destroy"}, "running": {"stop", "pause", "power"},
             "paused": {"stop", "resume"}, "stopped": {"start", "destroy"}, "crashed": {"start", "destroy"}}
    operator.define(vms.guest("v", "idle") + vms.guest("c", "triple"))
    operator.start("c")
    operator.wait_state("c", ("crashed",))
    way = [("defined", None), ("running", vms.START), ("paused", vms.PAUSE), ("stopped", vms.STOP)]
    for state, step in way:
        if step is not None:
            operator.verb(step, "v")
        for verb in set(VERBS) - legal[state]:
            text = refused(operator, smp.BAD_STATE, VERBS[verb], {"name": "v"})
            assert text.startswith("VM v is %s: %s needs it " % (state, verb)), text
            assert operator.state("v") == state
    for verb in set(VERBS) - legal["crashed"]:
        text = refused(operator, smp.BAD_STATE, VERBS[verb], {"name": "c"})
        assert text.startswith("VM c is crashed: %s needs it " % verb), text
    assert operator.state("c") == "crashed"


@pytest.mark.parametrize("verb", [*VERBS.values(), vms.INFO, vms.REPORT])
def test_names_that_do_not_exist(operator, verb):
    operator.define(vms.guest("a", "idle"))
    write = verb not in (vms.INFO, vms.REPORT)
    for arguments, sentence in [
            ({"name": "nobody"}, "there is no VM called nobody"),
            ({"name": ""}, "there is no VM called"),
            ({"name": "a\x06\x09b"}, "there is no VM called a"),
            ({"name": "x" * 500}, "there is no VM called xxx"),
            ({"id": 0}, "there is no VM with id 0"),
            ({"id": 99}, "there is no VM with id 99"),
            ({"id": 2 ** 64 - 1}, "there is no VM with id 18446744073709551615")]:
        text = refused(operator, smp.NO_ENTRY, verb, arguments, write)
        assert text.startswith(sentence), text
        assert all(" " <= character <= "~" for character in text)
    for arguments in ({}, {"name": "a", "id": 1}, {"name": 5}, {"name": b"a"}, {"id": "a"}, {"id": -1},
                      {"name": "a", "force": True}, {"name": ["a"]}, {"name": None}):
        refused(operator, smp.BAD_VALUE, verb, arguments, write)
    assert operator.state("a") == "defined"


def test_ids_and_names_are_the_same(operator):
    operator.define(vms.guest("a", "idle"))
    number = operator.vms()["a"]["id"]
    operator.client.write_request(vms.VM, vms.START, {"id": number})
    assert operator.state("a") == "running"
    assert operator.client.read_request(vms.VM, vms.INFO, {"id": number})["name"] == "a"


# ---- pause ----

def test_pause_takes_the_cpu_and_resume_gives_it_back(operator):
    operator.define(vms.guest("s", "spin"))
    operator.start("s")
    operator.wait_output("s", rb"spin: interrupts off")
    operator.pause("s")
    before, host = operator.info("s"), operator.host()["uptime_ns"]
    while operator.host()["uptime_ns"] < host + 2_000_000_000:
        time.sleep(0.1)
    after = operator.info("s")
    assert after["state"] == "paused"
    for figure in ("cpu_ns", "uptime_ns", "exits", "memory"):
        assert after[figure] == before[figure], figure
    operator.resume("s")
    host = operator.host()["uptime_ns"]
    while operator.host()["uptime_ns"] < host + 500_000_000:
        time.sleep(0.1)
    assert operator.info("s")["cpu_ns"] > after["cpu_ns"] + 100_000_000


def test_input_typed_while_paused_is_read_after(operator):
    operator.define(vms.guest("e", "echo"))
    operator.start("e")
    operator.wait_output("e", rb"echo: ready")
    operator.pause("e")
    operator.type("e", b"in between\n")
    time.sleep(0.5)
    assert b"in between" not in operator.output("e")
    operator.resume("e")
    operator.wait_output("e", rb"echo: in between")


def test_stop_of_a_paused_vm(operator):
    operator.define(vms.guest("s", "spin"))
    operator.start("s")
    operator.pause("s")
    operator.stop("s")
    assert operator.info("s")["reason"] == "operator"
    operator.start("s")
    assert operator.state("s") == "running"


# ---- how guests end ----

@pytest.mark.parametrize("word, reason", [("off", "power-off"), ("reset", "reset"), ("kbd", "reset"), ("fast", "reset")])
def test_ways_out(operator, word, reason):
    info, console = operator.run(vms.guest("p", "power", cmdline=word))
    assert (info["state"], info["reason"]) == ("stopped", reason)
    assert "is still there" not in console


def test_power_button(operator):
    operator.define(vms.guest("p", "power", cmdline="button") + vms.guest("deaf", "idle"))
    operator.start("p")
    operator.start("deaf")
    operator.wait_output("p", rb"waiting for the button")
    operator.wait_output("deaf", rb"idle: halted")
    operator.power("p")
    info = operator.wait_state("p", vms.ENDED)
    assert (info["state"], info["reason"]) == ("stopped", "power-off")
    assert b"power: pressed" in operator.output("p")
    # a guest that does not listen goes on
    operator.power("deaf")
    time.sleep(0.5)
    assert operator.state("deaf") == "running"


def test_reset_restarts_when_it_is_to(operator):
    operator.define(vms.guest("p", "power", cmdline="reset").replace('"stop"', '"restart"'))
    operator.start("p")
    deadline = time.monotonic() + 60
    while operator.info("p")["starts"] < 3:
        assert time.monotonic() < deadline
    operator.stop("p")  # also in the moment between two starts
    info = operator.info("p")
    assert (info["state"], info["reason"]) == ("stopped", "operator")
    time.sleep(0.5)
    assert (operator.info("p")["state"], operator.info("p")["starts"]) == ("stopped", info["starts"])
    assert operator.output("p").count(b"power: reset by port") >= 2


def test_exit_code(operator):
    console = vms.passed(*operator.run(vms.guest("h", "hello", cmdline="one two")))
    assert "command line [one two]" in console


# ---- starts that cannot be ----

@pytest.mark.parametrize("protocol, image, rc, sentence", [
    ("multiboot", "text", smp.NOT_SUPPORTED, "image 'text' is no multiboot kernel: its first 8192 bytes hold no header"),
    ("multiboot", "empty", smp.NOT_SUPPORTED, "image 'empty' is no multiboot kernel"),
    ("multiboot", "cut", smp.CORRUPT, "image 'cut' is truncated or damaged: segment 0 is cut off"),
    ("multiboot", "nothing", smp.NO_ENTRY, "there is no file 'nothing' in the store"),
    ("pvh", "text", smp.NOT_SUPPORTED, "image 'text' is no ELF file"),
    ("pvh", "bzimage", smp.NOT_SUPPORTED, "image 'bzimage' is no ELF file"),
    ("pvh", "cut", smp.CORRUPT, "image 'cut' is truncated or damaged: segment 0 is cut off"),
    ("linux", "text", smp.NOT_SUPPORTED, "image 'text' is no Linux bzImage: it has no HdrS setup header"),
    ("linux", "cut", smp.NOT_SUPPORTED, "image 'cut' is no Linux bzImage"),
    ("linux", "bzimage", smp.CORRUPT, "image 'bzimage' is truncated: setup and protected-mode code needs 14"),
    ("linux", "bzhead", smp.CORRUPT, "image 'bzhead' is truncated: the setup header needs "),
])
def test_images_that_are_none(operator, protocol, image, rc, sentence):
    """Not a kernel, not of this protocol, cut short at several places, not there; nothing stays taken."""
    operator.define('vm "b" { boot = %s { image = "%s" }, mem = { size = MiB(48) } }' % (protocol, image))
    before = operator.host()["memory"]
    text = refused(operator, rc, vms.START, {"name": "b"})
    assert text.startswith(sentence), text
    info = operator.info("b")
    assert (info["state"], info["starts"], info["memory"]["present"]) == ("defined", 0, 0)
    after = operator.host()["memory"]
    assert (after["committed"], after["guest"]) == (before["committed"], before["guest"])


@pytest.mark.parametrize("settings, sentence", [
    ('pvh { image = "guests/hello", initrd = "nothing" }', "there is no file 'nothing' in the store"),
    ('multiboot { image = "guests/hello", modules = { "nothing" } }', "there is no file 'nothing' in the store"),
])
def test_files_beside_the_image_that_are_not_there(operator, settings, sentence):
    operator.define('vm "b" { boot = %s, mem = { size = MiB(4) } }' % settings)
    assert refused(operator, smp.NO_ENTRY, vms.START, {"name": "b"}).startswith(sentence)


def test_memory_beyond_what_there_is(operator):
    """Admission refuses before anything is taken; what is running is not touched."""
    operator.define(vms.guest("a", "echo") + vms.guest("big", "hello", mem="MiB(%d)" % MEGS))
    operator.start("a")
    operator.wait_output("a", rb"echo: ready")
    before = operator.host()["memory"]
    text = refused(operator, smp.NO_MEMORY, vms.START, {"name": "big"})
    assert re.match(r"VM big needs %d bytes of memory and \d+ of overhead, but \d+ of %d are promised"
                    % (MEGS * vms.MIB, before["capacity"]), text), text
    after = operator.host()["memory"]
    assert (after["committed"], after["guest"]) == (before["committed"], before["guest"])
    assert operator.state("big") == "defined" and operator.state("a") == "running"


def test_promises_are_kept_to_the_byte(operator):
    """VMs start until the machine is promised away, and each of them can fill its memory."""
    size, before = 24, operator.host()["memory"]["committed"]
    operator.define("".join(vms.guest("m%d" % i, "memory", cmdline="size=%d" % size, mem="MiB(%d)" % size)
                            for i in range(5)))
    started, defined = [], (operator.host()["memory"]["committed"] - before) // 5
    for index in range(5):
        name = "m%d" % index
        memory, info = operator.host()["memory"], operator.info(name)
        fits = memory["committed"] + size * vms.MIB + info["memory"]["overhead"] - defined <= memory["capacity"]
        if fits:
            operator.start(name)
            operator.pause(name)
            started.append(name)
        else:
            refused(operator, smp.NO_MEMORY, vms.START, {"name": name})
    assert 2 <= len(started) <= 4
    for name in started:
        operator.resume(name)
    for name in started:
        info = operator.wait_state(name, vms.ENDED, 240)
        assert (info["reason"], info["exit_code"]) == ("debug-exit", vms.PASS), operator.output(name)


# ---- the Lua prompt ----

def test_prompt_sees_and_does_the_same(operator):
    output, status = operator.client.shell('vm "x" { boot = multiboot { image = "guests/idle" }, mem = { size = MiB(2) } }')
    assert (output.strip(), status) == ("", 0)
    assert operator.client.shell('start "x"')[1] == 0
    assert operator.state("x") == "running"
    output, status = operator.client.shell('start "x"')
    assert status == 1 and "VM x is running: start needs it " in output
    assert operator.client.shell('stop "x"')[1] == 0
    assert operator.client.shell("1 + 2") == ("3\n", 0)
    output, status = operator.client.shell('destroy "nobody"')
    assert status == 1 and "there is no VM called nobody" in output

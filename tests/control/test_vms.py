# SPDX-License-Identifier: Apache-2.0
"""The VM group: every command, legal and illegal states, definitions by text and by settings."""
import time

import pytest
import smp
from conftest import vm

VMS, INSPECT = 65, 74
LIST, DEFINE, START, STOP, PAUSE, RESUME, DESTROY, INFO, POWER, REPORT = range(10)
VERBS = {"start": START, "stop": STOP, "pause": PAUSE, "resume": RESUME, "destroy": DESTROY, "power": POWER}
MIB = 1 << 20

CONFIG = {"boot": {"protocol": "multiboot", "image": "kernel", "cmdline": "say=hi"}, "mem": {"size": 2 * MIB},
          "on_reset": "stop"}


def state(machine, name):
    return machine.smp.read_request(VMS, INFO, {"name": name})["state"]


def wait_state(machine, name, wanted, seconds=10):
    deadline = time.monotonic() + seconds
    while state(machine, name) != wanted:
        assert time.monotonic() < deadline, state(machine, name)
        time.sleep(0.01)


def refused(machine, command, arguments, write=True):
    """The error of a request that must fail; the machine's invariants hold after it."""
    with pytest.raises(smp.SmpError) as error:
        (machine.smp.write_request if write else machine.smp.read_request)(VMS, command, arguments)
    assert machine.smp.read_request(INSPECT, 1) == {"checked": True}
    assert error.value.group == VMS
    return error.value.rc, error.value.text


def test_life_of_a_vm(host):
    machine = host()
    assert machine.smp.read_request(VMS, LIST) == {"vms": []}
    before = machine.smp.read_request(INSPECT, 0)["memory"]["committed"]
    assert machine.smp.write_request(VMS, DEFINE, {"name": "a", "config": CONFIG}) == {"vms": [{"id": 1, "name": "a"}]}
    assert state(machine, "a") == "defined"
    for command, wanted in ((START, "running"), (PAUSE, "paused"), (RESUME, "running"), (PAUSE, "paused"),
                            (STOP, "stopped"), (START, "running"), (STOP, "stopped")):
        assert machine.smp.write_request(VMS, command, {"name": "a"}) == {}
        assert state(machine, "a") == wanted
        assert machine.smp.read_request(INSPECT, 1) == {"checked": True}
    entry = machine.smp.read_request(VMS, LIST)["vms"][0]
    assert (entry["id"], entry["name"], entry["state"], entry["reason"], entry["starts"]) == \
        (1, "a", "stopped", "operator", 2)
    assert machine.smp.write_request(VMS, DESTROY, {"id": 1}) == {}
    assert machine.smp.read_request(VMS, LIST) == {"vms": []}
    memory = machine.smp.read_request(INSPECT, 0)["memory"]
    assert memory["committed"] == before and memory["guest"] == 0 and memory["leaving"] == 0


def test_every_verb_in_every_state(host):
    machine = host(vm("a", "echo"))
    legal = {
        "defined": {"start", "destroy"},
        "running": {"stop", "pause", "power"},
        "paused": {"stop", "resume"},
        "stopped": {"start", "destroy"},
    }
    reach = {"defined": [], "running": [START], "paused": [START, PAUSE], "stopped": [START, STOP]}
    for name, way in reach.items():
        for verb, command in VERBS.items():
            machine.smp.write_request(VMS, DEFINE, {"name": "v", "config": CONFIG})
            for step in way:
                machine.smp.write_request(VMS, step, {"name": "v"})
            assert state(machine, "v") == name
            if verb in legal[name]:
                assert machine.smp.write_request(VMS, command, {"name": "v"}) == {}
            else:
                rc, text = refused(machine, command, {"name": "v"})
                assert rc == smp.BAD_STATE
                assert text.startswith("VM v is %s: %s needs it " % (name, verb)), text
                assert state(machine, "v") == name
            if not (verb == "destroy" and verb in legal[name]):
                if state(machine, "v") in ("running", "paused"):
                    machine.smp.write_request(VMS, STOP, {"name": "v"})
                machine.smp.write_request(VMS, DESTROY, {"name": "v"})


@pytest.mark.parametrize("end,wanted,reason,code", [
    ("off", "stopped", "power-off", None), ("exit:77", "stopped", "debug-exit", 77),
    ("reset", "stopped", "reset", None), ("crash", "crashed", "crash", None)])
def test_guests_that_end_by_themselves(host, end, wanted, reason, code):
    machine = host(vm("a", "say=bye end=" + end) + vm("other", "echo"))
    machine.smp.write_request(VMS, START, {"name": "other"})
    machine.smp.write_request(VMS, START, {"name": "a"})
    wait_state(machine, "a", wanted)
    info = machine.smp.read_request(VMS, INFO, {"name": "a"})
    assert (info["reason"], info.get("exit_code")) == (reason, code)
    assert (info["report_bytes"] > 0) == (end == "crash")
    assert state(machine, "other") == "running"
    assert machine.smp.read_request(INSPECT, 1) == {"checked": True}
    machine.smp.write_request(VMS, START, {"name": "a"})
    wait_state(machine, "a", wanted)
    assert machine.smp.read_request(VMS, INFO, {"name": "a"})["starts"] == 2


def test_reset_restarts_when_it_is_to(host):
    machine = host(vm("a", "say=again end=reset").replace('"stop"', '"restart"'))
    machine.smp.write_request(VMS, START, {"name": "a"})
    deadline = time.monotonic() + 10
    while machine.smp.read_request(VMS, INFO, {"name": "a"})["starts"] < 3:
        assert time.monotonic() < deadline
    machine.smp.write_request(VMS, STOP, {"name": "a"})


def test_crash_report(host):
    machine = host(vm("a", "end=crash"))
    machine.smp.write_request(VMS, START, {"name": "a"})
    wait_state(machine, "a", "crashed")
    text, offset = "", 0
    while offset is not None:
        part = machine.smp.read_request(VMS, REPORT, {"name": "a", "offset": offset})
        text, offset = text + part["text"], part.get("next")
    assert len(text) == part["total"] and "triple fault" in text
    assert machine.smp.read_request(VMS, REPORT, {"name": "a", "offset": 10 ** 12})["text"] == ""


def test_info(host):
    machine = host(vm("a", "say=x echo", size="MiB(4)"))
    machine.smp.write_request(VMS, START, {"name": "a"})
    time.sleep(0.3)
    info = machine.smp.read_request(VMS, INFO, {"name": "a"})
    assert info["origin"] == "boot.lua:1"
    assert info["config"]["mem"] == {"size": 4 * MIB, "reservation": 4 * MIB}
    assert info["config"]["boot"] == {"protocol": "multiboot", "image": "kernel", "cmdline": "say=x echo"}
    assert info["config"]["on_reset"] == "stop" and info["config"]["debug_exit"] is True
    memory = info["memory"]
    assert memory["size"] == 4 * MIB and 0 < memory["present"] <= 4 * MIB
    assert info["exits"] > 0 and sum(info["exits_by_kind"].values()) == info["exits"]
    assert info["cpu_ns"] > 0 and info["uptime_ns"] > 0
    # what info says of a VM defines it again
    machine.smp.write_request(VMS, DEFINE, {"name": "b", "config": info["config"]})
    assert machine.smp.read_request(VMS, INFO, {"name": "b"})["config"] == info["config"]


def test_paging(host):
    machine = host("for i = 1, 64 do vm(('vm%02d'):format(i)) "
                   "{ boot = multiboot { image = 'kernel' }, mem = { size = MiB(1) } } end")
    for arguments, least in (({}, 1), ({"max": 5}, 13)):
        names, pages, after = [], 0, {}
        while after is not None:
            page = machine.smp.read_request(VMS, LIST, {**arguments, **after})
            names += [v["name"] for v in page["vms"]]
            pages += 1
            after = {"after": page["next"]} if "next" in page else None
        assert names == ["vm%02d" % i for i in range(1, 65)] and pages >= least
    page = machine.smp.read_request(VMS, LIST, {"max": 3, "after": 10})
    assert [v["id"] for v in page["vms"]] == [11, 12, 13] and page["next"] == 13
    assert machine.smp.read_request(VMS, LIST, {"after": 64}) == {"vms": []}
    assert refused(machine, LIST, {"max": 0}, write=False)[0] == smp.BAD_VALUE
    rc, text = refused(machine, DEFINE, {"name": "more", "config": CONFIG})
    assert rc == smp.NO_MEMORY and "64 VMs already" in text


def test_define_by_text_is_all_or_nothing(host):
    machine = host()
    answer = machine.smp.write_request(VMS, DEFINE, {"text": vm("a") + vm("b"), "origin": "two.lua"})
    assert [v["name"] for v in answer["vms"]] == ["a", "b"]
    assert machine.smp.read_request(VMS, INFO, {"name": "b"})["origin"] == "two.lua:2"
    bad = [
        (vm("c") + vm("d", size="128"), "VM d (x.lua:2): mem.size needs a unit: write MiB(128), not 128"),
        (vm("c") + vm("a"), "VM a (x.lua:2) is already defined (two.lua:1)"),
        (vm("c") + vm("c"), "VM c (x.lua:2) is already defined (x.lua:1)"),
        (vm("c") + "error('no more')", "x.lua:2: no more"),
        (vm("c") + "vm 'd'", "VM d (x.lua:2): its table of settings is missing"),
        (vm("c") + "vm 'd' = 5", "x.lua:2: syntax error near '='"),
        (vm("c") + "start 'a'", "x.lua:2: a definition cannot start a VM"),
        (vm("c") + "while true do end", "x.lua:2: stopped: it used up its instruction budget"),
        (vm("c", more="colour = 5"), "unknown setting colour"),
        ("", "x.lua: the text defines no VM"),
        ("\x1bLua", "attempt to load a binary chunk"),
        ("".join(vm("v%d" % i) for i in range(17)), "one text defines at most 16 VMs"),
    ]
    for text, want in bad:
        _, sentence = refused(machine, DEFINE, {"text": text, "origin": "x.lua"})
        assert want in sentence, sentence
        assert [v["name"] for v in machine.smp.read_request(VMS, LIST)["vms"]] == ["a", "b"]


@pytest.mark.parametrize("arguments,rc,want", [
    ({}, smp.BAD_VALUE, "define needs either text, or name and config"),
    ({"name": "a"}, smp.BAD_VALUE, "define needs either text, or name and config"),
    ({"config": CONFIG}, smp.BAD_VALUE, "define takes name together with config"),
    ({"text": "", "name": "a"}, smp.BAD_VALUE, "define takes name together with config"),
    ({"name": "a", "config": 5}, smp.BAD_VALUE, "VM a: its settings are integer, not a table"),
    ({"name": "A b", "config": CONFIG}, smp.BAD_VALUE, "VM A b: name has a character outside a-z"),
    ({"name": "a", "config": {**CONFIG, "mem": {"size": "2M"}}}, smp.BAD_VALUE,
     "VM a: mem.size takes a number of bytes, not text"),
    ({"name": "a", "config": {**CONFIG, "mem": {"size": 4097}}}, smp.BAD_VALUE, "VM a: mem.size is 4097 bytes"),
    ({"name": "a", "config": {**CONFIG, "mem": {"size": 2 * MIB, "reservation": MIB}}}, smp.NOT_SUPPORTED,
     "mem.reservation (1048576 bytes) must equal mem.size (2097152 bytes)"),
    ({"name": "a", "config": {**CONFIG, "cpu": {"count": 17}}}, smp.BAD_VALUE, "cpu.count is 17, a VM has at most 16 CPUs"),
    ({"name": "a", "config": {**CONFIG, "boot": {"image": "k", "initrd": "i", "protocol": "multiboot"}}},
     smp.BAD_VALUE, "boot.initrd conflicts with the multiboot protocol"),
    ({"name": "corbel", "config": CONFIG}, smp.BAD_STATE, "VM corbel: the name is that of the hypervisor's log"),
    ({"name": "a", "config": CONFIG, "origin": "evil\x1b\nplace"}, None, None),
])
def test_define_by_settings(host, arguments, rc, want):
    machine = host()
    if rc is None:
        machine.smp.write_request(VMS, DEFINE, arguments)
        assert machine.smp.read_request(VMS, INFO, {"name": "a"})["origin"] == "evil??place"
        return
    got, sentence = refused(machine, DEFINE, arguments)
    assert got == rc and want in sentence, sentence
    assert machine.smp.read_request(VMS, LIST) == {"vms": []}


@pytest.mark.parametrize("image,size,rc,want", [
    ("missing", 2, smp.NO_ENTRY, "missing"),
    ("broken", 2, smp.BAD_VALUE, "broken"),
    ("kernel", 1000, smp.NO_MEMORY, "promised"),
])
def test_failed_start_leaves_everything_as_it_was(host, image, size, rc, want):
    machine = host(vm("other", "echo"))
    machine.smp.write_request(VMS, START, {"name": "other"})
    before = machine.smp.read_request(INSPECT, 0)["memory"]["committed"]
    config = {"boot": {"protocol": "multiboot", "image": image}, "mem": {"size": size * MIB}}
    machine.smp.write_request(VMS, DEFINE, {"name": "a", "config": config})
    defined = machine.smp.read_request(INSPECT, 0)["memory"]["committed"]
    for _ in range(3):
        got, sentence = refused(machine, START, {"name": "a"})
        assert want in sentence, sentence
        assert got in (rc, smp.CORRUPT, smp.NOT_SUPPORTED), (got, sentence)
        assert state(machine, "a") == "defined"
        assert machine.smp.read_request(INSPECT, 0)["memory"]["committed"] == defined
    machine.smp.write_request(VMS, DESTROY, {"name": "a"})
    assert machine.smp.read_request(INSPECT, 0)["memory"]["committed"] == before
    assert state(machine, "other") == "running"


def test_truncated_kernel(host):
    from conftest import kernel
    for cut in (0, 4, 12, 31):
        machine = host(files={"kernel": kernel()[:cut]})
        machine.smp.write_request(VMS, DEFINE, {"name": "a", "config": CONFIG})
        _, sentence = refused(machine, START, {"name": "a"})
        assert "kernel" in sentence
        machine.close()

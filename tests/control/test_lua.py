# SPDX-License-Identifier: Apache-2.0
"""Lua: the prompt (shell group) and the start-up script."""
import re
import time

import pytest
import smp
from conftest import vm

VMS, INFO = 65, 7


def lua(machine, *words):
    return machine.smp.shell(*words)


@pytest.mark.parametrize("line,output", [
    ("1 + 1", "2\n"),
    ("'text'", "text\n"),
    ("nil", "nil\n"),
    ("1, 'two', {3}", "1\ntwo\n{ 3 }\n"),
    ("x = 5", ""),
    ("x = 5 return x * 2", "10\n"),
    ("print('a', 1, nil, MiB(3))", "a\t1\tnil\tMiB(3)\n"),
    ("{ b = 1, a = { true, 'x' } }", "{ a = { true, \"x\" }, b = 1 }\n"),
    ("MiB(1) + KiB(512)", "KiB(1536)\n"),
    ("files()", None),
    ("host().engine", "fake\n"),
    ("check().checked", "true\n"),
    ("('\\u{fc}')", "\u00fc\n"),
    ("print('\\xff\\xfe')", "??\n"),
])
def test_prompt(host, line, output):
    machine = host()
    got, status = lua(machine, line)
    assert status == 0
    if output is not None:
        assert got == output


@pytest.mark.parametrize("line,output", [
    ("1 +", "line:1: unexpected symbol near '1'\n"),
    ("error('no')", "line:1: no\n"),
    ("print('first') local x = nil + 1", "first\nline:1: attempt to perform arithmetic on a nil value\n"),
    ("start 'nobody'", "line:1: there is no VM called nobody\n"),
    ("start {}", "line:1: start takes the name of a VM, not a nil\n"),
    ("start(0.5)", "line:1: start takes the name of a VM, not a number\n"),
    ("vm 'x' { boot = linux {}, mem = { size = 64 } }",
     "VM x (line:1): mem.size needs a unit: write MiB(64), not 64\n"),
    ("vm 'x'", "VM x (line:1): its table of settings is missing\n"),
    ("vm 'x' vm 'y' {}", "line:1: VM x (line:1): its table of settings is missing\n"),
    ("vm(5)", "line:1: vm takes a name and a table, as in vm \"name\" { ... }\n"),
    ("linux 'k'", "line:1: linux takes a table, as in linux { image = \"...\" }\n"),
    ("while true do end", "line:1: stopped: it used up its instruction budget\n"),
    ("string.rep('x', 1 << 40)", None),
    ("io.open('x')", None),
])
def test_prompt_errors(host, line, output):
    machine = host()
    got, status = lua(machine, line)
    assert status == 1
    if output is not None:
        assert got == output
    assert lua(machine, "1") == ("1\n", 0)


def test_a_stuck_line_keeps_the_line_for_half_a_second(host):
    """What no meter sees is left after half a second of silence; a slow line has its time in Lua code."""
    machine = host()
    began = machine.uptime()
    text, status = lua(machine, "string.rep('', 1e15)")
    took = machine.uptime() - began
    assert (text, status) == ("stopped: it did not return from a library function; its variables are lost\n", 1)
    assert 0.5 <= took < 1.5
    assert lua(machine, "get 'lua.discards'") == ("1\n", 0)
    slow = "local n = 0 for i = 1, 1000000 do n = n + i end return n"
    assert lua(machine, slow) == ("500000500000\n", 0)


def test_words_are_joined_and_variables_stay(host):
    machine = host()
    assert lua(machine, "y", "=", "20") == ("", 0)
    assert lua(machine, "return", "y + 1") == ("21\n", 0)
    for argv in ([], [5], "text", [["x"]]):
        with pytest.raises(smp.SmpError) as error:
            machine.smp.write_request(smp.SHELL, 0, {"argv": argv})
        assert (error.value.rc, error.value.group) == (smp.BAD_VALUE, None)
    with pytest.raises(smp.SmpError):
        machine.smp.write_request(smp.SHELL, 0, {})


def test_output_is_cut_and_says_so(host):
    machine = host()
    got, status = lua(machine, "for i = 1, 2000 do print('line', i) end")
    assert status == 0 and got.startswith("line\t1\n") and len(got) <= 7680
    assert got.endswith("bytes more did not fit)\n")


def test_vms_from_the_prompt(host):
    machine = host(vm("a", "echo") + vm("b"))
    assert lua(machine, "start 'a'") == ("", 0)
    assert lua(machine, "info 'a'.state") == ("running\n", 0)
    assert lua(machine, "vms()[1].name, vms()[2].state, #vms()") == ("a\ndefined\n2\n", 0)
    listing, _ = lua(machine, "vm_list()")
    assert "a" in listing.splitlines()[1] and "running" in listing and "2 MiB" in listing
    assert lua(machine, "for _, v in ipairs(vms()) do if v.state == 'running' then stop(v) end end") == ("", 0)
    assert lua(machine, "info(1).reason") == ("operator\n", 0)
    assert lua(machine, "start 'a' pause 'a' resume 'a' power 'a' stop 'a' destroy 'a'") == ("", 0)
    assert lua(machine, "#vms()") == ("1\n", 0)
    assert lua(machine, "vm 'c' { boot = multiboot { image = 'kernel', cmdline = 'say=hi' }, "
                        "mem = { size = MiB(2) } } start 'c'") == ("", 0)
    deadline = time.monotonic() + 10
    while lua(machine, "console 'c'") != ("hi\n\n", 0):
        assert time.monotonic() < deadline
    assert machine.smp.read_request(VMS, INFO, {"name": "c"})["origin"] == "line:1"
    assert "vm_list()" in lua(machine, "help()")[0]


def test_budget_of_an_interval(host):
    machine = host()
    answers = [lua(machine, "while true do end") for _ in range(6)]
    assert all(status == 1 for _, status in answers)
    assert "instruction budget" in answers[0][0] and "try again later" in answers[-1][0]
    assert machine.smp.echo("alive") == "alive"
    deadline = time.monotonic() + 20
    while lua(machine, "1") != ("1\n", 0):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_discarded_interpreter(host):
    machine = host()
    lua(machine, "kept = 1")
    got, status = lua(machine, "table.move({}, 1, math.maxinteger - 1, 2)")
    assert status == 1 and "its variables are lost" in got
    assert lua(machine, "kept") == ("nil\n", 0)
    assert machine.smp.read_request(74, 0)["lua"]["discards"] == 1


def test_the_prompt_recovers_from_a_lack_of_memory(host):
    """A deep stack leaves what is free in pieces: then the prompt begins anew, and says so. Else its variables stay."""
    machine = host()
    need = "#('0123456789abcdef'):rep(6144), kept"
    short = "not enough memory for the script: it has (3[0-9][0-9]) KiB"  # what the firmware leaves of it
    assert lua(machine, "kept = 'here'") == ("", 0)
    text, status = lua(machine, "local s = 'x' while true do s = s .. s end")
    assert re.fullmatch(short + "\n", text) and status == 1, text
    assert lua(machine, need) == ("98304\nhere\n", 0)
    time.sleep(1)  # the budget of a second
    text, status = lua(machine, "local function f() return f() + 1 end f()")
    assert re.fullmatch(short + "; its variables are lost: what was free was in pieces\n", text) and status == 1, text
    assert lua(machine, need) == ("98304\nnil\n", 0)


def test_start_up_script(host):
    machine = host(vm("a", "say=up", more="autostart = true") + "print('hello', 5) log 'from the script'" + vm("b"))
    machine.wait_for("VM a: started")
    machine.wait_for(b"boot.lua: hello 5")
    machine.wait_for(b"boot.lua: from the script")
    states = {v["name"]: v["state"] for v in machine.smp.read_request(VMS, 0)["vms"]}
    assert states == {"a": "running", "b": "defined"}


def test_script_is_chosen_by_the_boot_argument(host):
    machine = host(vm("a"), files={"scripts/other.lua": vm("b"), "elsewhere/third.lua": vm("c")},
                   args="quiet script=other.lua debug")
    assert [v["name"] for v in machine.smp.read_request(VMS, 0)["vms"]] == ["b"]
    machine = host(vm("a"), files={"elsewhere/third.lua": vm("c")}, args="script=elsewhere/third.lua")
    assert [v["name"] for v in machine.smp.read_request(VMS, 0)["vms"]] == ["c"]


@pytest.mark.parametrize("script,log,names", [
    (vm("a", more="autostart = true") + vm("b", size="64"),
     "script boot.lua: VM b (boot.lua:2): mem.size needs a unit: write MiB(64), not 64", ["a"]),
    (vm("a") + "vm 'b' { memory = {} }", "VM b (boot.lua:2): unknown setting memory; it is called mem", ["a"]),
    ("this is not Lua", "script boot.lua: boot.lua:1: syntax error near 'is'", []),
    ("while true do pcall(function() while true do end end) end", "used up its instruction budget", []),
    (vm("a", more="autostart = true") + vm("x", more="autostart = true").replace('"kernel"', '"nothing"'),
     "VM x: not started: ", ["a", "x"]),
    (vm("a") + vm("a"), "VM a (boot.lua:2) is already defined (boot.lua:1)", ["a"]),
    ("\x1bLuaS", "attempt to load a binary chunk", []),
])
def test_script_with_an_error(host, script, log, names):
    """The error is logged with its place, what was defined before it runs, and the line is open."""
    machine = host(script)
    machine.wait_for(log)
    found = {v["name"]: v["state"] for v in machine.smp.read_request(VMS, 0)["vms"]}
    assert sorted(found) == names
    if "autostart" in script:
        assert found["a"] == "running"
    assert machine.smp.read_request(74, 1) == {"checked": True}


def test_no_script(host):
    machine = host(args="script=nowhere.lua")
    machine.wait_for(b"script nowhere.lua: ")
    assert machine.smp.echo("x") == "x"

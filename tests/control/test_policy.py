# SPDX-License-Identifier: Apache-2.0
"""Scripts that stay: hooks by the clock and by events, the view they see, and what becomes of bad ones."""
import time

import pytest
from conftest import vm


def lua(machine, line):
    text, status = machine.smp.shell(line)
    assert status == 0, text
    return text


def test_every_and_the_log(host):
    machine = host(script='local n = 0\nevery(ms(50), function(now) n = n + 1 log("tick", n) end)\n')
    machine.wait_for("boot.lua: tick 3")


def test_hooks_of_events(host):
    machine = host(script=vm("a", "say=hello end=exit:3") + """
on("vm.stopped", function(e, now)
  log(e.kind, e.vm, e.text, now.vm[e.vm].exit_code, e.seq >= 0, e.missed)
end)
on("vm", function(e) log("saw", e.kind) end)
""")
    lua(machine, 'start "a"')
    machine.wait_for("boot.lua: vm.stopped a debug-exit 3 true 0")
    machine.wait_for("boot.lua: saw vm.stopped")
    machine.wait_for("saw vm.running")


def test_restart_by_policy(host):
    machine = host(script=vm("a", "say=hi end=crash") + """
local tries = 0
on("vm.crashed", function(e)
  tries = tries + 1
  if tries <= 3 then start(e.vm) else alert("given up", e.vm) end
end)
""")
    lua(machine, 'start "a"')
    machine.wait_for("boot.lua: given up")
    assert lua(machine, "now.vm.a.starts") == "4\n"
    assert lua(machine, "now.vm.a.state") == "crashed\n"


@pytest.mark.parametrize("line,output", [
    ("now.vm.a.state, now.vm.a.running, now.vm.a.name, now.vm.a.id", "defined\nfalse\na\n1\n"),
    ("now.vm.a.memory", "MiB(2)\n"),
    ("now.vm.a.memory == MiB(2), now.vm.a.memory_bytes", "true\n2097152\n"),
    ("now.vm.a.reservation, now.vm.a.autostart, now.vm.a.starts", "MiB(2)\nfalse\n0\n"),
    ("now.vm.nobody", "nil\n"),
    ("now.vm[3]", "nil\n"),
    ("#now.vm", "2\n"),
    ("now.vm.a == now.vm.a", "true\n"),
    ("tostring(now.vm.b)", "VM b\n"),
    ("for name, v in pairs(now.vm) do print(name, v.state) end", "a\tdefined\nb\tdefined\n"),
    ("now.host.free < now.host.capacity + MiB(1)", "true\n"),
    ("local n = now.host.uptime_ns local t = now.host.uptime "
     "return n > 0, t >= us(n // 1000), t < us(n // 1000) + sec(1)", "true\ntrue\ntrue\n"),
    ("now.host.committed_bytes > 0, now.host.busy_ns >= 0", "true\ntrue\n"),
    ("start(now.vm.a) return now.vm.a.running", "true\n"),
    ("local v = now.vm.b destroy(v) return v.state, v.name, #now.vm", "nil\nb\n1\n"),
])
def test_the_view(host, line, output):
    machine = host(script=vm("a", "echo") + vm("b"))
    assert lua(machine, line) == output


@pytest.mark.parametrize("line,sentence", [
    ("now.vm.a.sise", "a VM has no field sise"),
    ("now.host.nothing", "the host has no field nothing"),
    ("now.vm.a.state = 'running'", "now is for reading"),
    ("now.vm.a = 1", "now is for reading"),
    ("now.host.free = 1", "now is for reading"),
    ("now.x = 1", "now is for reading"),
    ("every(sec(1), print)", "only a script that stays can have hooks: run or apply it"),
    ("on('vm', print)", "only a script that stays can have hooks: run or apply it"),
    ("every(5, print)", "every takes a time first, as in every(sec(10), f)"),
    ("every(MiB(5), print)", "every takes a time first, as in every(sec(10), f)"),
    ("every(us(5), print)", "every takes at least ms(10)"),
    ("every(sec(1), 5)", "every takes a function second, not a number"),
    ("on('vm.dead', print)", "there is no event vm.dead"),
    ("on('vm')", "on takes a function second, not a no value"),
    ("on(print, print)", "on takes the name of an event first, as in on(\"vm.crashed\", f)"),
    ("alert('x', 'nobody')", "there is no VM of that name"),
])
def test_wrong_words(host, line, sentence):
    machine = host(script=vm("a"))
    text, status = machine.smp.shell(line)
    assert (text, status) == ("line:1: %s\n" % sentence, 1)


def test_cancel(host):
    machine = host(script="""
local n, h = 0
h = every(ms(20), function() n = n + 1 log("run", n) if n == 2 then log(cancel(h), cancel(h), cancel(99)) end end)
every(ms(200), function() log("slow", n) end)
""")
    machine.wait_for("boot.lua: true false false")
    machine.wait_for("boot.lua: slow 2")
    assert "run 3" not in machine.log.decode()


BAD_HOOKS = {
    "error": "error('oops')",
    "loop": "while true do end",
    "kill caught": "while true do pcall(function() while true do end end) end",
    "handlers' handlers": "xpcall(error, function() xpcall(error, function() error() end) error() end) error('x')",
    "memory": "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end",
    "recursion": "local function f() return f() + 1 end f()",
    "metamethod": "local t = setmetatable({}, {__index = function(t, k) return t[k .. 'x'] end}) return t.a",
    "close": "local t <close> = setmetatable({}, {__close = function() while true do end end}) error('x')",
    "coroutines": "for i = 1, 1000000 do pcall(coroutine.wrap(function() while true do end end)) end",
    "all coroutines": "local t = {} for i = 1, 1000000 do t[i] = coroutine.create(print) end",
    "comparator": "local t = {} for i = 1, 5000 do t[i] = i end table.sort(t, function() return true end) "
                  "while true do end",
}


@pytest.mark.parametrize("name", BAD_HOOKS)
def test_a_bad_hook_is_quarantined(host, name):
    """It fails three times, then it is left alone; its neighbours, the guests and the prompt go on."""
    machine = host(script=vm("a", "echo") + """
every(ms(20), function() %s end)
local n = 0
every(ms(20), function() n = n + 1 if n %% 20 == 0 then log("neighbour", n) end end)
on("hook.quarantined", function(e) log("told:", e.text) end)
""" % BAD_HOOKS[name])
    lua(machine, 'start "a"')
    machine.wait_for("is quarantined after 3 failures", 60)
    machine.wait_for("boot.lua: told: boot.lua:", 60)
    count = machine.log.decode().count("failed:")
    assert count == 3
    before = machine.log.count(b"neighbour")
    deadline = time.monotonic() + 60
    while machine.log.count(b"neighbour") < before + 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert lua(machine, "now.vm.a.state") == "running\n"
    assert lua(machine, "get 'lua.hooks_failed', get 'lua.quarantined', get 'lua.scripts'") == "3\n1\n1\n"
    assert machine.log.decode().count("failed:") == 3


STUCK_HOOKS = {
    "table.move": "table.move({}, 1, 1e15, 2)",
    "table.insert": "table.insert(setmetatable({}, {__len = function() return 1 << 60 end}), 1, 1)",
    "patterns": "(('a'):rep(65536)):find(('.-'):rep(4) .. 'b')",
    "handler": "xpcall(function() while true do end end, function() while true do end end)",
    "string.rep": "string.rep('', 1e15)",
}


@pytest.mark.parametrize("name", STUCK_HOOKS)
def test_a_stuck_script_is_abandoned(host, name):
    """What hangs in a library function costs its script, and nothing else."""
    machine = host(script=vm("a", "echo") + """
local n = 0
every(ms(20), function() n = n + 1 if n > 100 then %s end end)
""" % STUCK_HOOKS[name])
    before = lua(machine, "now.host.committed_bytes")
    machine.wait_for("script boot.lua: abandoned, the hook of boot.lua:4 did not return", 60)
    assert int(lua(machine, "now.host.committed_bytes")) == int(before) - (1 << 20)
    assert lua(machine, "get 'lua.abandoned', get 'lua.scripts'") == "1\n0\n"
    assert lua(machine, "start 'a' return now.vm.a.state") == "running\n"
    assert lua(machine, "check().checked") == "true\n"


def test_a_script_without_hooks_leaves_nothing(host):
    without = lua(host(), "now.host.committed_bytes")
    assert lua(host(script='x = 1'), "now.host.committed_bytes, x") == without + "nil\n"


def test_the_budget_of_a_second(host):
    """Many dear calls: each is within its budget, all together are held to the second's."""
    machine = host(script='every(ms(10), function() for i = 1, 30000 do end log("ran") end)')
    machine.wait_for("ran")
    time.sleep(3)
    assert 10 <= machine.log.decode().count("boot.lua: ran") <= 80
    assert "failed" not in machine.log.decode()

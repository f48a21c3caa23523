# SPDX-License-Identifier: Apache-2.0
"""What the control task is kept busy with while a guest measures how long its vcpu waits.

The tests and `make bench` share these, so that the figures of the one are held by the other.
"""
import time

import signer
import vms

MASKED_MAX = 20_000     # instructions in one section with interrupts masked
OVERSHOOT_MAX = 5_000_000  # ns that a script goes on beyond its budget: a preemption slice
FILES, HASH = 8, 2
TREE, GET = 76, 1
POLICY, RUN, STOP = 70, 4, 5

# Lines for the prompt, each of which ends with an error.
HOSTILE = {
    "endless loop": "while true do end",
    "kill caught": "while true do pcall(function() while true do end end) end",
    "string.rep": "return #string.rep('', 1e15)",
    "table.move": "table.move({}, 1, 1e15, 2)",
    "table.insert": "table.insert(setmetatable({}, {__len = function() return 1 << 60 end}), 1, 1)",
    "patterns": "return (('a'):rep(65536)):find('.-.-.-.-b')",
    "comparator": "local t = {} for i = 1, 3000 do t[i] = i end table.sort(t, function() return true end)"
                  " while true do end",
    "collection": "local t = {} for i = 1, 3000 do t[i] = { i } end for i = 1, 20 do collectgarbage() end error('done')",
    "memory": "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end",
    "recursion": "local function f() return f() + 1 end f()",
    "metamethod": "local t = setmetatable({}, {__index = function(t, k) return t[k .. 'x'] end}) return t.a",
    "close": "local t <close> = setmetatable({}, {__close = function() while true do end end}) error('x')",
    "handler": "xpcall(function() while true do end end, function() while true do end end)",
    "handlers' handler": "xpcall(error, function() xpcall(error, function() error() end) error() end) error('x')",
    "coroutines": "for i = 1, 1000000 do pcall(coroutine.wrap(function() while true do end end)) end",
    "all coroutines": "local t = {} for i = 1, 1000000 do t[i] = coroutine.create(print) end",
    "strings": "local s = 'x' while true do s = s .. s end",
}

# A second VM's life.
LIFE = ("define", "start", "info", "pause", "resume", "stop", "start", "power", "stop", "destroy")

# Bodies of hooks that are in a library function when their half a second is over. One conversion of a number is never
# interrupted, so that the longest, '%99.99f' of 1e300 with some 350,000 instructions, is not among them (docs/policy.md).
STUCK = {
    "string.rep": "string.rep('', 1e15)",
    "table.move": "table.move({}, 1, 1e15, 2)",
    "table.insert": "table.insert(setmetatable({}, {__len = function() return 1 << 60 end}), 1, 1)",
    "patterns": "(('a'):rep(65536)):find('.-.-.-.-b')",
    "table.concat": "table.concat(setmetatable({}, {__index = function() return '' end}), '', 1, 1e15)",
    "numbers": "local t = {} for i = 1, 3000 do t[i] = i / 7 end while true do table.concat(t, ' ') end",
    "utf8": "local s = ('\\u{20ac}'):rep(20000) while true do utf8.len(s) utf8.offset(s, 19999) end",
    "string.format": "while true do pcall(string.format, '%99999d', 1) string.format('%99d %.14g', 1, 1 / 7) end",
    "collection": "local t = {} for i = 1, 3000 do t[i] = { i } end while true do collectgarbage() end",
    "handler": "xpcall(error, function() while true do end end)",
}


def beating(word=""):
    """Lua text of the guest that measures: it halts between beats, or with the word "busy" always runs."""
    return vms.guest("beat", cmdline=word, more="autostart = true")


def misbehave(client, name):
    """A hostile line at the prompt: (text, status)."""
    return client.shell(HOSTILE[name], seconds=240)


def counter(operator, path):
    return operator.client.read_request(TREE, GET, {"path": path})["value"]


def overshoot(operator, name):
    """Runs a hook of STUCK once; ns that a script has gone on beyond its budget so far, at worst."""
    runs = counter(operator, "lua.hooks_run")
    text = "local once every(ms(20), function() if once then return end once = true %s end)" % STUCK[name]
    operator.client.write_request(POLICY, RUN, {"text": text, "origin": "stuck"})
    deadline = time.monotonic() + 120
    while counter(operator, "lua.hooks_run") == runs:
        assert time.monotonic() < deadline, "the hook does not end"
        time.sleep(0.1)
    operator.client.write_request(POLICY, STOP, {"name": "stuck"})
    return counter(operator, "lua.overshoot")


def live(operator, verb):
    """One step of LIFE of the VM `other`."""
    if verb == "define":
        operator.define(vms.guest("other", "echo", mem="MiB(16)"))
    else:
        getattr(operator, verb)("other")
    if verb == "start":
        time.sleep(1)


def hash_a_file(client):
    """sha256 of 128 KiB, eight times."""
    text, status = client.shell('collectgarbage() store.put("big", ("0123456789abcdef"):rep(8192))')
    assert status == 0, text
    for _ in range(8):
        answer = client.read_request(FILES, HASH, {"name": "big", "type": "sha256"}, seconds=120)
        assert answer["len"] == 131072


def log_in(client):
    """The machine becomes somebody's, who logs in three times."""
    alice = signer.own(client)
    signer.login(client, alice)
    client.write_request(signer.SESSION, signer.LOGOUT)
    signer.login(client, alice)

# SPDX-License-Identifier: Apache-2.0
"""Plan, apply, rollback, and what a start makes of generations."""
import json
import time

import pytest
import smp
from conftest import vm

POLICY = 70
SCRIPTS, HOOKS, PLAN, APPLY, RUN, STOP, GENERATIONS, ROLLBACK = range(8)
NOTHING = {"added": [], "changed": [], "removed": [], "settings": [], "dropped": [], "hooks": 0}


def plan(machine, text, **more):
    return machine.smp.write_request(POLICY, PLAN, {"text": text, "origin": "site.lua", **more})


def apply(machine, text, origin="site.lua"):
    return machine.smp.write_request(POLICY, APPLY, {"text": text, "origin": origin})


def generations(machine):
    return machine.smp.read_request(POLICY, GENERATIONS)


def names(machine):
    return {entry["name"]: entry["state"] for entry in machine.smp.read_request(65, 0)["vms"]}


def scripts(machine):
    return {s["name"]: s for s in machine.smp.read_request(POLICY, SCRIPTS)["scripts"]}


def refused(machine, command, arguments, rc=None):
    with pytest.raises(smp.SmpError) as caught:
        machine.smp.write_request(POLICY, command, arguments)
    assert rc is None or caught.value.rc == rc
    return caught.value.text


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    path.write_bytes(bytes(4 << 20))
    return ("--disk", str(path), "--speed", "20")


SITE = vm("a") + vm("b", "echo", more="autostart = true") + 'every(sec(1), function() log("beat 1") end)\n'


def test_plan_changes_nothing(host):
    machine = host(script=vm("a") + vm("old"))
    before = names(machine), scripts(machine)
    assert plan(machine, SITE) == {**NOTHING, "added": ["b"], "removed": ["old"], "hooks": 1}
    assert plan(machine, vm("a") + vm("old")) == NOTHING
    answer = plan(machine, vm("a", "other", size="MiB(3)", more="autostart = true") + vm("old"))
    assert answer == {**NOTHING, "changed": [{"name": "a", "settings": ["boot", "mem", "autostart"]}]}
    answer = plan(machine, vm("a") + vm("old") + 'set("log.level", "warn")')
    assert answer == {**NOTHING, "settings": [{"path": "log.level", "value": "warn"}]}
    assert (names(machine), scripts(machine)) == before
    assert machine.smp.shell('get "log.level"')[0] == "info\n"
    assert machine.smp.shell("check().checked")[0] == "true\n"


def dropped(machine, text):
    return [(d["path"], d["value"], d["origin"]) for d in plan(machine, text)["dropped"]]


def test_plan_says_which_settings_go(host, disk, tmp_path):
    machine = host(options=disk)
    text = vm("a") + vm("b")
    sets = """
set("log.level", "warn")
set("host.cpu.slice", ms(2), { for_ = hour(1) })
host { cpu = { slice = ms(3) } }
set("vm.a.on_reset", "restart")
set("vm.b.acpi", false)
"""
    apply(machine, text)
    apply(machine, text + sets)
    assert dropped(machine, text + sets) == []
    assert dropped(machine, text + 'set("log.level", "warn")') == [
        ("host.cpu.slice", "2000000", "override"),  # what it set for a time stays until its time is over
        ("vm.a.on_reset", "stop", "script"), ("vm.b.acpi", "true", "default")]
    # for a time is not for good; a VM that goes takes its own along; a definition that changes says what comes
    changed = vm("a").replace('"stop"', '"restart"') + 'set("log.level", "info", { for_ = min(1) })'
    machine.smp.shell('set("host.cpu.slice", ms(7))')
    assert dropped(machine, changed) == [
        ("log.level", "info", "default"), ("host.cpu.slice", "2000000", "override"),
        ("vm.a.on_reset", "restart", "script")]
    machine.smp.shell('unset "host.cpu.slice"')
    machine.smp.shell('set("vm.a.on_reset", "restart")')
    # nothing that a script or the operator set by themselves
    site = tmp_path / "site.lua"
    site.write_text(text)
    assert machine.ctl("plan", str(site)) == "- log.level: back to info, default\n" \
        "- vm.a.on_reset: back to restart, operator\n- vm.b.acpi: back to true, default\n0 hooks\n"
    # and applying does what the plan said
    assert apply(machine, text)["dropped"][0] == {"path": "log.level", "value": "info", "origin": "default"}
    assert machine.smp.shell("get 'log.level', get 'vm.b.acpi'")[0] == "info\ntrue\n"
    assert dropped(machine, "") == []


HOST_BLOCK = """
host {
  ["log.level"] = "debug",
  cpu = { slice = ms(4) },
  mem = { clear_ahead = { ["4k"] = 100 }, ["clear_ahead.2m"] = 20 },
  ["host.mem.clear_ahead.1g"] = 0,
}
"""


def test_host_settings_are_part_of_the_text(host, disk):
    machine = host(options=disk)
    shell = lambda line: machine.smp.shell(line)[0]
    wanted = {"log.level": "debug", "host.cpu.slice": "4000000", "host.mem.clear_ahead.4k": "100",
              "host.mem.clear_ahead.2m": "20", "host.mem.clear_ahead.1g": "0"}
    assert {s["path"]: s["value"] for s in plan(machine, HOST_BLOCK)["settings"]} == wanted
    before = shell("get 'log.level', get 'host.cpu.slice'")
    assert before.startswith("info\n") and "ms(4)" not in before
    apply(machine, HOST_BLOCK)
    assert shell("get 'log.level', get 'host.cpu.slice', get 'host.mem.clear_ahead.4k'") == "debug\nms(4)\n100\n"
    for path in wanted:
        assert "script" in shell("why '%s'" % path) and "site.lua:2" in shell("why '%s'" % path)
    machine = restart(host, machine, disk)
    assert machine.smp.shell("get 'log.level', get 'host.cpu.slice'")[0] == "debug\nms(4)\n"
    assert {d["path"] for d in apply(machine, "")["dropped"]} == set(wanted)
    assert machine.smp.shell("get 'log.level', get 'host.cpu.slice'")[0] == before


def test_host_at_the_prompt_and_in_scripts(host):
    machine = host(script='host { ["log.level"] = "info" }')
    shell = lambda line: machine.smp.shell(line)[0]
    assert "boot.lua:1" in shell("why 'log.level'")
    assert shell("host { log = { level = 'debug' }, ['cpu.slice'] = ms(1) }") == ""
    assert "operator" in shell("why 'log.level'") and shell("get 'host.cpu.slice'") == "ms(1)\n"
    assert shell("host().engine") == "fake\n"
    assert "a definition cannot set the host" in refused_define(machine, "host {}")
    # all or nothing
    out, status = machine.smp.shell("host { log = { level = 'error' }, cpu = { slice = 5 } }")
    assert status == 1 and shell("get 'log.level'") == "debug\n"


def refused_define(machine, text):
    with pytest.raises(smp.SmpError) as caught:
        machine.smp.write_request(65, 1, {"text": text})
    return caught.value.text


@pytest.mark.parametrize("text,sentence", [
    ("host { keep_free = pct(6) }", "site.lua:1: there is no host.keep_free"),
    ("host { cpu = { slize = ms(5) } }", "there is no host.cpu.slize; did you mean host.cpu.slice?"),
    ("host { ['log.levl'] = 'warn' }", "there is no log.levl; did you mean log.level?"),
    ("host { max = 5 }", "host.max; it is called limit, and this version does not have it"),
    ("host { cpu = { slice = 5 } }", "host.cpu.slice: it needs a unit: write for example ms(5), not 5"),
    ("host { cpu = { slice = ms(500) } }", "host.cpu.slice: "),
    ("host { cpu = 3 }", "host.cpu is no counter or setting, but has some below it"),
    ("host { mem = { free = MiB(1) } }", "host.mem.free is a counter, not a setting"),
    ("host { log = { level = 'loud' } }", "log.level: "),
    ("host { log = { level = print } }", "log.level takes no such value"),
    ("host { 'log.level' }", "host takes settings by their names, not a list"),
    ("host { ['log.level'] = 'warn', log = { level = 'warn' } }", "log.level is set already (site.lua:1)"),
    ("host { ['log.level'] = 'warn' }\nhost { ['log.level'] = 'info' }",
     "site.lua:2: log.level is set already (site.lua:1)"),
    (vm("a") + "host { ['vm.a.acpi'] = false }", "there is no VM called a"),
    ("host 'x'", "host takes a table of settings, as in host { [\"log.level\"] = \"warn\" }, not a string"),
    ("host { [('x'):rep(100)] = 1 }", "there is no setting xxx"),
    ("local t = {} t.t = t host(t)", "the tables of host are more than 8 deep"),
])
def test_wrong_words_for_the_host(host, text, sentence):
    machine = host()
    for command in (PLAN, APPLY):
        assert sentence in refused(machine, command, {"text": text, "origin": "site.lua"})
    assert generations(machine)["current"] == 0


def test_a_vms_setting_is_not_the_hosts(host):
    machine = host(script=vm("a"))
    text, status = machine.smp.shell("host { ['vm.a.acpi'] = false }")
    assert (text, status) == ("line:1: vm.a.acpi is not the host's: it belongs into the definition of its VM\n", 1)


def test_what_the_operator_set_stays_above_a_new_definition(host):
    machine = host(script=vm("a"))
    machine.smp.write_request(65, 2, {"name": "a"})
    shell = lambda line: machine.smp.shell(line)[0]
    shell('set("vm.a.on_reset", "restart", { for_ = min(5), why = "looking" })')
    assert plan(machine, vm("a")) == NOTHING
    answer = apply(machine, vm("a", more="autostart = true"))
    assert answer["changed"] == [{"name": "a", "settings": ["autostart"]}]
    assert shell('get "vm.a.on_reset"') == "restart\n"
    assert "looking" in shell('why "vm.a.on_reset"') and "site.lua:1" in shell('why "vm.a.on_reset"')
    shell('unset "vm.a.on_reset"')
    assert shell('get "vm.a.on_reset"') == "stop\n"


def test_what_a_new_definition_rules_out_is_forgotten(host):
    machine = host(script=vm("a", size="MiB(4)"))
    shell = lambda line: machine.smp.shell(line)[0]
    shell('set("vm.a.mem.reservation", MiB(4))')
    shell('set("vm.a.acpi", false)')
    answer = apply(machine, vm("a", size="MiB(3)"))
    assert answer["changed"] == [{"name": "a", "settings": ["mem"]}]
    assert shell('get("vm.a.mem.reservation") == MiB(3)') == "true\n"
    assert shell('get "vm.a.acpi"') == "false\n"
    assert "rules it out" in shell('print(console("corbel"))')


def test_apply_does_it_all(host):
    machine = host(script=vm("a", size="MiB(3)") + vm("old") + 'on("vm", function() log("seed") end)\n',
                   options=("--disk", "none"))
    machine.smp.write_request(65, 1, {"text": vm("mine")})
    answer = apply(machine, SITE + 'set("log.level", "warn", { why = "quiet" })')
    assert answer == {"generation": 1, "kept": False, "added": ["b"], "changed": [{"name": "a", "settings": ["mem"]}],
                      "removed": ["old"], "settings": [{"path": "log.level", "value": "warn"}], "dropped": [], "hooks": 1,
                      "started": [{"name": "b"}]}
    assert names(machine) == {"a": "defined", "b": "running", "mine": "defined"}
    assert set(scripts(machine)) == {"site.lua"}
    assert scripts(machine)["site.lua"]["generation"] == 1
    assert machine.smp.shell('get "log.level"')[0] == "warn\n"
    assert "site.lua:" in machine.smp.shell('why "log.level"')[0]
    back = [{"path": "log.level", "value": "info", "origin": "default"}]
    assert plan(machine, SITE) == {**NOTHING, "dropped": back, "hooks": 1}
    # the operator's own VM stays whatever comes; what the text no longer has goes
    machine.smp.write_request(65, 3, {"name": "b"})
    assert apply(machine, vm("a"))["removed"] == ["b"]
    assert names(machine) == {"a": "defined", "mine": "defined"}
    assert scripts(machine) == {}
    kinds = [e["kind"] for e in machine.smp.read_request(71, 0, {"from": 0, "kinds": ["generation"]})["events"]]
    assert kinds == ["generation.applied"] * 2


@pytest.mark.parametrize("text,sentence", [
    (vm("a") + "error('oops')", "site.lua:2: oops"),
    (vm("a") + "vm 'x' { mem = 3 }", "site.lua:2"),
    (vm("a") + vm("a"), "VM a (site.lua:2) is already defined (site.lua:1)"),
    (vm("a") + "start 'a'", "a definition cannot start a VM"),
    (vm("a") + "apply 'kernel'", "a definition cannot apply"),
    (vm("b"), "VM a is not in the text, and it is running: stop it first"),
    (vm("a", "echo", size="MiB(4)"), "VM a (site.lua:1): mem.size differs, and it is running: stop it first"),
    (vm("a") + "set('log.level', 'loud')", "log.level"),
    (vm("a") + "while true do end", "stopped: it used up its"),
    (vm("a") + "string.rep('x', 1e9)", "not enough memory"),
    (vm("a") + "every(sec(1), 5)", "every takes a function second, not a number"),
    ("\x1bLua", "attempt to load a binary chunk"),
    ('for i = 1, 64 do vm("x" .. i) { boot = multiboot { image = "kernel" }, mem = { size = MiB(1) } } end\n'
     + vm("a", "echo"), "64"),
], ids=str.split("error vm twice verb apply running differs setting loop memory hook bytecode many"))
def test_what_is_refused_changes_nothing(host, text, sentence):
    machine = host(script=vm("a", "echo", more="autostart = true") + 'every(sec(9), print)')
    before = names(machine), scripts(machine), machine.smp.shell("now.host.committed_bytes")[0]
    for command in (PLAN, APPLY):
        assert sentence in refused(machine, command, {"text": text, "origin": "site.lua"})
        after = names(machine), scripts(machine), machine.smp.shell("now.host.committed_bytes")[0]
        assert after == before
    assert generations(machine)["current"] == 0
    assert machine.smp.shell("check().checked")[0] == "true\n"


def test_arguments(host):
    machine = host()
    assert refused(machine, PLAN, {}) == "either text or file is needed"
    assert refused(machine, APPLY, {"text": "", "file": "x"}) == "either text or file is needed"
    assert refused(machine, APPLY, {"file": "nothing.lua"}, smp.NO_ENTRY)
    assert refused(machine, PLAN, {"file": "system/keys"}, smp.DENIED)
    assert "control plane's own" in refused(machine, RUN, {"text": "use('system/keys')"})
    assert refused(machine, RUN, {"text": "error('x')"}) == "text:1: x"
    assert refused(machine, STOP, {"name": "nobody"}, smp.NO_ENTRY) == "there is no script called nobody"
    assert refused(machine, ROLLBACK, {"number": 7}, smp.NO_ENTRY) == "generation 7 is not kept"
    assert refused(machine, ROLLBACK, {"number": "7"}, smp.BAD_VALUE)


def test_a_hook_cannot_apply(host):
    machine = host(script='every(ms(20), function() apply "kernel" end)')
    machine.wait_for("a script cannot plan or apply: that is the operator's")


def test_files_of_the_store_and_the_prompt(host):
    machine = host(files={"scripts/site.lua": SITE, "scripts/long.lua": SITE + "-- " + "x" * 20000})
    answer = machine.smp.write_request(POLICY, PLAN, {"file": "scripts/long.lua"})
    assert answer == {**NOTHING, "added": ["a", "b"], "hooks": 1}
    assert machine.smp.shell("plan('scripts/site.lua').added")[0] == '{ "a", "b" }\n'
    assert machine.smp.shell("apply('scripts/site.lua').generation")[0] == "1\n"
    assert scripts(machine)["site.lua"]["hooks"] == 1
    assert refused(machine, RUN, {"file": "scripts/site.lua"}) == "a script called site.lua is there already"


def test_run_and_stop(host):
    machine = host()
    before = machine.smp.shell("now.host.committed_bytes")
    text = 'on("vm", print)\nevery(ms(20), function() log("beat") end)\n'
    assert machine.smp.write_request(POLICY, RUN, {"text": text, "origin": "p.lua"}) == {"name": "p.lua", "hooks": 2}
    machine.wait_for("p.lua: beat")
    hooks = machine.smp.read_request(POLICY, HOOKS, {"name": "p.lua"})["hooks"]
    assert [(h["number"], h["where"], h.get("event"), h.get("period_ns")) for h in hooks] == [
        (1, "p.lua:1", "vm", None), (2, "p.lua:2", None, 20000000)]
    assert hooks[1]["runs"] >= 1 and hooks[1]["most_steps"] > 0 and not hooks[1]["quarantined"]
    assert scripts(machine)["p.lua"]["heap_used"] <= 48 << 10    # a state with its libraries, and two hooks
    # an applied text leaves it alone
    apply(machine, "")
    assert set(scripts(machine)) == {"p.lua"}
    machine.smp.write_request(POLICY, STOP, {"name": "p.lua"})
    assert scripts(machine) == {}
    assert machine.smp.write_request(POLICY, RUN, {"text": "log('once')"}) == {"name": "text", "hooks": 0}
    assert machine.smp.shell("now.host.committed_bytes") == before


def test_eight_scripts(host):
    machine = host()
    for i in range(8):
        machine.smp.write_request(POLICY, RUN, {"text": "every(sec(1), print)", "origin": "p%d" % i})
    assert "which is all there may be" in refused(machine, RUN, {"text": "", "origin": "p9"})
    machine.smp.write_request(POLICY, STOP, {"name": "p3"})
    machine.smp.write_request(POLICY, RUN, {"text": "every(sec(1), print)", "origin": "p9"})


# ---- over starts ----

def restart(host, machine, disk, script="", hard=False):
    if hard:
        machine.disconnect()
        machine.process.kill()
        machine.process.wait()
        machine.process.returncode = 0
    else:
        machine.close()
    return host(script=script, options=disk)


def test_a_generation_survives(host, disk):
    machine = host(script=vm("seed"), options=disk)
    odd = SITE + "-- \u00fc\r\n\t--"
    answer = apply(machine, odd)
    assert (answer["generation"], answer["kept"], answer["removed"]) == (1, True, ["seed"])
    state = generations(machine)
    assert (state["current"], state["good"], state["on_trial"], state["kept"]) == (1, 0, True, True)
    assert state["generations"] == [{"number": 1, "origin": "site.lua", "size": len(odd.encode())}]
    machine = restart(host, machine, disk)
    assert names(machine) == {"a": "defined", "b": "running"}
    assert generations(machine)["current"] == 1
    machine.wait_for("site.lua: beat 1")
    assert plan(machine, odd) == {**NOTHING, "hooks": 1}
    # the same bytes are there
    assert machine.smp.shell("files()['generations/0000000001/site.lua']")[0] == "%d\n" % len(odd.encode())


def test_one_that_does_not_become_good_falls_back(host, disk):
    machine = host(options=disk)
    apply(machine, vm("first"))
    machine.wait_for("generation 1 is good", 60)
    apply(machine, vm("second"), "site2.lua")
    assert names(machine) == {"second": "defined"}
    machine = restart(host, machine, disk, hard=True)   # its first start of its own: it is tried
    assert names(machine) == {"second": "defined"}
    assert generations(machine)["current"] == 2
    machine = restart(host, machine, disk, hard=True)   # it did not last: the good one
    assert names(machine) == {"first": "defined"}
    state = generations(machine)
    assert (state["current"], state["good"]) == (1, 1)
    machine.wait_for("generation 2 did not become good: back to 1")
    # the numbers go on
    assert apply(machine, vm("third"))["generation"] == 3


def test_a_good_one_that_no_longer_starts(host, disk):
    machine = host(options=disk)
    apply(machine, vm("first"))
    machine.wait_for("generation 1 is good", 60)
    for _ in range(3):
        machine = restart(host, machine, disk, script=vm("seed"), hard=True)
        assert names(machine) == {"first": "defined"}
    machine = restart(host, machine, disk, script=vm("seed"), hard=True)
    assert names(machine) == {"seed": "defined"}
    machine.wait_for("back to 0, the seed's script")


def test_rollback(host, disk):
    machine = host(options=disk)
    apply(machine, vm("first") + 'every(sec(1), print)', "one.lua")
    apply(machine, vm("second"), "two.lua")
    answer = machine.smp.write_request(POLICY, ROLLBACK, {"number": 1})
    assert (answer["generation"], answer["added"], answer["removed"]) == (1, ["first"], ["second"])
    assert set(scripts(machine)) == {"one.lua"}
    machine = restart(host, machine, disk)
    assert names(machine) == {"first": "defined"}


def put(machine, name, text):
    out, status = machine.smp.shell("store.put('%s', %s)" % (name, json.dumps(text, ensure_ascii=False)))
    assert status == 0, out


USES = 'use("parts/vms.lua", "%s") every(ms(50), function() log("count", counted()) end)\n'
PART = vm("a").replace('"a"', '(...)') + "%s use 'parts/deep.lua'"
DEEP = 'function counted() return "%s" end'


def test_what_a_text_uses_is_part_of_it(host, disk):
    """As it was when the text was applied: changed, deleted, and back with a rollback."""
    machine = host(options=disk)
    put(machine, "parts/vms.lua", PART % "-- \u00fc\r\n")
    put(machine, "parts/deep.lua", DEEP % "old")
    apply(machine, USES % "first", "one.lua")
    machine.wait_for("one.lua: count old")
    kept = machine.smp.shell("store.get 'generations/0000000001.use/parts/vms.lua' == store.get 'parts/vms.lua'")[0]
    assert kept == "true\n"
    put(machine, "parts/deep.lua", DEEP % "new")
    assert machine.smp.shell("store.delete 'parts/vms.lua'")[1] == 0
    machine = restart(host, machine, disk)
    assert names(machine) == {"first": "defined"}
    machine.wait_for("one.lua: count old")
    # another one has them as they are now
    assert "parts/vms.lua" in refused(machine, PLAN, {"text": USES % "second"}, smp.BAD_VALUE)
    put(machine, "parts/vms.lua", PART % "")
    assert apply(machine, USES % "second", "two.lua")["generation"] == 2
    machine.wait_for("two.lua: count new")
    answer = machine.smp.write_request(POLICY, ROLLBACK, {"number": 1})
    assert (answer["added"], answer["removed"]) == (["first"], ["second"])
    mark = len(machine.log)
    deadline = time.monotonic() + 20
    while b"count old" not in machine.log[mark:]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    machine = restart(host, machine, disk)
    assert names(machine) == {"first": "defined"}
    machine.wait_for("one.lua: count old")
    assert "count new" not in machine.log.decode()


def test_hooks_use_what_their_generation_holds(host, disk):
    machine = host(options=disk)
    put(machine, "part", "return 'old'")
    put(machine, "other", "return 'other'")
    apply(machine, """
local first = use "part"
every(ms(50), function() log("part", first, use "part") end)
every(ms(50), function() use "other" end)
""")
    put(machine, "part", "return 'new'")
    machine.wait_for("site.lua: part old old")
    machine.wait_for("generation 1 does not hold other: its text did not use it when it was applied")
    assert "part old new" not in machine.log.decode()
    # scripts that are no generation's, and the prompt, have the files as they are
    machine.smp.write_request(POLICY, RUN, {"text": "log('run', use 'part')"})
    machine.wait_for("text: run new")
    assert machine.smp.shell("use 'part'")[0] == "new\n"


def test_limits_of_what_is_used(host, disk):
    machine = host(files={"has blank": "", "x" * 101: "", "many/x": ""}, options=disk)
    for text, sentence in [
            ("use 'has blank'", "has blank cannot be kept with a generation: its name has blanks or empty parts"),
            ("use(('x'):rep(101))", "is too long to be kept with a generation: 100 bytes are possible"),
            ("for i = 1, 17 do use('f' .. i) end", "f17: a text uses at most 16 files"),
            ("use 'large'", "large has more than 65536 bytes"),
            ("use 'generations/0000000001.use/x'", "there is no"),
    ]:
        if "f'" in text:
            assert machine.smp.shell("for i = 1, 17 do store.put('f' .. i, '') end")[1] == 0
        if "large" in text:
            assert machine.smp.shell("store.put('large', (' '):rep(65537))")[1] == 0
        for command in (PLAN, APPLY):
            assert sentence in refused(machine, command, {"text": text})
    assert generations(machine)["generations"] == []
    assert machine.smp.shell("next(store.list 'generations/')")[0] == "nil\n"


def test_old_generations_are_deleted(host, disk):
    machine = host(options=disk)
    for i in range(12):
        apply(machine, vm("v%d" % i))
    state = generations(machine)
    assert [g["number"] for g in state["generations"]] == list(range(5, 13))


def test_a_script_named_at_the_loader_comes_first(host, disk):
    machine = host(options=disk)
    apply(machine, vm("site"))
    machine.close()
    machine = host(files={"scripts/rescue.lua": vm("rescue")}, args="script=rescue.lua", options=disk)
    assert names(machine) == {"rescue": "defined"}


def test_corbelctl(host, disk, tmp_path):
    machine = host(options=disk)
    site = tmp_path / "site.lua"
    site.write_text(SITE)
    assert machine.ctl("plan", str(site)) == "+ vm a\n+ vm b\n1 hooks\n"
    assert machine.ctl("apply", str(site)) == "+ vm a\n+ vm b\n1 hooks\nstarted b\ngeneration 1 is in force\n"
    assert "site.lua" in machine.ctl("generations") and "in force" in machine.ctl("generations")
    assert json.loads(machine.ctl("--json", "plan", str(site)))["hooks"] == 1
    assert "ready" in machine.ctl("script", "list")
    assert "every 1" in machine.ctl("script", "list", "site.lua")
    machine.ctl("stop", "b")
    assert machine.ctl("plan", ":scripts/boot.lua") == "- vm a\n- vm b\n0 hooks\n"
    done = machine.ctl_run("rollback", "x")
    assert done.returncode == 2
    done = machine.ctl_run("rollback", "9")
    assert (done.returncode, done.stderr) == (1, "corbelctl: generation 9 is not kept\n")
    hello = tmp_path / "hello.lua"
    hello.write_text("log('hello')")
    assert machine.ctl("run", str(hello)) == ""
    machine.wait_for("hello.lua: hello")
    assert machine.ctl("script", "stop", "site.lua") == ""

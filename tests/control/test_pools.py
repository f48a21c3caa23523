# SPDX-License-Identifier: Apache-2.0
"""Resource pools: by Lua, over the wire, in the tree of settings, and as a part of generations."""
import json
import time

import pytest
import smp
from conftest import vm
from test_cpu_numbers import HUGE, change, refused, value
from test_generations import NOTHING, apply, plan
from test_session import enroll, login

POOLS, POOL, CREATE, SET, REMOVE, MOVE = range(3, 9)
GROUP = 67
OWN = ["root", "system"]
MIB = 1 << 20


def pool(name, text="", **numbers):
    return 'pool "%s" { %s }\n' % (name, text)


def cpu(text):
    return "cpu = { %s }" % text


def pools(machine):
    return {p["name"]: p for p in machine.smp.read_request(GROUP, POOLS)["pools"]}


def show(machine, name):
    return machine.smp.read_request(GROUP, POOL, {"name": name})


def create(machine, name, **config):
    return machine.smp.write_request(GROUP, CREATE, {"name": name, "config": config})


def start(machine, *names):
    for name in names:
        machine.smp.write_request(65, 2, {"name": name})


def until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def entitled(machine, name, want, place="vm"):
    """At the next division, which is a millisecond of the guests' later."""
    until(lambda: value(machine, "%s.%s.cpu.entitled" % (place, name)) == want)


def consistent(machine):
    assert machine.smp.read_request(74, 1) == {"checked": True}


TREE = pool("edge", cpu("shares = 2000, reservation = pct(40), limit = pct(80)")) + \
    pool("inner", 'parent = "edge", ' + cpu("reservation = pct(30)"))


# ---- in a script


def test_pools_in_a_script(host):
    machine = host(script=TREE + vm("a", "echo", more='pool = "inner", cpu = { reservation = pct(10) }') + 'start "a"')
    there = pools(machine)
    assert list(there) == ["root", "system", "edge", "inner"]
    assert there["root"]["own"] and there["root"]["cpu"]["reservation"] == 10 ** 6 and "parent" not in there["root"]
    edge, inner = there["edge"], there["inner"]
    assert (edge["parent"], edge["vm_count"], edge["pool_count"]) == ("root", 0, 1)
    assert {key: edge["cpu"][key] for key in ("shares", "reservation", "limit")} == {
        "shares": 2000, "reservation": 400000, "limit": 800000}
    assert (inner["parent"], inner["vm_count"], inner["cpu"]["shares"]) == ("edge", 1, 1000)
    assert "limit" not in inner["cpu"]
    assert show(machine, "inner")["vms"] == ["a"] and show(machine, "edge")["pools"] == ["inner"]
    assert show(machine, "edge")["origin"] == "boot.lua:1"
    # the only one who wants anything: what its limit says, all the way down
    entitled(machine, "a", 800000)
    assert all(pools(machine)[name]["cpu"]["entitled"] == 800000 for name in ("edge", "inner"))
    consistent(machine)


@pytest.mark.parametrize("text, why", [
    (pool("Edge"), "pool Edge (t:1): name has a character outside"),
    (pool("a" * 32), "the name has 32 characters, at most 31"), (pool(""), "name is missing"),
    (pool("root"), "the name is that of a pool of the machine's own"), (pool("system"), "of the machine's own"),
    (pool("a\\0b"), "the name holds a NUL"),
    (pool("a", 'parent = "a"'), "pool a (t:1): it cannot be its own parent"),
    (pool("a", 'parent = "nobody"'), "pool a (t:1): parent: there is no pool called nobody"),
    (pool("a", 'parent = "edg"'), "there is no pool called edg; did you mean edge?"),
    (pool("a", 'parent = "system"'), "pool system is for the host's own tasks alone"),
    (pool("a", "parent = 5"), "pool a (t:1): parent takes text"),
    (pool("edge"), "pool edge (t:1): there is a pool of that name (defined at boot.lua:1)"),
    (pool("a", "parrent = 'edge'"), "unknown setting parrent; did you mean parent?"),
    (pool("a", cpu("share = 5")), "unknown setting cpu.share; it is called shares"),
    (pool("a", cpu("weight = 5")), "it is called shares"), (pool("a", cpu("count = 5")), "unknown setting cpu.count"),
    (pool("a", cpu("shares = 0")), "cpu.shares is 0, it can be 1 to 1000000"),
    (pool("a", cpu("shares = %d" % HUGE)), "cpu.shares is 2147483648, it can be 1 to 1000000"),
    (pool("a", cpu("limit = pct(0)")), "a cpu.limit of 0 would never let it run"),
    (pool("a", cpu("limit = 20")), "cpu.limit needs a unit: write pct(20) or mhz(...), not 20"),
    (pool("a", cpu("reservation = pct(50), limit = pct(20)")), "cpu.reservation (500000 ppm) is above cpu.limit (200000 ppm)"),
    (pool("a", cpu("reservation = pct(61)")), "reservations of 400000 + 610000 ppm do not fit the 1000000 ppm of pool root"),
    (pool("a", 'parent = "edge", ' + cpu("reservation = pct(11)")),
     "pool a (t:1): cpu: reservations of 300000 + 110000 ppm do not fit the 400000 ppm of pool edge"),
    ('pool "a"', "pool a (t:1): its table of settings is missing"), ("pool(5)", "pool takes a name and a table"),
    ('pool "a" (5)', "its settings are a number, not a table"),
    (vm("v", more='pool = "egde"'), "VM v (t:1): pool: there is no pool called egde; did you mean edge?"),
    (vm("v", more='pool = "system"'), "pool system is for the host's own tasks alone"),
    (vm("v", more="pool = {}"), "pool takes text"),
])
def test_bad_pools(host, text, why):
    """As a script that runs at once, and as a text that is planned, where the pools of the text before are gone."""
    machine = host(script=TREE)
    before = pools(machine)
    rc, said = refused(machine.smp.write_request, 70, 4, {"text": text, "origin": "t"})
    assert why in said, said
    assert pools(machine).keys() == before.keys()
    consistent(machine)


def test_a_text_of_definitions_has_no_pools(host):
    machine = host()
    rc, said = refused(machine.smp.write_request, 65, 1, {"text": pool("a") + vm("b"), "origin": "t"})
    assert "pool a (t:1): a text for vm define has VMs alone; apply takes pools" in said
    assert "a" not in pools(machine)
    assert "a definition cannot remove-pool" in refused(machine.smp.write_request, 65, 1, {"text": "pool_remove 'x'"})[1]


def test_too_many_and_too_deep(host):
    machine = host()
    for i in range(32):
        create(machine, "p%d" % i, **({"parent": "p%d" % (i - 1)} if 0 < i < 6 else {}))
    rc, said = refused(create, machine, "one-more")
    assert rc == smp.NO_MEMORY and "there are 32 pools already" in said
    machine.smp.write_request(GROUP, REMOVE, {"name": "p31"})
    rc, said = refused(create, machine, "deep", parent="p5")
    assert "pools nest at most 6 deep" in said
    rc, said = refused(machine.smp.write_request, GROUP, SET, {"name": "p0", "config": {"parent": "p6"}})
    assert "pools nest at most 6 deep" in said
    # a VM goes into the deepest
    machine.smp.write_request(65, 1, {"text": vm("v", "echo", more='pool = "p5"')})
    start(machine, "v")
    assert len(pools(machine)) == 31 + len(OWN)
    pages, after = [], 0
    while True:
        page = machine.smp.read_request(GROUP, POOLS, {"after": after, "max": 5})
        pages.append([p["name"] for p in page["pools"]])
        if "next" not in page:
            break
        after = page["next"]
    assert sum(pages, []) == list(pools(machine)) and all(len(p) == 5 for p in pages[:-1])
    consistent(machine)


# ---- over the wire


def test_create_set_remove(host):
    machine = host()
    made = create(machine, "edge", cpu={"shares": 5, "reservation": 200000, "limit": 500000})
    assert made["name"] == "edge"
    reply = machine.smp.write_request(GROUP, SET, {"name": "edge", "config": {"cpu": {"shares": 7, "limit": "none"}}})
    assert (reply["cpu"]["shares"], reply["cpu"]["reservation"]) == (7, 200000) and "limit" not in reply["cpu"]
    # they are settings, and come from the operator
    chain = machine.smp.read_request(76, 4, {"path": "pool.edge.cpu.shares"})["chain"]
    assert [(link["origin"], link["value"]) for link in chain] == [("operator", 7), ("script", 5), ("default", 1000)]
    machine.smp.write_request(76, 3, {"path": "pool.edge.cpu.shares"})
    assert pools(machine)["edge"]["cpu"]["shares"] == 5
    create(machine, "inner", parent="edge")
    assert "pool edge cannot be removed: pool inner is in it" in refused(machine.smp.write_request, GROUP, REMOVE, {"name": "edge"})[1]
    machine.smp.write_request(65, 1, {"text": vm("v", more='pool = "inner"')})
    rc, said = refused(machine.smp.write_request, GROUP, REMOVE, {"name": "inner"})
    assert rc == smp.BUSY and "pool inner cannot be removed: VM v is in it" in said
    machine.smp.write_request(65, 6, {"name": "v"})
    machine.smp.write_request(GROUP, REMOVE, {"name": "inner"})
    machine.smp.write_request(GROUP, REMOVE, {"name": "edge"})
    assert list(pools(machine)) == OWN
    rc, said = refused(show, machine, "edge")
    assert rc == smp.NO_ENTRY and "there is no pool called edge" in said
    for name in ("root", "nobody"):
        refused(machine.smp.write_request, GROUP, REMOVE, {"name": name})
        refused(machine.smp.write_request, GROUP, SET, {"name": name, "config": {"cpu": {"shares": 5}}})
    kinds = [e["kind"] for e in machine.smp.read_request(71, 0, {"from": 0})["events"] if e["kind"].startswith("pool")]
    assert kinds == ["pool.defined", "pool.changed", "pool.defined", "pool.removed", "pool.removed"]
    entries = machine.smp.read_request(64, 8, {"from": 0})["entries"]
    assert {"cpu.create-pool", "cpu.set-pool", "cpu.remove-pool"} <= {e["what"] for e in entries}
    consistent(machine)


def test_several_numbers_at_once(host):
    """Neither order by itself would do: what counts is what they are together."""
    machine = host()
    create(machine, "edge", cpu={"reservation": 200000, "limit": 300000})
    put = lambda **numbers: machine.smp.write_request(GROUP, SET, {"name": "edge", "config": {"cpu": numbers}})["cpu"]
    assert put(reservation=700000, limit=800000)["reservation"] == 700000
    assert put(reservation=100000, limit=150000)["limit"] == 150000
    create(machine, "small", cpu={"reservation": 50000})
    create(machine, "large", cpu={"reservation": 500000})
    machine.smp.write_request(GROUP, SET, {"name": "edge", "config": {"parent": "large", "cpu": {"reservation": 400000, "limit": "none"}}})
    rc, said = refused(machine.smp.write_request, GROUP, SET, {"name": "edge", "config": {"parent": "small"}})
    assert "reservations of 0 + 400000 ppm do not fit the 50000 ppm of pool small" in said
    machine.smp.write_request(GROUP, SET, {"name": "edge", "config": {"parent": "small", "cpu": {"reservation": 50000}}})
    assert pools(machine)["edge"]["parent"] == "small"
    consistent(machine)


@pytest.mark.parametrize("config, why", [
    ({"cpu": {"shares": 0}}, "cpu.shares is 0"), ({"cpu": {"shares": HUGE}}, "it can be 1 to 1000000"),
    ({"cpu": {"limit": 0}}, "a cpu.limit of 0"), ({"cpu": {"limit": 1, "reservation": 2}}, "is above cpu.limit"),
    ({"cpu": {"reservation": 1000001}}, "do not fit the 1000000 ppm of pool root"),
    ({"cpu": {"reservation": 1 << 63}}, "do not fit the 1000000 ppm of pool root"),
    ({"cpu": {"limit": "20%"}}, "cpu.limit takes a number of millionths of one CPU"),
    ({"cpu": {"reservation": -1}}, "cpu.reservation takes"), ({"cpu": 5}, "cpu takes a table"),
    ({"parent": "inner"}, "its parent inner is below it: that would be a loop"), ({"parent": "edge"}, "it cannot be its own parent"),
    ({"parent": "x"}, "there is no pool called x"), ({"mem": {}}, "unknown setting mem"),
])
def test_bad_changes(host, config, why):
    machine = host(script=pool("edge", cpu("shares = 5")) + pool("inner", 'parent = "edge"'))
    before = pools(machine)
    rc, said = refused(machine.smp.write_request, GROUP, SET, {"name": "edge", "config": config})
    assert why in said, said
    if "loop" not in why and "own parent" not in why:
        assert why in refused(create, machine, "new", **config)[1]
    assert pools(machine) == {**before, **{}} or pools(machine).keys() == before.keys()
    assert pools(machine)["edge"]["cpu"]["shares"] == 5
    consistent(machine)


def test_less_than_those_in_it_have(host):
    machine = host(script=TREE + vm("a", "echo", more='pool = "inner", cpu = { reservation = pct(20) }') + 'start "a"')
    for path, to, why in (
            ("pool.edge.cpu.reservation", "29%", "reservations of 300000 ppm below pool edge do not fit its 290000 ppm"),
            ("pool.inner.cpu.reservation", "19%", "reservations of 200000 ppm below pool inner do not fit its 190000 ppm"),
            ("pool.inner.cpu.reservation", "41%", "reservations of 0 + 410000 ppm do not fit the 400000 ppm of pool edge"),
            ("vm.a.cpu.reservation", "31%", "reservations of 0 + 310000 ppm do not fit the 300000 ppm of pool inner"),
            ("pool.edge.cpu.limit", "39%", "cpu.reservation (400000 ppm) is above cpu.limit (390000 ppm)")):
        rc, said = refused(change, machine, path, to)
        assert rc in (smp.BAD_VALUE, smp.NO_MEMORY) and path in said and why in said, said
    consistent(machine)


def test_rights(host):
    machine = host(script=TREE + vm("web") + vm("db"))
    create(machine, "x")
    from signer import Key
    observer, limited = Key(), Key()
    enroll(machine.smp, "eve", "observer", observer)
    enroll(machine.smp, "bob", "operator", limited, vms=["web"])
    login(machine.smp, observer)
    assert "edge" in pools(machine)
    for command, arguments in ((CREATE, {"name": "y"}), (SET, {"name": "x", "config": {}}), (REMOVE, {"name": "x"}),
                               (MOVE, {"name": "web", "pool": "edge"})):
        assert refused(machine.smp.write_request, GROUP, command, arguments)[0] == smp.DENIED
    machine.smp.write_request(64, 3)
    login(machine.smp, limited)
    for command, arguments in ((CREATE, {"name": "y"}), (SET, {"name": "x", "config": {}}), (REMOVE, {"name": "x"}),
                               (MOVE, {"name": "web", "pool": "edge"})):
        assert refused(machine.smp.write_request, GROUP, command, arguments)[0] == smp.DENIED
    assert refused(change, machine, "pool.x.cpu.shares", 5)[0] == smp.DENIED


# ---- VMs in them


def test_a_vm_moves_while_it_runs(host):
    machine = host(script=TREE + pool("other", cpu("limit = pct(10)")) +
                   vm("a", "echo", more='pool = "inner", cpu = { reservation = pct(20) }') + 'start "a"')
    used = lambda name: value(machine, "pool.%s.cpu.used" % name)
    until(lambda: used("inner") > 10 ** 6)
    rc, said = refused(machine.smp.write_request, GROUP, MOVE, {"name": "a", "pool": "other"})
    assert rc == smp.NO_MEMORY and "VM a: cpu: reservations of 0 + 200000 ppm do not fit the 0 ppm of pool other" in said
    assert refused(machine.smp.write_request, GROUP, MOVE, {"name": "a", "pool": "inne"})[1].count("did you mean inner?")
    assert refused(machine.smp.write_request, GROUP, MOVE, {"name": "a", "pool": "system"})[0] == smp.DENIED
    change(machine, "vm.a.cpu.reservation", 0)
    before = used("inner"), used("edge")
    machine.smp.write_request(GROUP, MOVE, {"name": "a", "pool": "other"})
    # what it used there stays there, and the new one begins with what it uses from now on
    assert before[0] <= used("inner") == used("edge") and used("other") < used("inner")
    assert (pools(machine)["other"]["vm_count"], pools(machine)["inner"]["vm_count"]) == (1, 0)
    entitled(machine, "a", 100000)
    consistent(machine)
    machine.smp.write_request(GROUP, MOVE, {"name": "a", "pool": "root"})
    entitled(machine, "a", 10 ** 6)
    assert show(machine, "root")["vms"] == ["a"]
    machine.smp.write_request(GROUP, MOVE, {"name": "a", "pool": "other"})
    until(lambda: used("other") > 0)
    total = used("root")
    machine.smp.write_request(65, 3, {"name": "a"})
    assert used("root") >= total >= used("edge") + used("other") > used("edge")
    consistent(machine)


def test_the_promise_of_a_vm_at_rest_is_tried(host):
    machine = host(script=pool("edge", cpu("reservation = pct(20)")) +
                   vm("a", more='pool = "edge", cpu = { reservation = pct(15) }') +
                   vm("b", more='pool = "edge", cpu = { reservation = pct(15) }'))
    start(machine, "a")
    rc, said = refused(machine.smp.write_request, 65, 2, {"name": "b"})
    assert rc == smp.NO_MEMORY and "VM b: cpu: reservations of 150000 + 150000 ppm do not fit the 200000 ppm of pool edge" in said
    change(machine, "pool.edge.cpu.reservation", "30%")
    start(machine, "b")
    assert machine.smp.read_request(65, 7, {"name": "b"})["config"]["pool"] == "edge"


def test_settings_of_a_pool(host):
    machine = host(script=TREE)
    assert machine.ctl("get", "pool.edge.cpu.limit") == "80 %\n"
    machine.ctl("set", "pool.edge.cpu.limit", "50%", "--for", "1h", "--why", "night")
    lines = machine.ctl("why", "pool.edge.cpu.limit").splitlines()
    assert lines[0] == "pool.edge.cpu.limit = 50 %" and "night" in lines[1] and "boot.lua:1" in lines[2]
    machine.ctl("unset", "pool.edge.cpu.limit")
    assert value(machine, "pool.edge.cpu.limit") == 800000
    done = machine.ctl_run("get", "pool.egde.cpu.limit")
    assert done.returncode == 1 and "there is no pool called egde; did you mean pool.edge?" in done.stderr
    assert "cpu.limit" in machine.ctl_run("get", "pool.edge.cpu.limits").stderr
    for name in ("shares", "reservation", "limit"):
        refused(change, machine, "pool.root.cpu." + name, 5)
    for bad, why in ((0, "outside 1 to 1000000"), (HUGE, "outside 1 to 1000000")):
        assert why in refused(change, machine, "pool.edge.cpu.shares", bad)[1]
    fields = machine.smp.read_request(2, 0, {"name": "pool.edge"})["fields"]
    assert fields["pools"] == 1 and fields["vms"] == 0
    assert "belongs into the definition of its pool" in machine.ctl_run(
        "lua", 'host { pool = { edge = { cpu = { shares = 5 } } } }').stderr


def test_saved_settings_of_a_pool(host, tmp_path):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4 << 20))
    options = ("--disk", str(disk))
    machine = host(script=TREE, options=options)
    machine.ctl("set", "pool.edge.cpu.shares", "77")
    machine.ctl("save", "pool.edge")
    machine.close()
    machine = host(script=TREE, options=options)
    assert value(machine, "pool.edge.cpu.shares") == 77


def test_now_and_the_prompt(host):
    machine = host(script=TREE + vm("a", "echo", more='pool = "inner"') + 'start "a"')
    shell = lambda line: machine.smp.shell(line)[0]
    assert shell("now.pool.edge.limit, now.pool.edge.shares, now.pool.inner.parent, now.pool.inner.limit") == \
        "pct(80)\n2000\nedge\nnil\n"
    assert shell("now.pool.nobody, now.vm.a.pool, #now.pool, now.pool.inner.vms") == "nil\ninner\n4\n1\n"
    assert shell("now.pool.edge.allowed <= pct(80) and now.pool.edge.used >= ms(0)") == "true\n"
    assert shell("local t = {} for name, p in pairs(now.pool) do t[#t + 1] = name .. p.id end return table.concat(t, ' ')") == \
        "root1 system2 edge3 inner4\n"
    assert "a pool has no field nam" in machine.smp.shell("now.pool.edge.nam")[0]
    assert "now is for reading" in machine.smp.shell("now.pool.edge.limit = 5")[0]
    assert shell("p = now.pool.inner pool_move('a', 'edge') pool_remove 'inner' return p.name, p.limit, now.vm.a.pool") == \
        "inner\nnil\nedge\n"
    assert "pool edge cannot be removed: VM a is in it" in machine.smp.shell("pool_remove 'edge'")[0]
    assert "a circle" not in shell("pool 'at-once' { parent = 'edge' } return now.pool['at-once'].parent")
    assert show(machine, "at-once")["parent"] == "edge"


# ---- generations

SITE = TREE + vm("a", "echo", more='pool = "inner", cpu = { reservation = pct(20), shares = 500 }, autostart = true')


def test_plan_and_apply(host):
    machine = host()
    assert plan(machine, SITE) == {**NOTHING, "added": ["a"], "pools": {"added": ["edge", "inner"], "changed": [], "removed": []}}
    assert list(pools(machine)) == OWN
    apply(machine, SITE)
    assert plan(machine, SITE) == NOTHING
    assert show(machine, "edge")["origin"] == "site.lua:1" and show(machine, "inner")["vms"] == ["a"]
    # the order in the text does not matter
    turned = "".join(reversed(SITE.splitlines(True)))
    assert plan(machine, turned) == NOTHING
    # changed while it runs: numbers, places, the VM's pool and its share; nothing is stopped
    text = pool("edge", cpu("shares = 2000, reservation = pct(70), limit = pct(80)")) + pool("inner", cpu("reservation = pct(5)")) + \
        pool("third", 'parent = "edge", ' + cpu("reservation = pct(60)")) + \
        vm("a", "echo", more='pool = "third", cpu = { reservation = pct(55), shares = 600, latency = true }, autostart = true')
    assert plan(machine, text) == {**NOTHING, "changed": [{"name": "a", "settings": ["cpu", "pool"]}], "pools": {
        "added": ["third"], "changed": [{"name": "edge", "settings": ["cpu"]}, {"name": "inner", "settings": ["parent", "cpu"]}],
        "removed": []}}
    starts = machine.smp.read_request(65, 7, {"name": "a"})["starts"]
    apply(machine, text)
    info = machine.smp.read_request(65, 7, {"name": "a"})
    assert (info["state"], info["starts"]) == ("running", starts)
    assert info["config"]["pool"] == "third" and info["config"]["cpu"] == {"count": 1, "shares": 600, "reservation": 550000, "latency": True}
    assert pools(machine)["inner"]["parent"] == "root"
    entitled(machine, "a", 800000)
    consistent(machine)
    # and back again, as if nothing had been
    machine.smp.write_request(65, 3, {"name": "a"})
    apply(machine, "")
    assert list(pools(machine)) == OWN
    consistent(machine)


def test_what_is_no_order_of_steps(host):
    """Two pools change sides, and what one gives up the other takes."""
    machine = host()
    apply(machine, pool("a", cpu("reservation = pct(60)")) + pool("b", 'parent = "a", ' + cpu("reservation = pct(40)")) +
          pool("c", cpu("reservation = pct(40)")) + vm("v", "echo", more="pool = 'b', cpu = { reservation = pct(40) }, autostart = true"))
    apply(machine, pool("b", cpu("reservation = pct(60)")) + pool("a", 'parent = "b", ' + cpu("reservation = pct(60)")) +
          pool("c", cpu("reservation = pct(30)")) + vm("v", "echo", more="pool = 'a', cpu = { reservation = pct(60) }, autostart = true"))
    there = pools(machine)
    assert (there["a"]["parent"], there["b"]["parent"]) == ("b", "root")
    assert machine.smp.read_request(65, 7, {"name": "v"})["config"]["cpu"]["reservation"] == 600000
    consistent(machine)


@pytest.mark.parametrize("text, why", [
    (pool("a", 'parent = "b"') + pool("b", 'parent = "a"'), "would be below itself"),
    (pool("a", 'parent = "b"') + pool("b", 'parent = "c"') + pool("c", 'parent = "a"'), "would be below itself"),
    (pool("x", cpu("reservation = pct(60)")) + pool("y", cpu("reservation = pct(50)")),
     "reservations of 600000 + 500000 ppm do not fit the 1000000 ppm of pool root"),
    (pool("x") + pool("x"), "pool x (site.lua:2) is already defined (site.lua:1)"),
    (pool("x") + vm("v", more='pool = "y"'), "VM v (site.lua:2): pool: there is no pool called y"),
    (pool("edge", 'parent = "outer"'), "pool edge (site.lua:1): parent: there is no pool called outer"),
    (pool("eddge") + vm("v", more='pool = "edge"'), "did you mean eddge?"),
    ("".join(pool("p%d" % i) for i in range(33)), "there can be 32 pools in this version"),
    ("".join(pool("p%d" % i, 'parent = "p%d"' % (i - 1) if i else "") for i in range(8)), "pools nest at most"),
    (pool("edge", cpu("reservation = pct(10)")) + vm("a", "echo", more='pool = "edge", cpu = { reservation = pct(20) }, autostart = true'),
     "reservations of 0 + 200000 ppm do not fit the 100000 ppm of pool edge"),
    (SITE.replace("shares = 500", "count = 2"), "VM a (site.lua:3): cpu.count differs, and it is running: stop it first"),
    (SITE.replace("shares = 500", "affinity = {0, 3}"), "its affinity names CPU 3, which is not there"),
    (SITE.replace("shares = 500", "exclusive = true"), "the last core cannot be exclusive"),
])
def test_what_cannot_be_changes_nothing(host, text, why):
    machine = host()
    apply(machine, SITE)
    before = {name: (p.get("parent"), {k: p["cpu"].get(k) for k in ("shares", "reservation", "limit")})
              for name, p in pools(machine).items()}
    config = machine.smp.read_request(65, 7, {"name": "a"})["config"]
    if 'vm "a"' not in text:
        text += vm("a", "echo", more="autostart = true")
    for ask in (plan, apply):
        rc, said = refused(ask, machine, text)
        assert why in said, said
        assert before == {name: (p.get("parent"), {k: p["cpu"].get(k) for k in ("shares", "reservation", "limit")})
                          for name, p in pools(machine).items()}
        assert machine.smp.read_request(65, 7, {"name": "a"})["config"] == config
    assert plan(machine, SITE) == NOTHING
    consistent(machine)


def test_what_the_operator_made_stays(host):
    machine = host()
    apply(machine, SITE)
    create(machine, "mine", parent="edge")
    rc, said = refused(apply, machine, vm("a", "echo", more="autostart = true"))
    assert "pool edge is not in the text, but pool mine, which is the operator's, is in it" in said
    machine.smp.write_request(GROUP, SET, {"name": "mine", "config": {"parent": "root"}})
    machine.smp.write_request(65, 1, {"text": vm("hand", more='pool = "edge"')})
    rc, said = refused(apply, machine, vm("a", "echo", more="autostart = true"))
    assert "but VM hand, which is the operator's, is in it" in said
    machine.smp.write_request(GROUP, MOVE, {"name": "hand", "pool": "mine"})
    apply(machine, vm("a", "echo", more="autostart = true"))
    assert list(pools(machine)) == [*OWN, "mine"] and show(machine, "root")["vms"] == ["a"]
    # the text may be in an operator's pool, and take it over
    apply(machine, vm("a", "echo", more='pool = "mine", autostart = true'))
    apply(machine, pool("mine", cpu("shares = 5")) + vm("a", "echo", more='pool = "mine", autostart = true'))
    assert show(machine, "mine")["cpu"]["shares"] == 5
    consistent(machine)


def test_operators_numbers_stay_above_a_new_definition(host):
    machine = host()
    apply(machine, SITE)
    change(machine, "pool.edge.cpu.shares", 99)
    change(machine, "vm.a.cpu.shares", 98)
    apply(machine, SITE.replace("shares = 2000", "shares = 3000").replace("shares = 500", "shares = 700"))
    assert (value(machine, "pool.edge.cpu.shares"), value(machine, "vm.a.cpu.shares")) == (99, 98)
    for path in ("pool.edge.cpu.shares", "vm.a.cpu.shares"):
        machine.smp.write_request(76, 3, {"path": path})
    assert (value(machine, "pool.edge.cpu.shares"), value(machine, "vm.a.cpu.shares")) == (3000, 700)
    assert machine.smp.read_request(65, 7, {"name": "a"})["state"] == "running"
    consistent(machine)


def test_generations_and_rollback(host, tmp_path):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4 << 20))
    options = ("--disk", str(disk))
    machine = host(options=options)
    apply(machine, SITE)
    apply(machine, pool("other") + vm("a", "echo", more='pool = "other", autostart = true'))
    assert list(pools(machine)) == [*OWN, "other"]
    machine.smp.write_request(70, 7, {"number": 1})
    assert set(pools(machine)) == {*OWN, "edge", "inner"}
    assert show(machine, "inner")["vms"] == ["a"] and value(machine, "vm.a.cpu.shares") == 500
    machine.close()
    machine = host(options=options)
    assert set(pools(machine)) == {*OWN, "edge", "inner"} and show(machine, "inner")["vms"] == ["a"]
    assert plan(machine, SITE) == NOTHING
    # a text's set() of a pool's number goes with it
    apply(machine, SITE + 'set("pool.edge.cpu.shares", 7)')
    assert value(machine, "pool.edge.cpu.shares") == 7
    dropped = plan(machine, SITE.replace("shares = 2000", "shares = 8"))["dropped"]
    assert dropped == [{"path": "pool.edge.cpu.shares", "value": "8", "origin": "script"}]
    assert "a setting of pool edge, which is not in the text any more" in refused(
        apply, machine, vm("a", "echo", more="autostart = true") + 'set("pool.edge.cpu.shares", 7)')[1]
    apply(machine, SITE)
    assert value(machine, "pool.edge.cpu.shares") == 2000


# ---- corbelctl


def test_the_tool(host):
    machine = host(script=vm("a", "echo") + 'start "a"')
    ctl, run = machine.ctl, machine.ctl_run
    assert ctl("pool", "create", "edge", "--reservation", "40%", "--limit", "150%", "--shares", "2000") == ""
    ctl("pool", "create", "inner", "--parent", "edge")
    ctl("pool", "move", "a", "inner")
    rows = ctl("pool", "list").splitlines()
    assert rows[0].split()[:5] == ["pool", "vms", "shares", "reservation", "limit"]
    assert [row.split()[0] for row in rows[1:]] == ["root", "system", "edge", "inner"]
    assert rows[3].split()[:5] == ["edge", "0", "2000", "40%", "150%"] and rows[4].startswith("    inner")
    assert "vms:" in ctl("pool", "show", "inner") and "parent:" in ctl("pool", "show", "inner")
    ctl("pool", "set", "edge", "--limit", "none", "--shares", "5")
    entry = {p["name"]: p for p in json.loads(ctl("--json", "pool", "list"))["pools"]}["edge"]
    assert entry["cpu"]["shares"] == 5 and "limit" not in entry["cpu"]
    assert json.loads(ctl("--json", "pool", "show", "inner"))["vms"] == ["a"]
    assert json.loads(ctl("--json", "pool", "create", "third"))["name"] == "third"
    ctl("pool", "set", "third", "--parent", "inner")
    assert json.loads(ctl("--json", "pool", "show", "third"))["parent"] == "inner"
    # refused by the machine, and wrong words
    for words, status, why in (
            (("pool", "delete", "inner"), 1, "pool inner cannot be removed: VM a is in it"),
            (("pool", "set", "edge", "--parent", "third"), 1, "that would be a loop"),
            (("pool", "create", "x", "--reservation", "61%"), 1, "reservations of 400000 + 610000 ppm do not fit the 1000000 ppm of pool root"),
            (("pool", "create", "x", "--shares", "0"), 1, "cpu.shares is 0"),
            (("pool", "create", "x", "--shares", str(HUGE)), 1, "it can be 1 to 1000000"),
            (("pool", "create", "x", "--parent", "egde"), 1, "did you mean edge?"),
            (("pool", "create", "edge"), 1, "there is a pool of that name"), (("pool", "show", "egde"), 1, "did you mean edge?"),
            (("pool", "move", "b", "edge"), 1, "there is no VM called b"), (("pool", "move", "a"), 2, "pool move"),
            (("pool", "create"), 2, "pool create"), (("pool", "create", "x", "--limit"), 2, "--limit needs a value"),
            (("pool", "create", "x", "--cap", "5"), 2, "there is no option --cap"), (("pool", "set", "edge"), 2, "usage: pool set"),
            (("pool", "create", "x", "--limit", "much"), 2, "--limit takes parts of one processor such as 20% or 150%, not much")):
        done = run(*words)
        assert done.returncode == status and why in done.stderr, (words, done)
    failed = run("--json", "pool", "delete", "edge")
    assert failed.returncode == 1 and json.loads(failed.stdout)["rc"] == smp.BUSY
    ctl("pool", "move", "a", "root")
    ctl("pool", "delete", "third", "inner", "edge")
    assert list(pools(machine)) == OWN


def test_completion_of_pools(host):
    machine = host(script=TREE + vm("web"))
    complete = lambda *words: machine.ctl("--complete", *words).split()
    assert complete("pool", "") == ["list", "show", "create", "set", "delete", "move"]
    assert complete("pool", "show", "") == ["root", "system", "edge", "inner"] and complete("pool", "set", "e") == ["edge"]
    assert complete("pool", "move", "") == ["web"] and complete("pool", "move", "web", "i") == ["inner"]
    assert complete("get", "pool.e") == ["pool.edge."] and "pool.edge.cpu.shares" in complete("set", "pool.edge.cpu.s")


def test_plan_for_a_person(host, tmp_path):
    machine = host()
    site = tmp_path / "site.lua"
    site.write_text(SITE)
    assert machine.ctl("plan", str(site)) == "+ pool edge\n+ pool inner\n+ vm a\n0 hooks\n"
    machine.ctl("apply", str(site))
    site.write_text(SITE.replace("limit = pct(80)", "limit = pct(90)").replace(pool("inner", 'parent = "edge", ' + cpu("reservation = pct(30)")), "")
                    .replace('"inner"', '"edge"'))
    assert machine.ctl("plan", str(site)) == "~ pool edge: cpu\n- pool inner\n~ vm a: pool\n0 hooks\n"


def test_metrics_of_pools(host):
    from test_ctl_tree import check_metrics
    machine = host(script=TREE + vm("a", "echo", more='pool = "inner"') + 'start "a"')
    until(lambda: value(machine, "pool.inner.cpu.used") > 0)
    found = check_metrics(machine.ctl("metrics"))
    used = {dict(k)["pool"]: v for k, v in found["corbel_pool_cpu_used_seconds_total"].items()}
    assert set(used) == {*OWN, "edge", "inner"} and used["root"] >= used["edge"] >= used["inner"] > 0
    assert found["corbel_pool_vms"][(("pool", "inner"),)] == 1


def test_top_has_the_pools(host):
    machine = host(script=vm("a", "echo") + 'start "a"')
    assert "POOL" not in machine.ctl("top", "0.2"), "only the machine's own"
    machine.ctl("pool", "create", "edge", "--limit", "30%")
    machine.ctl("pool", "move", "a", "edge")
    rows = machine.ctl("top", "0.3").splitlines()
    at = next(i for i, row in enumerate(rows) if row.startswith("POOL"))
    assert [row.split()[0] for row in rows[at + 1:]] == [*OWN, "edge"]
    pools = {p["name"]: p for p in json.loads(machine.ctl("--json", "top", "0.3"))["pools"]}
    assert pools["edge"]["vms"] == 1 and pools["edge"]["entitled"] == 300000
    assert 0 < pools["edge"]["used_percent"] <= pools["root"]["used_percent"] + 1


# ---- numbers for disks


def test_numbers_for_disks(host):
    machine = host(script=pool("edge", "iops = { reservation = 10, limit = 500, shares = 7 }") +
                   pool("lake", "bandwidth = { limit = MiB(2) }") + pool("bare"))
    assert show(machine, "edge")["config"]["iops"] == {"shares": 7, "reservation": 10, "limit": 500}
    assert show(machine, "lake")["config"]["bandwidth"] == {"shares": 1000, "limit": 2 << 20}
    assert set(show(machine, "bare")["config"]) == {"cpu"}
    assert value(machine, "pool.edge.iops.limit") == 500
    assert value(machine, "pool.bare.iops.limit") == "none"
    assert machine.ctl("get", "pool.lake.bandwidth.limit") == "2 MiB\n"
    chain = machine.smp.read_request(76, 4, {"path": "pool.edge.iops.shares"})["chain"]
    assert [(link["origin"], link["value"]) for link in chain] == [("script", 7), ("default", 1000)]
    assert refused(machine.smp.read_request, 76, 1, {"path": "pool.edge.bandwidth.limit"})[0] == smp.NO_ENTRY
    code, text = refused(change, machine, "pool.edge.iops.reservation", 501)
    assert code == smp.BAD_VALUE and "iops.reservation (501) is above iops.limit (500)" in text
    change(machine, "pool.edge.iops.limit", 900)
    machine.smp.write_request(GROUP, SET, {"name": "edge", "config": {"iops": {"reservation": 901, "limit": 1000}}})
    assert show(machine, "edge")["config"]["iops"] == {"shares": 7, "reservation": 901, "limit": 1000}
    assert [link["origin"] for link in machine.smp.read_request(76, 4, {"path": "pool.edge.iops.limit"})["chain"]] == [
        "operator", "script", "default"]
    code, text = refused(machine.smp.write_request, GROUP, SET, {"name": "edge", "config": {"bandwidth": {"limit": 5}}})
    assert text.endswith("pool edge: its disks are counted in iops: only a new definition changes that")
    both = {"iops": {"limit": 1}, "bandwidth": {"limit": 1}}
    assert "iops conflicts with bandwidth" in refused(create, machine, "x", **both)[1]
    assert "iops.limit is 0" in refused(create, machine, "x", iops={"limit": 0})[1]
    assert "unknown setting iops.limt; did you mean iops.limit?" in refused(create, machine, "x", iops={"limt": 1})[1]


def test_numbers_for_disks_in_a_generation(host):
    machine = host()
    apply(machine, pool("edge", "iops = { limit = 500 }"))
    change(machine, "pool.edge.iops.shares", 5)
    assert plan(machine, pool("edge", "iops = { limit = 400 }"))["pools"]["changed"] == [{"name": "edge", "settings": ["iops"]}]
    apply(machine, pool("edge", "iops = { limit = 400 }"))
    assert (value(machine, "pool.edge.iops.limit"), value(machine, "pool.edge.iops.shares")) == (400, 5)
    # counted otherwise, what was set for the other unit is forgotten
    text = pool("edge", "bandwidth = { limit = MiB(1) }")
    assert plan(machine, text)["pools"]["changed"] == [{"name": "edge", "settings": ["bandwidth"]}]
    apply(machine, text)
    assert (value(machine, "pool.edge.bandwidth.limit"), value(machine, "pool.edge.bandwidth.shares")) == (MIB, 1000)
    apply(machine, pool("edge", "iops = { limit = 400 }"))
    assert value(machine, "pool.edge.iops.shares") == 1000

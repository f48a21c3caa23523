# SPDX-License-Identifier: Apache-2.0
"""What a VM gets of the processors: shares, reservation, limit, affinity and classes, by Lua and over the wire."""
import pytest
import smp
from conftest import vm

GET, SET, UNSET, WHY = 1, 2, 3, 4
HUGE = 1 << 31


def cpu(text, name="a", more=""):
    return vm(name, "echo", more="cpu = { %s }, %s" % (text, more))


def value(machine, path):
    return machine.smp.read_request(76, GET, {"path": path})["value"]


def change(machine, path, to, **more):
    return machine.smp.write_request(76, SET, {"path": path, "value": to, **more})


def refused(call, *arguments, **more):
    with pytest.raises(smp.SmpError) as e:
        call(*arguments, **more)
    return e.value.rc, str(e.value)


def define_error(machine, text):
    return refused(machine.smp.write_request, 65, 1, {"text": text, "origin": "t"})


def test_all_in_a_definition(host):
    machine = host(script=cpu('count = 2, shares = 2000, reservation = pct(20), limit = pct(150), affinity = {0}, '
                              'latency = true'))
    config = machine.smp.read_request(65, 7, {"name": "a"})["config"]["cpu"]
    assert config == {"count": 2, "shares": 2000, "reservation": 200000, "limit": 1500000, "affinity": "0", "latency": True}
    machine.smp.write_request(65, 2, {"name": "a"})
    for name, want in (("shares", 2000), ("reservation", 200000), ("limit", 1500000), ("affinity", "0"),
                       ("exclusive", False), ("latency", True)):
        assert value(machine, "vm.a.cpu." + name) == want
    assert machine.ctl("get", "vm.a.cpu.limit") == "150 %\n"


def test_without_any(host):
    machine = host(script=cpu("count = 1"))
    assert machine.smp.read_request(65, 7, {"name": "a"})["config"]["cpu"] == {"count": 1, "shares": 1000}
    assert (value(machine, "vm.a.cpu.limit"), value(machine, "vm.a.cpu.affinity")) == ("none", "any")
    assert value(machine, "vm.a.cpu.reservation") == 0


def test_units(host):
    """The rig's clock has 1 GHz or what host() says: mhz is a part of it."""
    machine = host()
    hz = machine.smp.read_request(74, 0)["clock_hz"]
    machine.smp.write_request(65, 1, {"text": cpu("limit = mhz(%g)" % (hz / 4e6))})
    assert value(machine, "vm.a.cpu.limit") == 250000
    assert machine.ctl("lua", "pct(30) + mhz(%g)" % (hz / 5e6)) == "pct(50)\n"
    assert machine.ctl("lua", 'get "vm.a.cpu.limit" == pct(25)') == "true\n"
    assert machine.ctl("lua", 'get "vm.a.cpu.affinity"') == "any\n"
    for text, why in (("mhz('x')", "mhz(...) takes a number, not a string"), ("mhz(-1)", "is no rate"),
                      ("mhz(1e300)", "is no rate")):
        done = machine.ctl_run("lua", text)
        assert done.returncode == 1 and why in done.stderr, (text, done)


@pytest.mark.parametrize("text, why", [
    ("reservation = 20", "cpu.reservation needs a unit: write pct(20) or mhz(...), not 20"),
    ("limit = MiB(2)", "cpu.limit takes a part of one CPU such as pct(20) or mhz(500)"),
    ("limit = sec(2)", "cpu.limit takes a part of one CPU"),
    ("limit = true", "cpu.limit takes a part of one CPU such as pct(20) or mhz(500), not"),
    ("limit = pct(-5)", "cpu.limit is negative"),
    ("limit = pct(0)", "a cpu.limit of 0 would never let it run"),
    ("shares = pct(5)", "cpu.shares is a plain number and takes no unit"),
    ("shares = 0", "cpu.shares is 0, it can be 1 to 1000000"),
    ("shares = %d" % HUGE, "cpu.shares is 2147483648, it can be 1 to 1000000"),
    ("shares = -1", "cpu.shares takes a whole number"),
    ("reservation = pct(50), limit = pct(20)", "cpu.reservation (500000 ppm) is above cpu.limit (200000 ppm)"),
    ("reservation = pct(101)", "cpu.reservation (1010000 ppm) is more than its 1 CPUs can use"),
    ("affinity = {}", 'cpu.affinity takes CPUs such as {0, 2} or "0-3,6"'),
    ("affinity = 3", 'cpu.affinity takes CPUs such as {0, 2} or "0-3,6"'),
    ("affinity = '3-1'", "cpu.affinity: it takes CPUs such as 0-3,6, or any, not 3-1"),
    ("affinity = '0,'", "not 0,"), ("affinity = ''", "it takes CPUs"), ("affinity = '0 1'", "not 0 1"),
    ("affinity = '0-64'", "CPU 64: in this version it names those up to 63"),
    ("affinity = {0, 99}", "CPU 99: in this version it names those up to 63"),
    ("affinity = {0, 'x'}", "cpu.affinity takes numbers of CPUs"),
    ("exclusive = 1", "cpu.exclusive takes true or false"),
    ("reserve = pct(5)", "it is called reservation"), ("pin = {1}", "it is called affinity"),
    ("cap = pct(5)", "it is called limit"), ("weight = 5", "it is called shares"),
    ("dedicated = true", "it is called exclusive"), ("latencey = true", "did you mean cpu.latency?"),
    ("priority = 5", "it is called shares"),
])
def test_bad_definitions(host, text, why):
    rc, said = define_error(host(), cpu(text))
    assert rc == smp.BAD_VALUE and why in said
    assert "VM a (t:1)" in said


def test_over_the_wire_numbers_are_millionths(host):
    machine = host()
    config = {"boot": {"image": "kernel", "protocol": "multiboot"}, "mem": {"size": 2 << 20}}
    machine.smp.write_request(65, 1, {"name": "a", "config": {**config, "cpu": {
        "count": 2, "shares": 5, "reservation": 1, "limit": 1999999, "affinity": [0], "exclusive": False, "latency": True}}})
    assert machine.smp.read_request(65, 7, {"name": "a"})["config"]["cpu"] == {
        "count": 2, "shares": 5, "reservation": 1, "limit": 1999999, "affinity": "0", "latency": True}
    rc, said = refused(machine.smp.write_request, 65, 1, {"name": "b", "config": {**config, "cpu": {"limit": "20%"}}})
    assert rc == smp.BAD_VALUE and "cpu.limit takes a number of millionths of one CPU" in said
    rc, said = refused(machine.smp.write_request, 65, 1, {"name": "b", "config": {**config, "cpu": {"limit": 1 << 64 - 1,
                                                                                                   "reservation": 2000001}}})
    assert rc == smp.BAD_VALUE and "more than its 1 CPUs can use" in said


def test_reservations_that_do_not_fit_the_machine(host):
    """Each by itself does; the second one's start names the sum."""
    machine = host(script=cpu("reservation = pct(60)") + cpu("reservation = pct(50)", "b") + 'start "a"')
    rc, said = refused(machine.smp.write_request, 65, 2, {"name": "b"})
    assert rc == smp.NO_MEMORY and "reservations of 600000 + 500000 ppm do not fit" in said and "VM b" in said
    assert machine.smp.read_request(65, 7, {"name": "b"})["state"] == "defined"
    rc, said = refused(change, machine, "vm.b.cpu.reservation", "50%")
    assert "600000 + 500000" in said
    change(machine, "vm.b.cpu.reservation", "40%")
    machine.smp.write_request(65, 2, {"name": "b"})
    rc, said = refused(change, machine, "vm.a.cpu.reservation", "61 %")
    assert "reservations of 400000 + 610000 ppm do not fit the 1000000 ppm" in said
    assert value(machine, "vm.a.cpu.reservation") == 600000
    # a paused VM's promise stands, a stopped one's does not
    machine.smp.write_request(65, 4, {"name": "b"})
    refused(change, machine, "vm.a.cpu.reservation", "61%")
    machine.smp.write_request(65, 3, {"name": "b"})
    change(machine, "vm.a.cpu.reservation", "61%")
    assert machine.smp.read_request(74, 1) == {"checked": True}


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("name, to, why", [
    ("shares", 0, "0 is outside 1 to 1000000"), ("shares", HUGE, "2147483648 is outside 1 to 1000000"),
    ("limit", "0", "outside 1 ppm"), ("limit", "x", "it takes a number of millionths of one CPU, or 20%, not x"),
    ("limit", "10%", "cpu.reservation (200000 ppm) is above cpu.limit (100000 ppm)"),
    ("reservation", "101%", "is more than its 1 CPUs can use"), ("reservation", "5 MiB", "it takes a number"),
    ("reservation", "none", "it takes a number"),
    ("affinity", "1", "its affinity names CPU 1, which is not there"),
    ("affinity", "0-63", "its affinity names CPU 1, which is not there"),
    ("affinity", "0-", "it takes CPUs such as 0-3,6, or any, not 0-"), ("affinity", 3, "it takes CPUs such as"),
    ("exclusive", "yes", "it takes true or false"),
])
def test_bad_changes(host, running, name, to, why):
    machine = host(script=cpu("reservation = pct(20)") + ('start "a"' if running else ""))
    before = value(machine, "vm.a.cpu." + name)
    rc, said = refused(change, machine, "vm.a.cpu." + name, to)
    assert rc == smp.BAD_VALUE and why in said and "vm.a.cpu." + name in said
    assert value(machine, "vm.a.cpu." + name) == before
    assert machine.smp.read_request(74, 1) == {"checked": True}


def test_an_affinity_that_is_not_there_is_refused_at_the_start(host):
    machine = host(script=cpu("affinity = {0, 2}"))
    rc, said = refused(machine.smp.write_request, 65, 2, {"name": "a"})
    assert rc == smp.BAD_VALUE and "VM a: cpu: its affinity names CPU 2, which is not there" in said


def test_changes_count_at_once_and_are_explained(host):
    machine = host(script=cpu("shares = 300") + 'start "a"')
    assert change(machine, "vm.a.cpu.shares", 2000, why="more", for_ns=3600 * 10 ** 9)["value"] == 2000
    chain = machine.smp.read_request(76, WHY, {"path": "vm.a.cpu.shares"})["chain"]
    assert [(link["origin"], link["value"]) for link in chain] == [("override", 2000), ("script", 300), ("default", 1000)][:len(chain)]
    machine.smp.write_request(76, UNSET, {"path": "vm.a.cpu.shares"})
    assert value(machine, "vm.a.cpu.shares") == 300
    machine.ctl("set", "vm.a.cpu.limit", "50%")
    assert value(machine, "vm.a.cpu.limit") == 500000
    machine.ctl("set", "vm.a.cpu.limit", "none")
    assert value(machine, "vm.a.cpu.limit") == "none"
    machine.ctl("lua", 'set("vm.a.cpu.limit", pct(30), { for_ = min(5), why = "night" })')
    assert value(machine, "vm.a.cpu.limit") == 300000
    done = machine.ctl_run("lua", 'set("vm.a.cpu.limit", 30)')
    assert "it needs a unit: write for example pct(20) or mhz(500), not 30" in done.stderr
    done = machine.ctl_run("lua", 'set("vm.a.cpu.limit", MiB(3))')
    assert "it takes a part of one CPU such as pct(20) or mhz(500)" in done.stderr
    machine.ctl("lua", 'set("vm.a.cpu.affinity", "0")')
    assert value(machine, "vm.a.cpu.affinity") == "0"


def test_a_script_lowers_no_reservation(host):
    machine = host(script=cpu("reservation = pct(20)"))
    machine.smp.write_request(70, 4, {"text": 'every(ms(10), function() set("vm.a.cpu.reservation", pct(1)) end)', "origin": "p"})
    machine.wait_for("a reservation is a floor")
    assert value(machine, "vm.a.cpu.reservation") == 200000


def test_counters(host):
    machine = host(script=cpu("limit = pct(50)") + vm("b", "say=hello flood=5000") + 'start "a" start "b"')
    entitled = value(machine, "vm.a.cpu.entitled")
    assert 0 <= entitled <= 1000000
    text = machine.ctl("metrics")
    for line in ("corbel_vm_cpu_migrations_total{", "corbel_vm_cpu_limited_seconds_total{", "corbel_vm_cpu_wake_p99_seconds{",
                 "corbel_vm_cpu_entitled_ppm{", "corbel_vm_cpu_wakes_total{"):
        assert line in text, line
    assert value(machine, "vm.b.cpu.wakes") > 0 and value(machine, "vm.b.cpu.turns") > 0
    assert value(machine, "vm.b.cpu.wake_p50") <= value(machine, "vm.b.cpu.wake_p99")
    fields = machine.smp.read_request(2, 0, {"name": "vm.b"})["fields"]
    assert fields["cpu.turns"] > 0

# SPDX-License-Identifier: Apache-2.0
"""Volumes: over the wire, by Lua, by corbelctl, and in the text of a generation. Pools of layers lie on memory here."""
import json
import time

import pytest
import smp
from conftest import vm
from test_cpu_numbers import change, value
from test_disks import refused
from test_generations import NOTHING, apply, plan

GROUP = 68
LIST, SHOW, CREATE, CLONE, SNAPSHOT, MERGE, DELETE, IMPORT, RESIZE, FORMAT, SET, JOB, JOBS, CANCEL = range(14)
MIB = 1 << 20


def volumes(machine, **more):
    return {v["name"]: v for v in machine.smp.read_request(GROUP, LIST, more)["volumes"]}


def show(machine, name):
    return machine.smp.read_request(GROUP, SHOW, {"volume": name})


def write(machine, command, **arguments):
    return machine.smp.write_request(GROUP, command, arguments)


def error(machine, command, **arguments):
    return refused(machine.smp.write_request, GROUP, command, arguments)


def wait(machine, reply, seconds=20):
    deadline = time.monotonic() + seconds
    while True:
        job = machine.smp.read_request(GROUP, JOB, {"job": reply["job"]})
        if job["done"]:
            return job
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ram(machine, name, size):
    assert write(machine, CREATE, name=name, config={"ram": size}) == {"name": name}


@pytest.fixture
def pool(host):
    """A machine with a pool of layers on memory, and a layer of 8 MiB."""
    machine = host()
    ram(machine, "p", 8 * MIB)
    write(machine, FORMAT, volume="p", confirm="p")
    wait(machine, write(machine, CREATE, name="data", config={"layer": "p", "size": 8 * MIB}))
    return machine


def test_memory(host):
    machine = host()
    assert volumes(machine) == {}
    ram(machine, "m", MIB)
    assert volumes(machine)["m"].items() >= {"kind": "ram", "bytes": MIB, "users": 0}.items()
    shown = show(machine, "m")
    assert shown["figures"]["reads"] == 0 and shown["sector_bytes"] in (512, 4096)
    assert error(machine, CREATE, name="m", config={"ram": MIB})[0] == smp.BAD_STATE
    assert write(machine, DELETE, volume="m") == {}
    assert error(machine, DELETE, volume="m")[0] == smp.NO_ENTRY


@pytest.mark.parametrize("config, want", [
    ({}, "it says not what it is: ram, blob, qcow2, layer or model"),
    ({"ram": MIB, "blob": "x"}, "blob conflicts with ram: a volume is one of them"),
    ({"ram": MIB, "size": MIB}, "size conflicts with ram: only a layer has it"),
    ({"ram": 0}, "ram is 0"),
    ({"ram": 5}, "ram is 5 bytes, not a multiple of 4096"),
    ({"ram": 2 << 30}, "ram is 2147483648 bytes, at most 1073741824 are possible"),
    ({"ram": "much"}, "ram takes a number of bytes, not text"),
    ({"rma": MIB}, "unknown setting rma"),
    ({"layer": "p"}, "size is missing"),
    ({"blob": ""}, "blob names no file"),
    ({"qcow2": ""}, "qcow2 names no volume"),
    ({"partition": "hda:1"}, "a partition is a volume of its own: name hda:1 where it is used"),
    ({"model": {}}, "model.base is missing"),
    ({"model": {"base": "m", "depth": 0}}, "model.depth is 0, it can be 1 to 256"),
    ({"model": {"base": "m", "servic": 1}}, "unknown setting model.servic; did you mean model.service?"),
    ({"model": {"base": "m", "iops_max": 10 ** 8}}, "model.iops_max is 100000000, at most 10000000 are possible"),
    ({"model": {"base": "nothing"}}, "there is no volume 'nothing'"),
    ({"blob": "no/such/file"}, ""),
    ("ram", "its settings are text, not a table"),
])
def test_what_is_wrong_is_named(host, config, want):
    machine = host()
    code, text = error(machine, CREATE, name="v", config=config)
    assert text.startswith("volume v: " + want), text
    assert code != smp.OK and volumes(machine) == {}


def test_names(host):
    machine = host()
    assert "volume a b: " in error(machine, CREATE, name="a b", config={"ram": MIB})[1]
    assert error(machine, CREATE, name="x" * 64, config={"ram": MIB})[1].endswith("at most 63 are possible")
    for command in (CLONE, SNAPSHOT, MERGE, DELETE, IMPORT, RESIZE, FORMAT, SET):
        arguments = {CLONE: {"name": "n"}, SNAPSHOT: {"name": "n"}, IMPORT: {"name": "n"}, RESIZE: {"bytes": MIB},
                     SET: {"burst": 1}}.get(command, {})
        code, text = error(machine, command, volume="nothing", **arguments)
        assert (code, "nothing" in text) == (smp.NO_ENTRY, True), (command, text)
    assert error(machine, CANCEL, job=1) == (smp.NO_ENTRY, "there is no job 1")


def test_format_wants_the_name_twice(host):
    machine = host()
    ram(machine, "p", 8 * MIB)
    assert error(machine, FORMAT, volume="p")[1] == "all that is on p would be lost: confirm takes its name"
    assert error(machine, FORMAT, volume="p", confirm="q")[1] == "confirm is not the volume's name, which is p"
    write(machine, FORMAT, volume="p", confirm="p")
    state = show(machine, "p")["pool_state"]
    assert state["writable"] and state["layers"] == 0 and 0 < state["free"] <= state["size"] <= 8 * MIB
    assert volumes(machine)["p"]["divided"]


def test_layers(pool):
    assert volumes(pool)["data"].items() >= {"kind": "layer", "bytes": 8 * MIB, "pool": "p", "state": "live"}.items()
    assert wait(pool, write(pool, SNAPSHOT, volume="data", name="monday")).items() >= {
        "op": "snapshot", "volume": "data", "name": "monday", "done": True}.items()
    assert volumes(pool)["monday"]["state"] == "snapshot"
    assert volumes(pool)["data"]["parent"] == "monday"
    assert "error" not in wait(pool, write(pool, CLONE, volume="monday", name="copy"))
    assert volumes(pool)["copy"].items() >= {"parent": "monday", "state": "live", "depth": 2}.items()
    # two stand on it: it cannot go
    assert error(pool, MERGE, volume="monday")[0] != smp.OK
    assert error(pool, DELETE, volume="monday")[0] != smp.OK
    assert "error" not in wait(pool, write(pool, DELETE, volume="copy"))
    assert "error" not in wait(pool, write(pool, MERGE, volume="monday"))
    assert set(volumes(pool)) == {"p", "data"} and "parent" not in volumes(pool)["data"]
    assert "error" not in wait(pool, write(pool, RESIZE, volume="data", bytes=16 * MIB))
    assert volumes(pool)["data"]["bytes"] == 16 * MIB
    ops = [j["op"] for j in pool.smp.read_request(GROUP, JOBS)["jobs"]]
    assert ops[-4:] == ["clone", "delete", "merge", "resize"]
    assert pool.smp.read_request(GROUP, LIST, {"max": 1})["next"] == "p"
    assert list(volumes(pool, after="p")) == ["data"]


def test_import(pool):
    ram(pool, "source", MIB)
    job = wait(pool, write(pool, IMPORT, volume="source", name="imported", pool="p"))
    assert job.items() >= {"op": "import", "done": True, "steps": MIB, "steps_total": MIB}.items() and "error" not in job
    assert volumes(pool)["imported"]["bytes"] == MIB
    assert error(pool, IMPORT, volume="source", name="imported")[0] != smp.OK
    assert error(pool, CANCEL, job=job["job"])[0] != smp.OK


def test_settings_of_a_device(host):
    machine = host()
    ram(machine, "m", MIB)
    before = show(machine, "m")["domain_settings"]
    assert write(machine, SET, volume="m", latency_ns=5000000)["domain_settings"] == {**before, "latency_ns": 5000000}
    assert show(machine, "m")["domain_settings"]["latency_ns"] == 5000000
    assert error(machine, SET, volume="m")[1] == "set needs one of depth_max, latency_ns and burst"
    assert error(machine, SET, volume="m", depth_max=1 << 40)[1] == "domain.m.depth_max: 1099511627776 is outside 0 to 256"
    assert show(machine, "m")["domain_settings"]["depth_max"] == before["depth_max"]
    assert json.loads(machine.ctl("--json", "volume", "set", "m", "--depth", "7", "--latency", "2ms"))[
        "domain_settings"] == {**before, "depth_max": 7, "latency_ns": 2000000}


def test_its_domain_has_settings_of_the_tree(host):
    machine = host()
    ram(machine, "m", MIB)
    ram(machine, "scratch", MIB)
    tree = lambda command, **more: machine.smp.read_request(76, command, {"path": "domain.m.burst", **more})
    assert value(machine, "domain.m.depth_max") == 0 and value(machine, "domain.m.depth") == 64
    write(machine, CREATE, name="slow", config={"model": {"base": "m", "depth": 3}})
    assert value(machine, "domain.m.depth") == 6
    change(machine, "domain.m.depth_max", 5)
    assert value(machine, "domain.m.depth") == 5
    write(machine, DELETE, volume="slow")
    change(machine, "domain.m.burst", 9)
    assert show(machine, "m")["domain_settings"]["burst"] == 9
    assert machine.ctl("why", "domain.m.burst").splitlines()[0] == "domain.m.burst = 9"
    # the volume's own command is an operator's setting too
    write(machine, SET, volume="m", burst=11)
    assert (tree(1)["value"], tree(1)["origin"]) == (11, "operator")
    assert machine.ctl("set", "domain.m.latency", "5ms", "--for", "1min") == "domain.m.latency = 5 ms\n"
    assert show(machine, "m")["domain_settings"]["latency_ns"] == 5000000
    machine.smp.write_request(76, 3, {"path": "domain.m.burst"})
    assert show(machine, "m")["domain_settings"]["burst"] == 2
    for path, value_, want in (("domain.m.depth_max", 257, "domain.m.depth_max: 257 is outside 0 to 256"),
                               ("domain.scrach.burst", 1, "domain.scrach.burst: storage has no domain called scrach; did you mean domain.scratch?"),
                               ("domain.m.depht_max", 1, "there is no domain.m.depht_max; did you mean domain.m.depth_max?")):
        assert refused(machine.smp.write_request, 76, 2, {"path": path, "value": value_})[1] == want
    assert refused(machine.smp.read_request, 76, 1, {"path": "volume.scrach.reads"})[1] == \
        "volume.scrach.reads: nobody uses a volume called scrach; did you mean volume.scratch?"
    # what was set goes with the domain
    change(machine, "domain.m.burst", 30)
    write(machine, DELETE, volume="m")
    assert refused(machine.smp.read_request, 76, 1, {"path": "domain.m.burst"})[0] == smp.NO_ENTRY
    ram(machine, "m", MIB)
    assert value(machine, "domain.m.burst") == 2
    assert machine.ctl("why", "domain.m.burst") == "domain.m.burst = 2\n  default   2\n"


def test_what_it_does_is_counted_and_told(pool):
    """An import reads one volume and writes another; the counters of both, in every face, and the events."""
    ram(pool, "source", MIB)
    wait(pool, write(pool, IMPORT, volume="source", name="imported"))
    assert value(pool, "volume.source.reads") == MIB // 65536 and value(pool, "volume.source.read") == MIB
    assert value(pool, "volume.source.failed") == 0 and value(pool, "volume.source.size") == MIB
    assert value(pool, "volume.p.space.size") >= value(pool, "volume.p.space.free") > 0
    lines = pool.ctl("metrics")
    assert 'corbel_volume_reads_total{volume="source"} 16\n' in lines
    assert 'corbel_volume_latency_seconds_bucket{volume="source",le="+Inf"} 16\n' in lines
    assert 'corbel_domain_at_device{domain="source"} 0\n' in lines
    text, status = pool.smp.shell("local v = now.volume.source return v.reads, v.read, v.size, v.failed, v.free == now.volume.p.free, now.volume.nothing")
    assert (text, status) == ("16\nMiB(1)\nMiB(1)\n0\nfalse\nnil\n", 0)
    error(pool, IMPORT, volume="source", name="imported")
    huge = wait(pool, write(pool, CREATE, name="huge", config={"layer": "p", "size": 64 * MIB}))
    assert "error" not in huge
    write(pool, DELETE, volume="source")
    events = pool.smp.read_request(71, 0, {"from": 0, "kinds": ["volume"]})["events"]
    said = [(e["kind"], e["text"]) for e in events]
    assert ("volume.defined", "source: ram") in said and ("volume.removed", "source") in said
    assert ("volume.done", "import of source as imported") in said and ("volume.done", "create of huge") in said


def test_a_vm_uses_it(host):
    machine = host(script='volume "v" { ram = MiB(1) }\n' +
                   vm("a", "echo", more='disk = { root = virtio { volume = "v" } }'))
    machine.smp.write_request(65, 2, {"name": "a"})
    assert volumes(machine)["v"].items() >= {"users": 1, "user": "VM a"}.items()
    code, text = error(machine, DELETE, volume="v")
    assert code != smp.OK and "VM a" in text
    change(machine, "vm.a.disk.root.iops.limit", 50)
    assert value(machine, "vm.a.disk.root.in_flight") == 0
    machine.smp.write_request(65, 3, {"name": "a"})
    assert write(machine, DELETE, volume="v") == {}
    code, text = refused(machine.smp.write_request, 65, 2, {"name": "a"})
    assert "VM a: disk.root: there is no volume 'v'" in text


def test_by_corbelctl(host):
    machine = host()
    machine.ctl("volume", "create", "p", "--ram", "8MiB")
    done = machine.ctl_run("volume", "format", "p")
    assert done.returncode == 1 and "confirm takes its name" in done.stderr
    machine.ctl("volume", "format", "p", "p")
    job = json.loads(machine.ctl("--json", "volume", "create", "data", "--size", "8MiB"))
    assert job["op"] == "create" and job["done"] and "error" not in job
    machine.ctl("volume", "snapshot", "data", "monday")
    machine.ctl("volume", "clone", "monday", "copy")
    listed = machine.ctl("volume", "list")
    assert sorted(line.split()[0] for line in listed.splitlines()) == ["copy", "data", "monday", "p", "volume"]
    assert {v["name"] for v in json.loads(machine.ctl("--json", "volume", "list"))["volumes"]} == {
        "p", "data", "monday", "copy"}
    assert "stands on" in listed and "monday" in machine.ctl("volume", "show", "copy")
    machine.ctl("volume", "delete", "copy")
    machine.ctl("volume", "merge", "monday")
    machine.ctl("volume", "resize", "data", "9MiB")
    machine.ctl("volume", "import", "data", "again")
    assert json.loads(machine.ctl("--json", "volume", "show", "again"))["bytes"] == 9 * MIB
    assert "import" in machine.ctl("volume", "jobs")
    for words, status in ((("show", "nothing"), 1), (("create", "x", "--ram", "much"), 2), (("create", "x", "--rom", "5"), 2),
                          (("create", "x", "--ram"), 2), (("resize", "data", "x"), 2), (("snapshot", "data"), 2),
                          (("cancel", "99"), 1)):
        done = machine.ctl_run("volume", *words)
        assert (done.returncode, bool(done.stderr)) == (status, True), (words, done)
    done = machine.ctl_run("--json", "volume", "delete", "nothing")
    assert done.returncode == 1 and "nothing" in json.loads(done.stdout)["error"]


def test_what_corbelctl_refuses_and_shows(pool):
    """Sentences say what the operator has written, and what is there instead; sizes and times have units."""
    ram(pool, "r", MIB)
    for words, want in ((("create", "x", "--ram", "4MiB", "--size", "4MiB"), "size conflicts with ram: only a layer has it"),
                        (("resize", "r", "2MiB"), "volume 'r' is no layer, but ram: there is no resize of it"),
                        (("snapshot", "r", "s"), "volume 'r' is no layer, but ram: there is no snapshot of it"),
                        (("merge", "data"), "layer 'data' is a live volume, not a snapshot"),
                        (("clone", "nothing", "s"), "there is no volume 'nothing'")):
        done = pool.ctl_run("volume", *words)
        assert (done.returncode, done.stdout) == (1, "") and want in done.stderr, (words, done)
    pool.ctl("volume", "import", "r", "copy")
    shown = pool.ctl("volume", "show", "p")
    assert "bytes:        8 MiB\n" in shown and "meta_size:    256 KiB\n" in shown and "    below " in shown
    done = pool.ctl_run("volume")
    assert done.returncode == 2 and "try help volume" in done.stderr
    helped = pool.ctl("help", "volume").splitlines()
    assert len(helped) == 13 and all(line.startswith("  volume ") for line in helped)
    assert len(json.loads(pool.ctl("--json", "help", "volume"))["commands"]) == 13


def test_by_lua(host):
    machine = host()
    shell = lambda line: machine.smp.shell(line)[0]
    shell('volume "p" { ram = MiB(8) }')
    shell('volume "slow" { model { base = "p", iops_max = 2000, service = us(200), depth = 4 } }')
    assert volumes(machine)["slow"]["kind"] == "model"
    # what is there stays, and what contradicts it is refused
    shell('volume "p" { ram = MiB(8) }')
    assert "it is there with 8388608 bytes, not 4194304" in shell('volume "p" { ram = MiB(4) }')
    assert "it is there as ram" in shell('volume "p" { blob = "kernel" }')
    shell('volume "slow" { model { base = "p", depth = 8 } }')
    assert shell("#volumes(), volumes()[1].name") == "2\np\n"
    assert shell('volume_info("slow").kind') == "model\n"
    shell('volume_delete "slow"')
    assert shell("#volumes()") == "1\n"
    for text, want in (('volume "x" { ram = 5 }', "ram needs a unit: write MiB(5), not 5"),
                       ('volume "x" { model { base = "p", service = 5 } }', "model.service needs a unit: write ms(5), not 5"),
                       ('volume "x" { model { base = "p", service = MiB(5) } }',
                        "model.service takes a time such as ms(5), not a size"),
                       ('volume "x" (5)', "its settings are a number, not a table"), ("volume(5)", "volume takes a name and a table"),
                       ('volume_delete(5)', "volume_delete takes the name of a volume, not a number"),
                       ("volume_job(0)", "volume_job takes the number of a job")):
        assert want in shell(text)


def test_a_generation_starts_a_vm_when_its_layer_is_there(pool):
    """Several layers of one pool, made one after the other: none of their VMs starts before its own is there."""
    layer = 'volume "%s" { layer = "p", size = MiB(4) }\n'
    text = "".join(layer % name + vm(name, "echo", more='disk = { root = virtio { volume = "%s" } }, autostart = true' % name)
                   for name in ("one", "two", "three"))
    answer = apply(pool, text)
    assert [v["name"] for v in answer["started"]] == ["one", "two", "three"]
    assert all("error" not in v for v in answer["started"]) and any(v.get("waits") for v in answer["started"])
    deadline = time.monotonic() + 20
    while [volumes(pool).get(n, {}).get("users") for n in ("one", "two", "three")] != [1, 1, 1]:
        assert time.monotonic() < deadline, volumes(pool)
        time.sleep(0.05)


def test_in_a_generation(host, tmp_path):
    machine = host()
    text = 'volume "v" { ram = MiB(1) }\n' + vm("a", "echo", more='disk = { root = virtio { volume = "v" } }, autostart = true')
    assert plan(machine, text) == {**NOTHING, "added": ["a"], "volumes": ["v"]}
    assert volumes(machine) == {}
    site = tmp_path / "site.lua"
    site.write_text(text)
    assert "+ volume v\n+ vm a\n" in machine.ctl("plan", str(site))
    answer = apply(machine, text)
    assert answer["volumes"] == ["v"] and answer["started"] == [{"name": "a"}]
    assert volumes(machine)["v"]["users"] == 1
    assert plan(machine, text)["volumes"] == []
    # nothing is left of a text that cannot be applied
    bad = text + 'volume "w" { ram = MiB(1) }\nvolume "x" { model { base = "nothing" } }\n'
    with pytest.raises(smp.SmpError) as caught:
        apply(machine, bad)
    assert "volume x (site.lua:" in caught.value.text
    assert set(volumes(machine)) == {"v"}
    with pytest.raises(smp.SmpError) as caught:
        apply(machine, text + text.splitlines()[0])
    assert "volume v (site.lua:3) is already declared (site.lua:1)" in caught.value.text
    # a volume that the text no longer has stays
    machine.smp.write_request(65, 3, {"name": "a"})
    apply(machine, "")
    assert set(volumes(machine)) == {"v"}

# SPDX-License-Identifier: Apache-2.0
"""Disks of VMs: by Lua and over the wire, in the tree of settings, and as a part of generations."""
import json

import pytest
import smp
from conftest import vm
from test_cpu_numbers import change, value
from test_generations import NOTHING, apply, plan

UNSET, WHY = 3, 4


def refused(call, *arguments, **more):
    """The code, and the machine's sentence alone."""
    with pytest.raises(smp.SmpError) as caught:
        call(*arguments, **more)
    return caught.value.rc, caught.value.text


def define_error(machine, text):
    return refused(machine.smp.write_request, 65, 1, {"text": text, "origin": "t"})


def disk(text, name="a", more=""):
    return vm(name, "echo", more="disk = { %s }, %s" % (text, more))


ROOT = 'root = virtio { volume = "r", readonly = true, serial = "S1", queues = 2, ' \
    'iops = { reservation = 100, limit = 500, shares = 2000 } }'
DATA = 'data = virtio { volume = "d", bandwidth = { limit = MiB(2) } }'


def config(machine, name="a"):
    return machine.smp.read_request(65, 7, {"name": name})["config"]


def test_in_a_definition(host):
    machine = host(script=disk(ROOT + ", " + DATA))
    assert config(machine)["disk"] == {
        "data": {"device": "virtio", "volume": "d", "bandwidth": {"shares": 1000, "limit": 2 << 20}},
        "root": {"device": "virtio", "volume": "r", "serial": "S1", "readonly": True, "queues": 2,
                 "iops": {"shares": 2000, "reservation": 100, "limit": 500}}}
    # what info says is what define takes
    machine.smp.write_request(65, 1, {"name": "b", "config": config(machine)})
    assert config(machine, "b") == config(machine)
    # the order of the wire's map does not matter: the guest finds them by name
    turned = dict(config(machine), disk=dict(reversed(config(machine)["disk"].items())))
    machine.smp.write_request(65, 1, {"name": "c", "config": turned})
    assert list(config(machine, "c")["disk"]) == ["data", "root"]
    figures = machine.smp.read_request(65, 7, {"name": "a"})["disks"]["root"]
    assert figures == {"volume": "r", "reads": 0, "writes": 0, "read": 0, "written": 0, "errors": 0, "in_flight": 0,
                       "waiting_for_space": 0}
    assert "disk" not in config(host(script=vm("z")), "z")


@pytest.mark.parametrize("text, want", [
    ('root = { volume = "r" }', "disk.root is no device: write root = virtio { volume = ... }"),
    ('root = virtio { volum = "r" }', "unknown setting disk.root.volum; did you mean disk.root.volume?"),
    ('root = virtio { volume = "r", iops = { limt = 5 } }',
     "unknown setting disk.root.iops.limt; did you mean disk.root.iops.limit?"),
    ('root = virtio { volume = "r", iops = { limit = 5 }, bandwidth = { limit = MiB(1) } }',
     "disk.root: iops conflicts with bandwidth: a disk is held to one of them"),
    ('root = virtio { volume = "r", bandwidth = { limit = 5 } }',
     "disk.root.bandwidth.limit needs a unit: write MiB(5), not 5"),
    ("root = virtio {}", "disk.root: volume is missing"),
])
def test_what_is_wrong_is_named(host, text, want):
    machine = host()
    assert define_error(machine, disk(text)) == (smp.BAD_VALUE, "VM a (t:1): " + want)
    assert define_error(machine, disk("root = virtio 'r'"))[1].endswith(
        'virtio takes a table, as in virtio { volume = "..." }')


def test_wrong_over_the_wire(host):
    machine = host(script=vm("z"))
    base = config(machine, "z")

    def error(**more):
        root = {"device": "virtio", "volume": "r", **more}
        return refused(machine.smp.write_request, 65, 1, {
            "name": "a", "config": dict(base, disk={"root": {k: v for k, v in root.items() if v is not None}})})[1]

    assert error(device=None) == 'VM a: disk.root has no device: it is "virtio" in this version'
    assert error(device="ide") == 'VM a: disk.root.device takes "virtio": this version has no other'
    assert error(bandwidth={"limit": "much"}) == "VM a: disk.root.bandwidth.limit takes a number of bytes, not text"
    assert error(iops={"limit": 0}) == "VM a: disk.root: iops.limit is 0: it would never read or write"
    assert error(iops={"limit": 1 << 60}).startswith("VM a: disk.root: iops.reservation or iops.limit is above")
    assert error(volume="") == "VM a: disk.root: volume is missing"
    assert error(volume="x" * 128) == "VM a: disk.root.volume has 128 bytes, at most 127 are possible"


def test_interrupts_are_settings(host):
    machine = host(script=disk('root = virtio { volume = "r", interrupts = { policy = "cif", gap = us(5) } }'))
    assert config(machine)["disk"]["root"]["interrupts"] == {"policy": "cif", "gap": 5000}
    machine.smp.write_request(65, 1, {"name": "b", "config": config(machine)})
    assert config(machine, "b") == config(machine)
    assert value(machine, "vm.a.disk.root.interrupts.policy") == "cif"
    assert (value(machine, "vm.a.disk.root.interrupts.iops_min"), value(machine, "vm.a.disk.root.interrupts.cif_min")) == (2000, 4)
    assert change(machine, "vm.a.disk.root.interrupts.policy", "off")["value"] == "off"
    chain = machine.smp.read_request(76, WHY, {"path": "vm.a.disk.root.interrupts.policy"})["chain"]
    assert [(link["origin"], link["value"]) for link in chain] == [("operator", "off"), ("script", "cif"), ("default", "vic")]
    machine.ctl("set", "vm.a.disk.root.interrupts.epoch", "10ms")
    assert machine.ctl("get", "vm.a.disk.root.interrupts.epoch") == "10 ms\n"
    assert config(machine)["disk"]["root"]["interrupts"] == {"policy": "off", "gap": 5000, "epoch": 10_000_000}
    assert refused(change, machine, "vm.a.disk.root.interrupts.cif_min", 1)[0] == smp.BAD_VALUE
    assert define_error(machine, disk('root = virtio { volume = "r", interrupts = { cif_min = 1 } }', "c"))[1] == (
        "VM c (t:1): disk.root: interrupts: cif_min is 1, it can be 2 to 256")
    assert define_error(machine, disk('root = virtio { volume = "r", interrupts = { policy = "all" } }', "c"))[1] == (
        'VM c (t:1): disk.root.interrupts.policy takes "off" or "vic" or "cif"')


def test_numbers_are_settings(host):
    machine = host(script=disk(ROOT + ", " + DATA))
    assert value(machine, "vm.a.disk.root.iops.limit") == 500
    assert value(machine, "vm.a.disk.data.bandwidth.limit") == 2 << 20
    assert value(machine, "vm.a.disk.data.bandwidth.reservation") == 0
    assert change(machine, "vm.a.disk.root.iops.limit", 700)["value"] == 700
    assert config(machine)["disk"]["root"]["iops"]["limit"] == 700
    chain = machine.smp.read_request(76, WHY, {"path": "vm.a.disk.root.iops.limit"})["chain"]
    assert [(link["origin"], link["value"]) for link in chain] == [
        ("operator", 700), ("script", 500), ("default", "none")]
    assert chain[1]["where"] == "boot.lua:1"
    assert machine.smp.read_request(76, WHY, {"path": "vm.a.disk.data.bandwidth.shares"})["chain"] == [
        {"origin": "default", "value": 1000}]
    # the definition's own rules
    code, text = refused(change, machine, "vm.a.disk.root.iops.reservation", 701)
    assert code == smp.BAD_VALUE and "disk.root: iops.reservation (701) is above iops.limit (700)" in text
    assert refused(change, machine, "vm.a.disk.root.iops.shares", 0)[0] == smp.BAD_VALUE
    machine.smp.write_request(76, UNSET, {"path": "vm.a.disk.root.iops.limit"})
    assert config(machine)["disk"]["root"]["iops"]["limit"] == 500
    # units as a person writes them, and in Lua
    assert machine.ctl("set", "vm.a.disk.data.bandwidth.limit", "3MiB") is not None
    assert machine.ctl("get", "vm.a.disk.data.bandwidth.limit") == "3 MiB\n"
    assert machine.ctl("lua", 'get "vm.a.disk.data.bandwidth.limit" == MiB(3)') == "true\n"
    machine.smp.shell('set("vm.a.disk.root.iops.limit", "none", { for_ = hour(1) })')
    assert value(machine, "vm.a.disk.root.iops.limit") == "none"
    assert "override" in machine.ctl("why", "vm.a.disk.root.iops.limit")
    machine.smp.write_request(65, 6, {"name": "a"})
    machine.smp.write_request(65, 1, {"text": disk(ROOT)})
    assert value(machine, "vm.a.disk.root.iops.limit") == 500


@pytest.mark.parametrize("path, want", [
    ("vm.a.disk.rot.iops.limit", "vm.a.disk.rot.iops.limit: VM a has no disk called rot; did you mean vm.a.disk.root?"),
    ("vm.a.disk.root.iops.limt", "there is no vm.a.disk.root.iops.limt; did you mean vm.a.disk.root.iops.limit?"),
    ("vm.a.disk.root.bandwidth.limit", "there is no vm.a.disk.root.bandwidth.limit"),
    ("vm.a.disk.root", "vm.a.disk.root is no counter or setting, but has some below it"),
])
def test_wrong_paths(host, path, want):
    machine = host(script=disk(ROOT))
    code, text = refused(machine.smp.read_request, 76, 1, {"path": path})
    assert code == smp.NO_ENTRY and text.startswith(want), text


def test_counters_by_every_face(host):
    machine = host(script=disk(ROOT + ", " + DATA, name="a.b") + vm("z"))
    listed = machine.smp.read_request(76, 0, {"prefix": "vm.a.b.disk.root"})["items"]
    assert {"vm.a.b.disk.root.reads", "vm.a.b.disk.root.iops.limit"} <= {item["path"] for item in listed}
    assert all(item["path"].startswith("vm.a.b.disk.root.") for item in listed)
    values = machine.smp.read_request(76, 6, {"group": "vm.disk"})["values"]
    assert [table[:2] for table in values] == [["vm.disk", "a.b/data"], ["vm.disk", "a.b/root"]]
    assert "vm.a.b.disk.data" in machine.smp.read_request(2, 1)["stat_list"]
    assert machine.smp.read_request(2, 0, {"name": "vm.a.b.disk.data"})["fields"]["in_flight"] == 0
    metrics = machine.ctl("metrics")
    assert 'corbel_vm_disk_read_bytes_total{vm="a.b",disk="root"} 0\n' in metrics
    assert 'corbel_vm_disk_latency_seconds_bucket{vm="a.b",disk="data",le="+Inf"} 0\n' in metrics
    assert 'corbel_vm_disk_latency_seconds_sum{vm="a.b",disk="data"} 0.000000000\n' in metrics
    assert machine.smp.shell('get "vm.a.b.disk.data.time.queued" == ms(0)')[0] == "true\n"
    top = json.loads(machine.ctl("--json", "top", "0.1"))
    assert [(d["vm"], d["disk"]) for d in top["disks"]] == [("a.b", "data"), ("a.b", "root")]
    assert "a.b/data" in machine.ctl("top", "0.1")


def test_generations(host):
    machine = host()
    apply(machine, disk(ROOT + ", " + DATA))
    assert plan(machine, disk(DATA + ", " + ROOT)) == NOTHING  # a map has no order
    slower = ROOT.replace("limit = 500", "limit = 400")
    assert plan(machine, disk(slower + ", " + DATA)) == {**NOTHING, "changed": [{"name": "a", "settings": ["disk"]}]}
    change(machine, "vm.a.disk.root.iops.shares", 5)
    change(machine, "vm.a.disk.data.bandwidth.shares", 6)
    apply(machine, disk(slower + ", " + DATA))
    assert value(machine, "vm.a.disk.root.iops.limit") == 400
    # what operators set goes with a disk to its new place, and is forgotten with one that goes or counts otherwise
    apply(machine, disk(slower))
    assert value(machine, "vm.a.disk.root.iops.shares") == 5
    apply(machine, disk('alpha = virtio { volume = "x" }, ' + slower + ", " + DATA))
    assert value(machine, "vm.a.disk.root.iops.shares") == 5
    assert (value(machine, "vm.a.disk.alpha.iops.shares"), value(machine, "vm.a.disk.data.bandwidth.shares")) == (1000, 1000)
    apply(machine, disk(slower.replace("iops", "bandwidth").replace("100", "MiB(1)").replace("400", "MiB(4)")))
    assert value(machine, "vm.a.disk.root.bandwidth.shares") == 2000
    # a text's own settings of disks
    text = disk(ROOT) + 'set("vm.a.disk.root.bandwidth.limit", MiB(3))'
    with pytest.raises(smp.SmpError) as error:
        plan(machine, text)
    assert "a setting of a disk of VM a, which the text does not have like that" in error.value.text
    apply(machine, disk(ROOT))
    apply(machine, disk('alpha = virtio { volume = "x" }, ' + ROOT) + 'set("vm.a.disk.root.iops.limit", 300)')
    assert value(machine, "vm.a.disk.root.iops.limit") == 300
    assert value(machine, "vm.a.disk.alpha.iops.limit") == "none"
    answer = plan(machine, disk('alpha = virtio { volume = "x" }, ' + ROOT))
    assert answer["dropped"] == [{"path": "vm.a.disk.root.iops.limit", "value": "500", "origin": "script"}]
    apply(machine, disk(ROOT))
    assert value(machine, "vm.a.disk.root.iops.limit") == 500

# SPDX-License-Identifier: Apache-2.0
"""The schema against the machine: every rule is met by a real message, so none is a dead letter."""
import hashlib
import time

import cbor2
import checked
import pytest
import smp
from checked import COMMANDS, SCHEMA
from conftest import vm
from signer import Key, enroll, login, payload_of
from smp import READ, WRITE
from test_consoles import pushes
from test_events import flood
from test_images import image, stamp_of

SMALL = image(size=9000)


def test_every_group_and_command_has_its_rules(host):
    machine = host()
    groups = {d["group"]: d["handlers"] for d in machine.smp.read_request(10, 3)["groups"]}
    assert set(groups) == set(COMMANDS)
    for group, (_, commands) in COMMANDS.items():
        assert groups[group] == len(commands)
        for command in commands:
            for part in ("-request", "-reply"):
                assert checked.rule(group, command) + part in SCHEMA.rules


def disks(client):
    """A definition with a disk; what info says of it."""
    config = dict(client.read_request(65, 7, {"id": 1})["config"], rng=False, disk={"root": {
        "device": "virtio", "volume": "m", "serial": "x", "readonly": True, "queues": 1,
        "iops": {"shares": 1, "reservation": 1, "limit": "none"}}})
    client.write_request(65, 1, {"name": "disks", "config": config})
    client.read_request(65, 7, {"name": "disks"})
    client.write_request(65, 6, {"name": "disks"})


def nics(client):
    """A definition with a network interface, and what info says of it."""
    config = dict(client.read_request(65, 7, {"id": 1})["config"], rng=False, net={"lan0": {
        "device": "virtio", "network": "lan", "mac": "52:54:00:00:00:01", "any_mac": False, "ip": ["10.0.0.5"], "vlan": 10,
        "trunk": [20], "isolated": True, "connected": True, "queues": 1, "mtu": 1500, "rate": 10 ** 7, "storm": 9,
        "mbps": {"shares": "low", "reservation": 1, "limit": "none"},
        "interrupts": {"policy": "cif", "frames_min": 1, "cif_min": 2, "epoch": 10 ** 8, "gap": 5}}})
    client.write_request(65, 1, {"name": "nics", "config": config})
    client.read_request(65, 7, {"name": "nics"})
    client.write_request(65, 2, {"name": "nics"})
    client.read_request(69, 2, {"name": "lan", "after": 0})
    client.write_request(65, 3, {"name": "nics"})
    client.write_request(65, 6, {"name": "nics"})


def networks(client):
    """All of group 69; frames come from the wire meanwhile."""
    client.write_request(69, 5, {"name": "lan", "origin": "x", "config": {
        "uplink": {"nic": "nic0", "vlan": 0, "rate": 10 ** 7, "depth": 16384, "poll": 8}, "mtu": 1500, "patience": 5, "age": 10 ** 10}})
    client.read_request(69, 0, {"after": 0})
    client.read_request(69, 1, {"name": "lan"})
    client.write_request(69, 6, {"name": "lan", "config": {"mtu": 1400}})
    capture = client.write_request(69, 8, {"port": "lan/uplink", "snap": 100})["capture"]
    while not client.read_request(69, 9, {"capture": capture})["records"]:
        time.sleep(0.01)
    client.read_request(69, 3, {"name": "lan", "after": 0})
    client.read_request(69, 2, {"name": "lan"})
    client.read_request(69, 4)
    client.write_request(69, 10, {"capture": capture})
    nics(client)
    client.write_request(69, 7, {"name": "lan"})


def volumes(client):
    """All of group 68, on a pool that lies on memory; operations are waited for, as one is possible at a time."""
    def job(command, **arguments):
        number = client.write_request(68, command, arguments)["job"]
        while not client.read_request(68, 11, {"job": number})["done"]:
            time.sleep(0.01)
        return number

    client.write_request(68, 2, {"name": "m", "config": {"ram": 8 << 20}, "origin": "x"})
    client.write_request(68, 2, {"name": "slow", "config": {"model": {"base": "m", "iops_max": 9, "service": 5, "depth": 2}}})
    client.write_request(68, 6, {"volume": "slow"})
    client.write_request(68, 10, {"volume": "m", "depth_max": 9, "latency_ns": 5000000, "burst": 2})
    client.write_request(68, 9, {"volume": "m", "confirm": "m"})
    job(2, name="l", config={"layer": "m", "size": 1 << 20})
    job(4, volume="l", name="s")
    job(3, volume="s", name="c")
    job(6, volume="c")
    job(5, volume="s")
    job(8, volume="l", bytes=2 << 20)
    number = job(7, volume="l", name="i", pool="m")
    with pytest.raises(smp.SmpError):
        client.write_request(68, 13, {"job": number})
    SCHEMA.check("volume-cancel-request", {"job": number})
    SCHEMA.check("volume-cancel-reply", {})
    client.read_request(68, 12, {"after": 1})
    client.read_request(68, 0, {"after": "m", "max": 1})
    client.read_request(68, 1, {"volume": "m"})


def test_no_rule_is_a_dead_letter(host):
    machine = host(vm("a", "say=hi echo end=exit:3", more="autostart = true") + vm("b", "end=crash"),
                   options=("--beacon", "20"))
    client = machine.smp
    SCHEMA.used.clear()
    everything = [
        (WRITE, 0, 0, {"d": "x"}), (READ, 0, 6, {}), (READ, 0, 7, {"format": "a"}),
        (WRITE, 9, 0, {"argv": ["1"]}),
        (READ, 10, 0, {}), (READ, 10, 1, {}), (READ, 10, 2, {"index": 5}), (READ, 10, 3, {"groups": [0]}),
        (WRITE, 72, 2, {"name": "a", "last": 100, "credit": 60}), (WRITE, 72, 2, {"id": 2, "from": 0}),
        (WRITE, 65, 2, {"name": "b"}),
        (WRITE, 72, 4, {"name": "a", "data": b"q"}), (READ, 72, 0, {"after": 0}),
        (WRITE, 72, 5, {"name": "a", "columns": 80, "rows": 25}),
        (READ, 72, 1, {"id": 1, "from": 0, "max": 5, "text": True}), (READ, 72, 1, {"name": "corbel", "last": 10}),
        (READ, 65, 0, {"after": 0, "max": 1}), (READ, 65, 7, {"id": 1}), (READ, 65, 9, {"id": 2, "offset": 0}),
        (WRITE, 65, 1, {"text": vm("c"), "origin": "x"}),
        (WRITE, 65, 1, {"name": "d", "config": {"boot": {"image": "kernel", "protocol": "multiboot",
                                                         "modules": ["kernel", {"image": "kernel"}]},
                                                "mem": {"size": 2 << 20, "reservation": "all"}}}),
        (WRITE, 67, 1, {"on": True}),
        *((WRITE, 65, command, {"name": "c"}) for command in (2, 4, 5, 8, 3, 6)),
        (READ, 67, 0, {"from": 0}), (READ, 67, 1, {}), (READ, 67, 2, {"cpu": 0, "from": 0, "max": 100}),
        (WRITE, 67, 1, {"on": False}),
        (WRITE, 67, 5, {"name": "p", "config": {"cpu": {"shares": 5, "reservation": 1, "limit": 9}}, "origin": "x"}),
        (WRITE, 67, 6, {"name": "p", "config": {"parent": "root", "cpu": {"limit": "none"}}}), (READ, 67, 3, {"after": 0, "max": 1}),
        (READ, 67, 4, {"name": "p"}), (WRITE, 67, 8, {"name": "d", "pool": "p"}), (WRITE, 67, 8, {"name": "d", "pool": "root"}),
        (WRITE, 67, 7, {"name": "p"}),
        (READ, 74, 0, {}), (READ, 74, 1, {}), (WRITE, 72, 3, {"name": "b"}),
        (WRITE, 70, 4, {"text": "every(sec(9), print) on('vm', print)", "origin": "p"}), (READ, 70, 0, {}),
        (READ, 70, 1, {"name": "p"}), (WRITE, 70, 5, {"name": "p"}),
        (WRITE, 70, 2, {"text": vm("a", "say=hi echo end=exit:3", more="autostart = true") + vm("b", "end=crash")
                        + "set('log.level', 'info')"}),
        (READ, 71, 0, {"from": 0, "kinds": ["vm", "fault"], "max": 2, "wait": 5}), (READ, 71, 0, {"last": 5, "kinds": "*"}),
        (WRITE, 71, 1, {"from": 0, "kinds": ["vm"], "credit": 40}), (WRITE, 71, 1, {"last": 4}), (READ, 71, 3, {}),
        (WRITE, 1, 1, {"off": 0, "data": SMALL[:5000], "len": 9000, "sha": hashlib.sha256(SMALL).digest(), "image": 0,
                       "upgrade": True}), (WRITE, 1, 1, {"off": 5000, "data": SMALL[5000:]}),
        (WRITE, 1, 0, {"hash": stamp_of(SMALL), "confirm": False}), (READ, 1, 0, {}), (READ, 1, 6, {}), (WRITE, 1, 5, {"slot": 1}),
        (WRITE, 8, 0, {"off": 0, "name": "x", "len": 6, "data": b"abc"}), (READ, 77, 1, {}), (WRITE, 8, 4, {}),
        (WRITE, 8, 0, {"off": 0, "name": "x", "len": 3, "data": b"abc"}), (READ, 8, 0, {"off": 0, "name": "x"}),
        (READ, 77, 0, {"prefix": "", "after": "a", "max": 1}), (READ, 77, 1, {}),
        (READ, 8, 1, {"name": "x"}), (READ, 8, 2, {"name": "x"}), (READ, 8, 3, {}),
        (READ, 8, 2, {"name": "x", "type": "crc32", "off": 1, "len": 1}),
        (WRITE, 77, 2, {"name": "x"}),
        (READ, 2, 0, {"name": "vm.b"}), (READ, 2, 1, {}), (READ, 3, 0, {"name": "log.level", "max_size": 100}),
        (WRITE, 3, 0, {"name": "log.level", "val": b"warn"}), (WRITE, 3, 1, {"name": "log.level"}), (WRITE, 3, 2, {}), (READ, 3, 3, {}),
        (WRITE, 76, 2, {"path": "log.level", "value": "info", "why": "x", "for_ns": 10 ** 12}),
        (READ, 76, 0, {"prefix": "vm", "settings": True, "changed": False, "after": 0, "max": 3}),
        (READ, 76, 1, {"path": "host.mem.free"}), (READ, 76, 4, {"path": "log.level"}),
        (WRITE, 76, 3, {"path": "log.level"}), (READ, 76, 5, {"after": 0}), (READ, 76, 6, {"group": "vm", "after": 0}),
    ]
    everything += [(READ, 64, 0, {}), (READ, 64, 4, {"after": 0}), (READ, 64, 7, {}), (READ, 64, 8, {"from": 0, "max": 5})]
    key = Key()
    enroll(client, "bob", "operator", key, vms=["b"])
    SCHEMA.check("login-payload", cbor2.loads(payload_of(client.write_request(64, 1))))
    login(client, key)
    client.write_request(64, 3)
    client.read_request(64, 4)
    client.write_request(64, 6, {"name": "bob"})
    for op, group, command, payload in everything:
        client.exchange(op, group, command, payload).map()
        SCHEMA.check(checked.rule(group, command) + "-request", payload)
    for request in ((READ, 65, 7, {"name": "nobody"}), (READ, 99, 0, {})):
        with pytest.raises(smp.SmpError):
            client.exchange(*request).map()
    disks(client)
    volumes(client)
    networks(client)
    client.wait_until(lambda: [2, 1, "stopped", "debug-exit"] in pushes(machine), 10)
    while client.read_request(65, 7, {"name": "b"})["state"] != "crashed":
        time.sleep(0.02)
    client.write_request(65, 6, {"name": "a"})
    client.wait_until(lambda: [1, 1] in pushes(machine), 10)
    client.write_request(71, 1, {"credit": 1})
    flood(machine, "d", 300)
    client.write_request(71, 1, {})
    client.wait_until(lambda: any(p[0] == 5 for p in pushes(machine)), 10)
    client.write_request(71, 2)
    for push in pushes(machine):
        SCHEMA.check("pushed", push)
    client.write_request(77, 3, {"confirm": client.read_request(77, 1)["id"]})
    client.write_request(70, 2, {"text": 'pool "p" {} network "n" {}'})
    client.write_request(70, 3, {"text": vm("e", more="autostart = true") + vm("f", "x")})
    client.write_request(65, 3, {"name": "e"})
    client.write_request(70, 3, {"text": vm("f"), "origin": "x"})
    client.write_request(70, 7, {"number": 1})
    client.read_request(70, 6)
    for command, payload in ((0, {}), (1, {"name": "p"}), (2, {"file": "x"}), (3, {"text": ""}), (4, {"text": ""}),
                             (5, {"name": "p"}), (6, {}), (7, {"number": 1})):
        SCHEMA.check(checked.rule(70, command) + "-request", payload)
    client.read_request(65, 0)
    client.write_request(0, 5)
    SCHEMA.check("os-reset-request", {})
    unused = set(SCHEMA.rules) - SCHEMA.used
    assert not unused, unused


def test_the_checker_can_fail():
    for rule, value in (("vm-id", 0), ("vm-id", True), ("console-id", 65), ("os-echo-reply", {"r": 1}),
                        ("os-echo-reply", {"r": "x", "rc": 0}), ("os-echo-reply", {}), ("pushed", [0, 1, 2]),
                        ("pushed", [3, 1]), ("failure", {"rc": 0}), ("failure", {"err": {"group": 1}}),
                        ("vm-list-reply", {"vms": [{}]}), ("state", "asleep"), ("nothing", []),
                        ("console-read-reply", {"id": 1, "seq": 0, "data": 5, "next": 0, "head": 0})):
        with pytest.raises(AssertionError):
            SCHEMA.check(rule, value)

# SPDX-License-Identifier: Apache-2.0
"""Counters and settings over the wire: groups 2, 3 and 76, and the same from Lua."""
import re
import time

import pytest
import smp
from conftest import vm
from signer import Key, enroll, login, own
from test_generations import apply, plan

STAT, SETTINGS, TREE = 2, 3, 76
LIST, GET, SET, UNSET, WHY, DESCRIBE, VALUES = range(7)
VMS, START, DESTROY = 65, 2, 6
MIB = 1 << 20


def refused(machine, op, group, command, payload, version=smp.V2):
    with pytest.raises(smp.SmpError) as error:
        machine.smp.exchange(op, group, command, payload, version=version).map()
    return error.value.rc, error.value.group, error.value.text


def get(machine, path):
    return machine.smp.read_request(TREE, GET, {"path": path})


def change(machine, path, value, **more):
    return machine.smp.write_request(TREE, SET, {"path": path, "value": value, **more})


def chain(machine, path):
    return [(e["origin"], e["value"]) for e in machine.smp.read_request(TREE, WHY, {"path": path})["chain"]]


def pages(machine, command, key, request=None):
    """All entries of a list, and how many pages there were."""
    found, count, after = [], 0, {}
    while after is not None:
        page = machine.smp.read_request(TREE, command, {**(request or {}), **after})
        found += page[key]
        count += 1
        after = {"after": page["next"]} if "next" in page else None
    return found, count


# ---- group 76 ----

def test_every_item_can_be_read_by_its_path(host):
    machine = host("".join(vm(n) for n in ("a", "b", "c", "d", "e", "f")))
    items, count = pages(machine, LIST, "items")
    paths = [i["path"] for i in items]
    assert count > 1 and len(set(paths)) == len(paths) > 100
    assert {"host.mem.free", "host.cpu.slice", "control.frames", "log.level", "vm.a.mem.size",
            "vm.b.exits_by_kind.port_access", "vm.a.cpu.used"} <= set(paths)
    for item in items:
        read = get(machine, item["path"])
        assert set(read) == set(item)
        if not item["path"].startswith(("control.", "host.cpu.", "lua.")):
            assert read == item
    for size in (1, 7):
        assert [i["path"] for i in pages(machine, LIST, "items", {"max": size, "prefix": "vm.b"})[0]] == \
            [p for p in paths if p.startswith("vm.b.")]
    settings = pages(machine, LIST, "items", {"settings": True})[0]
    assert {i["path"] for i in settings} == {i["path"] for i in items if "origin" in i}
    changed = [i["path"] for i in pages(machine, LIST, "items", {"changed": True, "prefix": "vm"})[0]]
    assert changed == ["vm.%s.%s" % (n, k) for n in "abcdef" for k in ("mem.size", "on_reset", "debug_exit")]


def test_the_cursor_survives_vms_that_go(host):
    machine = host(vm("a") + vm("b") + vm("c"))
    page = machine.smp.read_request(TREE, LIST, {"prefix": "vm", "max": 3})
    machine.smp.write_request(VMS, DESTROY, {"name": "a"})
    machine.smp.write_request(VMS, DESTROY, {"name": "b"})
    rest = pages(machine, LIST, "items", {"prefix": "vm", "after": page["next"]})[0]
    assert rest and all(i["path"].startswith("vm.c.") for i in rest)
    assert machine.smp.read_request(TREE, LIST, {"after": 2 ** 32 - 1}) == {"items": []}


def test_values_and_declarations_agree_with_the_list(host):
    machine = host(vm("a", "say=x echo"))
    machine.smp.write_request(VMS, START, {"name": "a"})
    time.sleep(0.2)
    machine.smp.write_request(VMS, 4, {"name": "a"})
    declared = pages(machine, DESCRIBE, "declarations")[0]
    values = pages(machine, VALUES, "values")[0]
    items = {i["path"]: i["value"] for i in pages(machine, LIST, "items")[0]}
    rebuilt = {}
    for group, instance, row in values:
        rows = [d for d in declared if d["group"] == group and d["kind"] in ("total", "gauge", "state", "histogram")]
        assert len(rows) == len(row)
        place = group + ("." + instance if instance else "")
        for d, value in zip(rows, row):
            if d["kind"] == "state":
                value = d["names"][value]
            if isinstance(value, list):
                assert len(value) == len(d["names"])
                rebuilt.update(("%s.%s.%s" % (place, d["name"], n.replace(" ", "_")), v)
                               for n, v in zip(d["names"], value) if n)
            else:
                rebuilt["%s.%s" % (place, d["name"])] = value
    knobs = {d["group"] + "." + d["name"] for d in declared
             if d["kind"] in ("bool", "number", "choice", "cpus") and d["group"] not in ("pool", "vm.disk", "vm.net", "domain", "network")}  # there is none but the machine's own
    assert set(rebuilt) | {k.replace("vm.", "vm.a.") for k in knobs} == set(items)
    for path in rebuilt:
        if path.startswith("vm.") or path.startswith("host.mem"):
            assert rebuilt[path] == items[path], path
    assert items["vm.a.state"] == "paused" and items["vm.a.exits"] > 0
    only = machine.smp.read_request(TREE, VALUES, {"group": "vm"})["values"]
    assert [v[:2] for v in only] == [["vm", "a"]]
    rc, group, text = refused(machine, smp.READ, TREE, VALUES, {"group": "vms"})
    assert (rc, group, text) == (smp.NO_ENTRY, TREE, "there is no group of counters called vms")


def test_values_of_many_vms_come_in_pages(host):
    machine = host("for i = 1, 64 do vm(('vm%02d'):format(i)) "
                   "{ boot = multiboot { image = 'kernel' }, mem = { size = MiB(1) } } end")
    values, count = pages(machine, VALUES, "values", {"group": "vm"})
    assert [v[1] for v in values] == ["vm%02d" % i for i in range(1, 65)] and count >= 1
    assert len(machine.smp.read_request(STAT, 1)["stat_list"]) >= 64


def test_set_and_unset(host):
    machine = host(vm("a"))
    assert get(machine, "vm.a.on_reset") == {"path": "vm.a.on_reset", "value": "stop", "origin": "script"}
    assert change(machine, "vm.a.on_reset", "restart", why="as it was")["origin"] == "operator"
    why = machine.smp.read_request(TREE, WHY, {"path": "vm.a.on_reset"})["chain"]
    assert why == [{"origin": "operator", "value": "restart", "why": "as it was"},
                   {"origin": "script", "value": "stop", "where": "boot.lua:1"},
                   {"origin": "default", "value": "restart"}]
    info = machine.smp.read_request(VMS, 7, {"name": "a"})
    assert info["config"]["on_reset"] == "restart"
    assert machine.smp.write_request(TREE, UNSET, {"path": "vm.a.on_reset"})["value"] == "stop"
    assert chain(machine, "vm.a.on_reset") == [("script", "stop"), ("default", "restart")]
    assert chain(machine, "vm.a.mem.size") == [("script", 2 * MIB)]
    assert chain(machine, "vm.a.acpi") == [("default", True)]
    for value in (4 * MIB, "4 MiB", "4194304"):
        assert change(machine, "vm.a.mem.size", value) == \
            {"path": "vm.a.mem.size", "value": 4 * MIB, "unit": "bytes", "origin": "operator"}
    for value in (True, "true"):
        assert change(machine, "vm.a.acpi", value)["value"] is True
    machine.wait_for(b"setting vm.a.on_reset: restart, was stop: as it was")


def test_what_counts_at_a_start(host):
    machine = host(vm("a", "echo"))
    machine.smp.write_request(VMS, START, {"name": "a"})
    assert change(machine, "vm.a.mem.size", 4 * MIB) == \
        {"path": "vm.a.mem.size", "value": 2 * MIB, "unit": "bytes", "origin": "operator", "next_value": 4 * MIB}
    machine.smp.write_request(VMS, 3, {"name": "a"})
    machine.smp.write_request(VMS, START, {"name": "a"})
    assert get(machine, "vm.a.mem.size")["value"] == 4 * MIB
    assert "next_value" not in get(machine, "vm.a.mem.size")


def test_an_override_decays(host):
    machine = host()
    change(machine, "log.level", "debug", for_ns=400_000_000, why="a look")
    first = machine.smp.read_request(TREE, WHY, {"path": "log.level"})["chain"][0]
    assert first["by"] == "operator" and 0 < first["left_ns"] <= 400_000_000 and first["why"] == "a look"
    assert get(machine, "log.level")["value"] == "debug"
    change(machine, "log.level", "warn")  # beneath it
    assert get(machine, "log.level") == {"path": "log.level", "value": "debug", "origin": "override"}
    deadline = time.monotonic() + 5
    while get(machine, "log.level")["value"] == "debug":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert chain(machine, "log.level") == [("operator", "warn"), ("default", "info")]
    machine.smp.write_request(TREE, UNSET, {"path": "log.level"})


def test_a_new_vm_of_the_same_name_starts_clean(host):
    machine = host(vm("a"))
    change(machine, "vm.a.on_reset", "restart")
    machine.smp.write_request(VMS, DESTROY, {"name": "a"})
    machine.smp.write_request(VMS, 1, {"text": vm("a")})
    assert chain(machine, "vm.a.on_reset") == [("script", "stop"), ("default", "restart")]


@pytest.mark.parametrize("path,value,rc,want", [
    ("vm.a.mem.sise", 1, smp.NO_ENTRY, "there is no vm.a.mem.sise; did you mean vm.a.mem.size?"),
    ("vm.a.mem.reserve", 1, smp.NO_ENTRY, "it is called reservation"),
    ("vm.a.pin", 1, smp.NO_ENTRY, "it is called cpu.affinity"),
    ("log.max", 1, smp.NO_ENTRY, "it is called limit, and this version does not have it"),
    ("vm.a.passthrough", 1, smp.NO_ENTRY, "this version does not have it"),
    ("vm.b.mem.size", 1, smp.NO_ENTRY, "there is no VM called b"),
    ("vm.a.mem.present", 1, smp.BAD_VALUE, "vm.a.mem.present is a counter, not a setting"),
    ("vm.a", 1, smp.NO_ENTRY, "vm.a is no counter or setting, but has some below it"),
    ("vm.a.mem.size", "many", smp.BAD_VALUE, "vm.a.mem.size: it takes a number of bytes, such as 128 MiB, not many"),
    ("vm.a.mem.size", True, smp.BAD_VALUE, "vm.a.mem.size: it takes a whole number, not boolean"),
    ("vm.a.mem.size", -1, smp.BAD_VALUE, "it takes a whole number, not negative integer"),
    ("vm.a.mem.size", 1.5, smp.BAD_VALUE, "it takes a whole number, not float"),
    ("vm.a.mem.size", [1], smp.BAD_VALUE, "it takes a whole number, not array"),
    ("vm.a.mem.size", None, smp.BAD_VALUE, "it takes a whole number, not null"),
    ("vm.a.mem.size", MIB - 4096, smp.BAD_VALUE, "vm.a.mem.size: 1020 KiB is outside 1 MiB to 1023 GiB"),
    ("vm.a.mem.size", (1023 << 30) + 4096, smp.BAD_VALUE, "is outside 1 MiB to 1023 GiB"),
    ("vm.a.mem.size", MIB + 1, smp.BAD_VALUE, "1048577 B is not a multiple of 4 KiB"),
    ("vm.a.mem.size", 2 ** 64 - 1, smp.BAD_VALUE, "is outside"),
    ("vm.a.mem.reservation", MIB, smp.NOT_SUPPORTED, "mem.reservation (1048576 bytes) must equal mem.size"),
    ("vm.a.cpu.count", 17, smp.BAD_VALUE, "17 is outside 1 to 16"),
    ("vm.a.on_reset", "explode", smp.BAD_VALUE, "it takes restart or stop"),
    ("vm.a.on_reset", 1, smp.BAD_VALUE, "it takes a word, not integer"),
    ("vm.a.acpi", 1, smp.BAD_VALUE, "it takes true or false, not integer"),
    ("vm.a.acpi", "yes", smp.BAD_VALUE, "it takes true or false"),
    ("host.cpu.slice", 99_000, smp.BAD_VALUE, "99 us is outside 100 us to 100 ms"),
    ("host.cpu.slice", "101 ms", smp.BAD_VALUE, "101 ms is outside 100 us to 100 ms"),
    ("host.cpu.slice", "5 MiB", smp.BAD_VALUE, "it takes a number of nanoseconds, or 5 ms, not 5 MiB"),
])
def test_values_that_are_refused(host, path, value, rc, want):
    machine = host(vm("a"))
    before = pages(machine, LIST, "items", {"settings": True})[0]
    got, group, text = refused(machine, smp.WRITE, TREE, SET, {"path": path, "value": value})
    assert (got, group) == (rc, TREE) and want in text, text
    assert pages(machine, LIST, "items", {"settings": True})[0] == before


def test_edges_that_are_taken(host):
    machine = host(vm("a"))
    for path, value in (("vm.a.mem.size", MIB), ("vm.a.mem.size", 1023 << 30), ("host.cpu.slice", 100_000),
                        ("host.cpu.slice", 100_000_000), ("host.mem.clear_ahead.4k", 0),
                        ("host.mem.clear_ahead.4k", 1 << 20)):
        assert change(machine, path, value)["value"] == value


@pytest.mark.parametrize("command,payload,want", [
    (SET, {}, "set needs the argument path"),
    (SET, {"path": "log.level"}, "set needs the argument value"),
    (SET, {"path": 5, "value": 1}, "path takes text, not integer"),
    (SET, {"path": "log.level", "value": "warn", "for": 5}, "set takes no argument for"),
    (SET, {"path": "log.level", "value": "warn", "for_ns": "5"}, "for_ns takes a whole number, not text"),
    (SET, {"path": "log.level", "value": "warn", "for_ns": 0}, "for_ns is 0: an override lasts from 1 ms to 366 days"),
    (SET, {"path": "log.level", "value": "warn", "for_ns": 999_999}, "an override lasts from 1 ms to 366 days"),
    (SET, {"path": "log.level", "value": "warn", "for_ns": 2 ** 63}, "an override lasts from 1 ms to 366 days"),
    (SET, {"path": "log.level", "value": "warn", "why": "x" * 96}, "why has 96 bytes, at most 95 are possible"),
    (SET, {"path": "log.level", "value": "warn", "why": 5}, "why takes text, not integer"),
    (UNSET, {}, "unset needs the argument path"),
])
def test_bad_requests(host, command, payload, want):
    machine = host()
    rc, group, text = refused(machine, smp.WRITE, TREE, command, payload)
    assert (rc, group) == (smp.BAD_VALUE, TREE) and want in text, text
    assert get(machine, "log.level")["origin"] == "default"


def test_bad_reads(host):
    machine = host()
    for command, payload, want in ((GET, {}, "get needs the argument path"), (WHY, {"path": "host.mem.free"}, "counter"),
                                   (LIST, {"max": 0}, "max is 0"), (LIST, {"after": 2 ** 32}, "no cursor"),
                                   (LIST, {"changed": 1}, "changed takes true or false"),
                                   (DESCRIBE, {"max": 1}, "describe takes no argument max"),
                                   (GET, {"path": "x" * 5000}, "there is no xxx")):
        assert want in refused(machine, smp.READ, TREE, command, payload)[2]
    for prefix in ("host.men", "host.c", "hos", "vm.", "host.mem.free."):
        assert refused(machine, smp.READ, TREE, LIST, {"prefix": prefix})[0] == smp.NO_ENTRY, prefix


def test_overrides_are_bounded(host):
    """32 at once; each maker has one of each setting, so that takes many settings."""
    machine = host("for i = 1, 40 do vm(('v%d'):format(i)) "
                   "{ boot = multiboot { image = 'kernel' }, mem = { size = MiB(1) } } end")
    for i in range(1, 33):
        change(machine, "vm.v%d.acpi" % i, False, for_ns=10 ** 12)
    rc, _, text = refused(machine, smp.WRITE, TREE, SET, {"path": "vm.v33.acpi", "value": False, "for_ns": 10 ** 12})
    assert rc == smp.NO_MEMORY and text == \
        "vm.v33.acpi: there are 32 temporary overrides already: wait, or unset one"
    change(machine, "vm.v32.acpi", True, for_ns=10 ** 12)  # renewed
    change(machine, "vm.v33.acpi", False)                  # for good
    machine.smp.write_request(TREE, UNSET, {"path": "vm.v1.acpi"})
    change(machine, "vm.v34.acpi", False, for_ns=10 ** 12)


def test_some_settings_are_the_owners(host):
    machine = host(vm("a"))
    own(machine.smp)
    bob = Key()
    enroll(machine.smp, "bob", "operator", bob)
    change(machine, "host.cpu.slice", "7 ms")
    login(machine.smp, bob)
    for op, group, command, payload in ((smp.WRITE, TREE, SET, {"path": "host.cpu.slice", "value": "8 ms"}),
                                        (smp.WRITE, TREE, UNSET, {"path": "host.cpu.slice"}),
                                        (smp.WRITE, SETTINGS, 0, {"name": "host.cpu.slice", "val": b"8 ms"}),
                                        (smp.WRITE, SETTINGS, 1, {"name": "host.cpu.slice"})):
        rc, _, text = refused(machine, op, group, command, payload)
        assert rc == smp.DENIED and "only the owner sets it" in text, (rc, text)
    assert get(machine, "host.cpu.slice")["value"] == 7_000_000
    assert change(machine, "vm.a.acpi", False)["value"] is False


# ---- group 2 ----

@pytest.mark.parametrize("version", [smp.V1, smp.V2])
def test_statistics(host, version):
    machine = host(vm("a"))
    names = machine.smp.read_request(STAT, 1, version=version)["stat_list"]
    assert {"host", "host.mem", "host.cpu", "control", "lua", "vm.a"} <= set(names)
    for name in names:
        data = machine.smp.read_request(STAT, 0, {"name": name}, version=version)
        assert data["name"] == name and data["fields"]
        for field, value in data["fields"].items():
            item = get(machine, "%s.%s" % (name, field))
            assert item["value"] == value or name in ("control", "host.cpu", "lua") or field == "state"
    rc, group, _ = refused(machine, smp.READ, STAT, 0, {"name": "vm"}, version)
    assert (rc, group) == ((smp.NO_ENTRY, None) if version == smp.V1 else (2, STAT))
    rc, group, text = refused(machine, smp.READ, STAT, 0, {}, version)
    assert (rc, group, text) == (smp.BAD_VALUE, None, "data needs the argument name")


# ---- group 3 ----

def test_settings_group(host):
    machine = host(vm("a"))
    client = machine.smp
    assert client.read_request(SETTINGS, 0, {"name": "vm.a.on_reset"}) == {"val": b"stop"}
    assert client.read_request(SETTINGS, 0, {"name": "vm.a.mem.size", "max_size": 143}) == {"val": b"2097152"}
    assert client.read_request(SETTINGS, 0, {"name": "vm.a.mem.size", "max_size": 300}) == \
        {"val": b"2097152", "max_size": 143}
    assert client.write_request(SETTINGS, 0, {"name": "vm.a.on_reset", "val": b"restart"}) == {}
    assert client.write_request(SETTINGS, 2) == {}
    assert get(machine, "vm.a.on_reset") == {"path": "vm.a.on_reset", "value": "restart", "origin": "operator"}
    assert client.write_request(SETTINGS, 0, {"name": "vm.a.mem.size", "val": "4 MiB"}) == {}
    assert client.read_request(SETTINGS, 0, {"name": "vm.a.mem.size"}) == {"val": b"4194304"}
    assert client.write_request(SETTINGS, 1, {"name": "vm.a.mem.size"}) == {}
    assert client.read_request(SETTINGS, 0, {"name": "vm.a.mem.size"}) == {"val": b"2097152"}


@pytest.mark.parametrize("op,command,payload,v2,v1", [
    (smp.READ, 0, {"name": "vm.a.nothing"}, (3, SETTINGS), smp.NO_ENTRY),
    (smp.READ, 0, {"name": "x" * 96}, (2, SETTINGS), smp.NO_ENTRY),
    (smp.READ, 0, {"name": "host.mem.free"}, (4, SETTINGS), smp.BAD_VALUE),
    (smp.WRITE, 0, {"name": "host.mem.free", "val": b"1"}, (6, SETTINGS), smp.BAD_VALUE),
    (smp.WRITE, 0, {"name": "vm.b.acpi", "val": b"true"}, (3, SETTINGS), smp.NO_ENTRY),
    (smp.WRITE, 1, {"name": "host.mem.free"}, (7, SETTINGS), smp.BAD_VALUE),
    (smp.WRITE, 1, {"name": "x"}, (3, SETTINGS), smp.NO_ENTRY),
    (smp.WRITE, 0, {"name": "log.level", "val": b"loud"}, (smp.BAD_VALUE, None), smp.BAD_VALUE),
    (smp.WRITE, 0, {"name": "log.level", "val": b"\xff\x00"}, (smp.BAD_VALUE, None), smp.BAD_VALUE),
    (smp.WRITE, 0, {"name": "log.level", "val": b"w" * 1000}, (smp.BAD_VALUE, None), smp.BAD_VALUE),
    (smp.WRITE, 0, {"name": "log.level", "val": b""}, (smp.BAD_VALUE, None), smp.BAD_VALUE),
    (smp.WRITE, 0, {"name": "log.level", "val": 5}, (smp.BAD_VALUE, None), smp.BAD_VALUE),
    (smp.WRITE, 0, {"name": "log.level"}, (smp.BAD_VALUE, None), smp.BAD_VALUE),
    (smp.READ, 0, {"name": "log.level", "max_size": 3}, (smp.BAD_VALUE, None), smp.BAD_VALUE),
    (smp.READ, 0, {}, (smp.BAD_VALUE, None), smp.BAD_VALUE),
    (smp.WRITE, 3, {"name": "host.men"}, (3, SETTINGS), smp.NO_ENTRY),
    (smp.WRITE, 3, {"name": "host.mem.free"}, (3, SETTINGS), smp.NO_ENTRY),
    (smp.WRITE, 3, {"name": 5}, (smp.BAD_VALUE, None), smp.BAD_VALUE),
    (smp.READ, 2, {}, (smp.NOT_SUPPORTED, None), smp.NOT_SUPPORTED),
])
def test_settings_group_refuses(host, op, command, payload, v2, v1):
    machine = host(vm("a"))
    assert refused(machine, op, SETTINGS, command, payload)[:2] == v2
    assert refused(machine, op, SETTINGS, command, payload, smp.V1)[:2] == (v1, None)
    assert get(machine, "log.level")["value"] == "info"


def save(machine, **name):
    return machine.smp.write_request(SETTINGS, 3, name)


def test_saved_settings_outlive_a_reset(host, tmp_path):
    disk = ("--disk", str(tmp_path / "disk"))
    machine = host(vm("a") + vm("b"), options=disk)
    change(machine, "log.level", "debug", why="why not")
    change(machine, "vm.a.on_reset", "restart")
    change(machine, "vm.b.mem.size", 4 * MIB)
    change(machine, "host.cpu.slice", "7 ms")
    change(machine, "host.cpu.slice", "8 ms", for_ns=10 ** 12)  # an override ends with the machine
    assert save(machine) == {}
    change(machine, "vm.a.acpi", False)                         # not saved
    machine.close()
    machine = host(vm("a") + 'set("vm.a.on_reset", "stop")\n', options=disk)
    assert chain(machine, "vm.a.on_reset")[:2] == [("operator", "restart"), ("script", "stop")]
    assert chain(machine, "log.level") == [("operator", "debug"), ("default", "info")]
    assert machine.smp.read_request(TREE, WHY, {"path": "log.level"})["chain"][0]["why"] == "saved"
    assert chain(machine, "host.cpu.slice")[0] == ("operator", 7_000_000)
    assert chain(machine, "vm.a.acpi") == [("default", True)]
    machine.wait_for(b"saved setting vm.b.mem.size: vm.b.mem.size: there is no VM called b")
    machine.smp.write_request(VMS, 1, {"text": vm("b")})        # it comes later, and has what was saved
    assert get(machine, "vm.b.mem.size")["value"] == 4 * MIB
    machine.smp.write_request(TREE, UNSET, {"path": "log.level"})
    change(machine, "vm.b.mem.size", 6 * MIB)
    save(machine, name="log")                                   # what is below log, and nothing else
    machine.close()
    machine = host(vm("a") + vm("b"), options=disk)
    assert chain(machine, "log.level") == [("default", "info")]
    assert get(machine, "vm.b.mem.size")["value"] == 4 * MIB and get(machine, "host.cpu.slice")["value"] == 7_000_000
    machine.smp.write_request(TREE, UNSET, {"path": "host.cpu.slice"})
    assert machine.smp.read_request(SETTINGS, 3) == {}          # load: as it was saved
    assert get(machine, "host.cpu.slice")["value"] == 7_000_000


def test_saved_settings_are_the_machines_own(host):
    """No file of a client's: neither read nor written by name."""
    machine = host()
    change(machine, "log.level", "debug")
    save(machine)
    for op, payload in ((smp.READ, {"name": "system/settings", "off": 0}),
                        (smp.WRITE, {"name": "system/settings", "off": 0, "len": 1, "data": b"x"})):
        with pytest.raises(smp.SmpError):
            machine.smp.exchange(op, 8, 0, payload).map()


def test_saving_needs_a_store(host):
    machine = host(options=("--disk", "none"))
    assert refused(machine, smp.WRITE, SETTINGS, 3, {})[:2] == (8, SETTINGS)
    assert refused(machine, smp.WRITE, SETTINGS, 3, {}, smp.V1)[:2] == (smp.UNKNOWN, None)
    assert machine.smp.read_request(SETTINGS, 3) == {}


# ---- Lua ----

def lua(machine, line):
    output, status = machine.smp.shell(line)
    return output.rstrip("\n") if status == 0 else "!" + output.rstrip("\n")


@pytest.mark.parametrize("line,want", [
    ('get "vm.a.mem.size"', "MiB(2)"),
    ('get "vm.a.acpi"', "true"),
    ('get "vm.a.state"', "defined"),
    ('get "vm.a.cpu.count"', "1"),
    ('get "vm.a.uptime" == sec(0)', "true"),
    ('get "host.mem.free" > MiB(1)', "true"),
    ('get "vm.a.mem.sise"', "!line:1: there is no vm.a.mem.sise; did you mean vm.a.mem.size?"),
    ('get(5)', '!line:1: get takes a path, as in get "host.mem.free", not a number'),
    ('set("vm.a.mem.size", MiB(4)) return get "vm.a.mem.size"', "MiB(4)"),
    ('set("vm.a.mem.size", 4)', "!line:1: vm.a.mem.size: it needs a unit: write for example MiB(128), not 4"),
    ('set("vm.a.mem.size", sec(4))', "!line:1: vm.a.mem.size: it takes a size such as MiB(128)"),
    ('set("vm.a.mem.size", "4 MiB")', "!line:1: vm.a.mem.size: it takes a whole number, not text"),
    ('set("vm.a.mem.size", MiB(-4))', "!line:1: vm.a.mem.size: it is negative"),
    ('set("vm.a.mem.size", {})', "!line:1: vm.a.mem.size: it takes a whole number, not map"),
    ('set("vm.a.mem.size", print)', "!line:1: vm.a.mem.size takes no such value"),
    ('set("vm.a.mem.size")', "!line:1: vm.a.mem.size: it takes a whole number, not null"),
    ('set("vm.a.cpu.count", MiB(1))', "!line:1: vm.a.cpu.count: it takes a plain number without a unit"),
    ('set("vm.a.on_reset", "restart") return get "vm.a.on_reset"', "restart"),
    ('set("host.cpu.slice", ms(7)) return get "host.cpu.slice"', "ms(7)"),
    ('set("log.level", "warn", { whi = "x" })', "!line:1: set has no option whi; did you mean why?"),
    ('set("log.level", "warn", { for_ = 5 })', "!line:1: for_ takes a time such as sec(60)"),
    ('set("log.level", "warn", { for_ = MiB(5) })', "!line:1: for_ takes a time such as sec(60)"),
    ('set("log.level", "warn", { why = 5 })', "!line:1: why takes a text"),
    ('set("log.level", "warn", 5)', None),
    ('set("host.mem.free", MiB(5))', "!line:1: host.mem.free is a counter, not a setting"),
    ('set("log.level", "warn", { for_ = min(5), why = "quiet" }) return why "log.level"',
     re.compile(r"log.level\n  override  warn, for (5 min|299\S* \S+) more, by operator: quiet\n  default   info")),
    ('set("vm.a.on_reset", "restart") return why "vm.a.on_reset"',
     "vm.a.on_reset\n  operator  restart\n  script    stop, boot.lua:1\n  default   restart"),
    ('set("vm.a.on_reset", "restart") unset "vm.a.on_reset" return get "vm.a.on_reset"', "stop"),
    ('why "vm.a.mem.size"', "vm.a.mem.size\n  script    2 MiB, boot.lua:1"),
])
def test_lua(host, line, want):
    machine = host(vm("a"))
    got = lua(machine, line)
    if want is None:
        assert got.startswith("!")
    elif isinstance(want, re.Pattern):
        assert want.fullmatch(got)
    else:
        assert got == want


def test_a_script_is_an_origin(host):
    machine = host(vm("a") + 'set("vm.a.on_reset", "restart", { why = "to see" })\n'
                   'set("log.level", "debug", { for_ = hour(1) })\n')
    assert chain(machine, "vm.a.on_reset") == [("script", "restart"), ("script", "stop"), ("default", "restart")]
    first = machine.smp.read_request(TREE, WHY, {"path": "vm.a.on_reset"})["chain"][0]
    assert (first["where"], first["why"]) == ("boot.lua:2", "to see")
    first = machine.smp.read_request(TREE, WHY, {"path": "log.level"})["chain"][0]
    assert (first["origin"], first["by"], first["where"]) == ("override", "script", "boot.lua:3")


def test_a_definition_sets_nothing(host):
    machine = host()
    for call in ('set("log.level", "warn")', 'unset "log.level"'):
        with pytest.raises(smp.SmpError) as error:
            machine.smp.write_request(VMS, 1, {"text": vm("a") + call})
        assert "a definition cannot" in error.value.text
    assert get(machine, "log.level")["origin"] == "default"


def test_a_script_does_not_move_a_reservation(host):
    machine = host(vm("a") + 'set("vm.a.mem.reservation", MiB(2))')
    machine.wait_for("boot.lua:2: vm.a.mem.reservation: a reservation is a floor: a definition or the operator sets it")


# ---- generations ----

def test_what_a_generation_sets_goes_with_it(host):
    machine = host(vm("a"))
    apply(machine, vm("a") + 'set("log.level", "debug")\nset("vm.a.acpi", false)')
    assert chain(machine, "log.level") == [("script", "debug"), ("default", "info")]
    change(machine, "host.cpu.slice", "7 ms")
    apply(machine, vm("a") + 'set("vm.a.acpi", false)')
    assert chain(machine, "log.level") == [("default", "info")]
    assert chain(machine, "vm.a.acpi") == [("script", False), ("default", True)]
    assert chain(machine, "host.cpu.slice")[0] == ("operator", 7_000_000)
    apply(machine, vm("a"))
    assert chain(machine, "vm.a.acpi") == [("default", True)]


def test_a_generation_cannot_set_what_it_takes_away(host):
    machine = host(vm("a") + vm("b"))
    for send in (plan, apply):
        with pytest.raises(smp.SmpError) as error:
            send(machine, vm("a") + 'set("vm.b.acpi", false)')
        assert error.value.text == "site.lua:2: a setting of VM b, which is not in the text any more"
    assert chain(machine, "vm.b.acpi") == [("default", True)]


def test_a_generation_that_sets_too_much(host):
    """Each of its settings would fit, all of them do not: nothing is done."""
    machine = host("for i = 1, 40 do vm(('v%d'):format(i)) "
                   "{ boot = multiboot { image = 'kernel' }, mem = { size = MiB(1) } } end")
    for i in range(1, 31):
        for key in ("acpi", "debug_exit"):
            change(machine, "vm.v%d.%s" % (i, key), False)
    text = "for i = 1, 40 do vm(('v%d'):format(i)) { boot = multiboot { image = 'kernel' }, " \
           "mem = { size = MiB(1) } } end\nfor i = 31, 40 do set('vm.v' .. i .. '.acpi', false) end"
    with pytest.raises(smp.SmpError) as error:
        apply(machine, text)
    assert error.value.text == "140 changes of settings would be kept, at most 128 are possible"
    assert chain(machine, "vm.v31.acpi") == [("default", True)]
    assert apply(machine, text.replace("31, 40", "31, 34"))["generation"] >= 1

# SPDX-License-Identifier: Apache-2.0
"""The store as an operator sees it: names of both parts in one list, writing at the prompt, what a restart keeps."""
import os

import pytest
import smp
from conftest import kernel, vm
from smp import WRITE

LIST, INFO, DELETE = 0, 1, 2


def listed(client, **more):
    return {f["name"]: (f["size"], f.get("seed", False)) for f in client.read_request(77, LIST, more)["files"]}


def evaluate(client, line):
    reply = client.exchange(WRITE, 9, 0, {"argv": [line]}).map()
    return reply["o"], reply["ret"]


def good(client, line):
    output, ret = evaluate(client, line)
    assert ret == 0, output
    return output.rstrip("\n")


def test_writable_names_lie_over_the_seed(host, tmp_path):
    machine = host(files={"scripts/a.lua": "seed a", "scripts/b.lua": "seed b"}, options=["--disk", str(tmp_path / "d")])
    client = machine.smp
    assert listed(client) == {"broken": (1700, True), "kernel": (len(kernel()), True), "scripts/a.lua": (6, True),
                              "scripts/b.lua": (6, True), "scripts/boot.lua": (0, True)}
    good(client, 'store.put("scripts/a.lua", "mine, and longer")')
    good(client, 'store.put("uploads/x", ("x"):rep(100000))')
    assert listed(client)["scripts/a.lua"] == (16, False)
    assert listed(client, prefix="scripts/")["scripts/b.lua"] == (6, True)
    assert listed(client, prefix="up") == {"uploads/x": (100000, False)}
    assert good(client, 'store.get("scripts/a.lua")') == "mine, and longer"
    assert good(client, 'store.get("scripts/b.lua", 2, 3)') == "ed "
    assert good(client, '#store.get("uploads/x", 40000)') == "60000"
    assert good(client, 'store.list("scripts/")["scripts/a.lua"]') == "16"
    # deleting shows the seed's again, which cannot be deleted
    client.write_request(77, DELETE, {"name": "scripts/a.lua"})
    assert listed(client)["scripts/a.lua"] == (6, True)
    assert good(client, 'store.get("scripts/a.lua")') == "seed a"
    for line, words in (('store.delete("scripts/a.lua")', "came with the loader"), ('store.delete("nobody")', "no 'nobody'"),
                        ('store.put("a//b", "")', "an empty part"), ('store.put("a b", "")', "without blanks"),
                        ('store.put(("n"):rep(128), "")', "at most 127"), ('store.put("a", {})', "not a table"),
                        ('store.put("a\\0b", "")', "or has a NUL"), ('store.get("nobody")', "no file 'nobody'"),
                        ('store.get("system/keys")', "control plane's own"), ('store.put("system/x", "")', "control plane's own"),
                        ('store.get("kernel", 1000)', "no byte 1000"), ('store.get("uploads/x", 0, 1e9 // 1 | 0)', "at most"),
                        ('store.put("big", ("x"):rep(700000) )', None)):
        output, ret = evaluate(client, line)
        if words:
            assert ret == 1 and words in output, (line, output)
    with pytest.raises(smp.SmpError, match="came with the loader"):
        client.write_request(77, DELETE, {"name": "kernel"})
    assert client.read_request(74, 1) == {"checked": True}


def test_pages_go_through_all_names(host):
    client = host(files={"s/%03d" % i: "x" * i for i in range(150)}).smp
    good(client, 'for i = 1, 150 do store.put(("s/%03d+"):format(i), "y") end')
    seen, after = [], {}
    for _ in range(1000):
        page = client.read_request(77, LIST, {"prefix": "s/", "max": 7, **after})
        seen += [f["name"] for f in page["files"]]
        if "next" not in page:
            break
        assert len(page["files"]) == 7
        after = {"after": page["next"]}
    assert seen == sorted(seen) and len(seen) == 300
    assert len(listed(client)) > 20  # one frame, without max


def test_what_was_put_is_there_after_a_restart(host, tmp_path):
    disk = ["--disk", str(tmp_path / "disk.img")]
    machine = host(options=disk)
    good(machine.smp, 'store.put("scripts/boot.lua", [[log("from the writable store") print(store.get("note"))]])')
    good(machine.smp, 'store.put("note", "kept")')
    machine.close()  # without a word to the machine: what is on the disk is there
    machine = host(options=disk)
    machine.wait_for(b"from the writable store")
    machine.wait_for(b"kept")
    info = machine.smp.read_request(77, INFO)
    # these two, and the audit log
    assert info["writable"] and info["keys"] == 3 and info["opens"] == 2 and info["damaged"] == 0
    assert machine.smp.read_request(74, 0)["store"]["keys"] == 3


def test_a_guest_boots_from_the_writable_store(host):
    machine = host()
    good(machine.smp, 'store.put("uploads/k", store.get("kernel"))')
    text = vm("u", "say=hello end=exit:7").replace('"kernel"', '"uploads/k"')
    machine.smp.write_request(65, 1, {"text": text})
    machine.smp.write_request(65, 2, {"name": "u"})
    machine.smp.wait_until(lambda: machine.smp.read_request(65, 7, {"name": "u"})["state"] == "stopped", 10)
    assert machine.smp.read_request(65, 7, {"name": "u"})["exit_code"] == 7
    # its definition outlives the file; a start without it names it
    machine.smp.write_request(77, DELETE, {"name": "uploads/k"})
    with pytest.raises(smp.SmpError, match="no file 'uploads/k'"):
        machine.smp.write_request(65, 2, {"name": "u"})
    assert machine.smp.read_request(74, 1) == {"checked": True}


def test_a_machine_without_a_disk(host):
    machine = host(files={"a": "1"}, options=["--disk", "none"])
    info = machine.smp.read_request(77, INFO)
    assert info == {"writable": False, "why": "this machine has no disk"}
    assert machine.smp.read_request(74, 0)["store"] == info
    assert listed(machine.smp)["a"] == (1, True)
    output, ret = evaluate(machine.smp, 'store.put("b", "2")')
    assert ret == 1 and "there is no writable store: this machine has no disk" in output
    with pytest.raises(smp.SmpError, match="no writable store"):
        machine.smp.write_request(77, DELETE, {"name": "b"})


def test_a_script_reads_and_does_not_write(host):
    machine = host(script='log(store.get("scripts/x")) store.put("y", "z")', files={"scripts/x": "read by a script"})
    machine.wait_for(b"read by a script")
    machine.wait_for(b"store.put works at the prompt only")
    assert "y" not in listed(machine.smp)


def test_a_store_that_cannot_be_written(host, tmp_path):
    disk = tmp_path / "disk.img"
    machine = host(options=["--disk", str(disk)])
    good(machine.smp, 'store.put("a", "good")')
    machine.close()  # without a word to the machine: what is on the disk is there
    with open(disk, "r+b") as f:  # both superblocks, and a store that is only damaged
        for at in (16, 4096 + 16):
            f.seek(at)
            byte = f.read(1)
            f.seek(at)
            f.write(bytes([byte[0] ^ 1]))
    machine = host(options=["--disk", str(disk)], args="trust=line")  # it may hold keys
    machine.wait_for(b"store: file: neither superblock, sectors 0 and 8, is good")
    assert machine.smp.read_request(77, INFO)["writable"] is False
    assert os.path.getsize(disk) == 8 << 20


def test_more_is_written_than_the_disk_holds(host):
    client = host().smp
    for _ in range(300):
        good(client, 'store.put("x", ("x"):rep(30000))')
    assert client.read_request(76, 1, {"path": "host.store.put"})["value"] >= 300 * 30000
    assert client.read_request(76, 1, {"path": "host.store.writable"})["value"] == 1
    assert good(client, '#store.get("x", 10000)') == "20000"
    assert client.read_request(74, 1) == {"checked": True}

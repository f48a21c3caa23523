# SPDX-License-Identifier: Apache-2.0
"""The file group and the store's group over the wire: transfers, resuming, hashes, and what is refused."""
import hashlib
import random
import time
import zlib

import pytest
import smp
from conftest import vm
from smp import READ, WRITE

FILE, STORE = 8, 77
TRANSFER, STATUS, HASH, TYPES, CLOSE = range(5)
LIST, INFO, REMOVE = range(3)
INVALID_NAME, NOT_FOUND, IS_DIRECTORY, READ_FAILED, WRITE_FAILED, BAD_OFFSET, BEYOND, NO_HASH, READ_ONLY = \
    2, 3, 4, 7, 10, 11, 12, 13, 15


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def chunk(machine, name, off, data, size=None, **more):
    payload = {"off": off, "name": name, "data": data}
    if size is not None:
        payload["len"] = size
    return machine.smp.write_request(FILE, TRANSFER, payload, **more)


def upload(machine, name, data, size=7000, start=0):
    off = start
    while True:
        reply = chunk(machine, name, off, data[off : off + size], len(data) if off == 0 else None)
        assert reply == {"off": min(off + size, len(data))}
        off = reply["off"]
        if off == len(data):
            return


def download(machine, name):
    data, total = b"", None
    while total is None or len(data) < total:
        reply = machine.smp.read_request(FILE, TRANSFER, {"off": len(data), "name": name})
        assert set(reply) == ({"off", "data"} if data else {"off", "data", "len"})
        assert reply["off"] == len(data)
        if total is None:
            total = reply["len"]
            if total == 0:
                break
        assert reply["data"]
        data += reply["data"]
    assert len(data) == total
    return data


def refused(machine, op, group, command, payload, version=smp.V2):
    with pytest.raises(smp.SmpError) as error:
        machine.smp.exchange(op, group, command, payload, version=version).map()
    return error.value.rc, error.value.group, error.value.text


def sentence(machine, op, command, payload):
    """The group's code in version 2, and the sentence that version 1 carries."""
    rc, group, _ = refused(machine, op, FILE, command, payload)
    common, _, text = refused(machine, op, FILE, command, payload, smp.V1)
    return (rc if group == FILE else None), common, text


def names(machine, **arguments):
    return [f["name"] for f in machine.smp.read_request(STORE, LIST, arguments)["files"]]


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 7000, 100_001])
def test_there_and_back(host, size):
    machine = host()
    data = noise(size)
    upload(machine, "images/x", data)
    assert download(machine, "images/x") == data
    assert machine.smp.read_request(FILE, STATUS, {"name": "images/x"}) == {"len": size}
    assert machine.smp.read_request(FILE, HASH, {"name": "images/x"}) == \
        {"type": "sha256", "len": size, "output": hashlib.sha256(data).digest()}
    assert machine.smp.read_request(FILE, HASH, {"name": "images/x", "type": "crc32"}) == \
        {"type": "crc32", "len": size, "output": zlib.crc32(data)}
    assert machine.smp.write_request(FILE, CLOSE) == {}


def test_hash_of_a_part(host):
    machine = host()
    data = noise(10_000)
    upload(machine, "x", data)
    for off, length in ((1, 1), (0, 5000), (4096, 4096), (9_999, 50), (10_000, 5), (5, 0)):
        part = data[off : off + length]
        want = {"type": "crc32", "len": len(part), "output": zlib.crc32(part)}
        if off:
            want["off"] = off
        assert machine.smp.read_request(FILE, HASH, {"name": "x", "type": "crc32", "off": off, "len": length}) == want
    assert machine.smp.read_request(FILE, TYPES) == \
        {"types": {"crc32": {"format": 0, "size": 4}, "sha256": {"format": 1, "size": 32}}}


def test_the_seed_lies_below(host):
    machine = host("-- first")
    assert download(machine, "scripts/boot.lua") == b"-- first"
    assert download(machine, "/scripts/boot.lua") == b"-- first"
    upload(machine, "/scripts/boot.lua", b"-- second")
    assert download(machine, "scripts/boot.lua") == b"-- second"
    entry = {f["name"]: f for f in machine.smp.read_request(STORE, LIST)["files"]}
    assert entry["scripts/boot.lua"] == {"name": "scripts/boot.lua", "size": 9}
    assert entry["kernel"]["seed"]
    assert machine.smp.write_request(STORE, REMOVE, {"name": "scripts/boot.lua"}) == {}
    assert download(machine, "scripts/boot.lua") == b"-- first"
    rc, group, text = refused(machine, WRITE, STORE, REMOVE, {"name": "scripts/boot.lua"})
    assert (rc, group) == (smp.DENIED, None) and "scripts/boot.lua" in text
    assert refused(machine, WRITE, STORE, REMOVE, {"name": "nothing"})[:2] == (smp.NO_ENTRY, STORE)


def test_an_uploaded_script_and_kernel_are_used(host):
    machine = host()
    kernel = download(machine, "kernel")
    upload(machine, "my/kernel", kernel)
    machine.smp.write_request(65, 1, {"text": vm("a").replace('"kernel"', '"my/kernel"')})
    assert machine.smp.write_request(65, 2, {"name": "a"}) == {}


def test_store_info(host):
    machine = host()
    before = machine.smp.read_request(STORE, INFO)
    assert before["writable"] and "upload" not in before
    chunk(machine, "x", 0, b"abc", 100_000)
    info = machine.smp.read_request(STORE, INFO)
    assert info["upload"] == {"name": "x", "off": 3, "len": 100_000}
    machine.smp.write_request(FILE, CLOSE)
    assert "upload" not in machine.smp.read_request(STORE, INFO)
    upload(machine, "x", noise(50_000))
    after = machine.smp.read_request(STORE, INFO)  # the file, and the audit log
    assert after["keys"] == before["keys"] + 2 and after["used"] >= before["used"] + 50_000


# ---- interrupted ----

def test_resume_after_a_lost_line(host):
    machine = host()
    old, new = noise(30_000, 1), noise(40_000, 2)
    upload(machine, "x", old)
    for off in range(0, 21_000, 7000):
        chunk(machine, "x", off, new[off : off + 7000], len(new) if off == 0 else None)
    line = machine.connect()  # the client is gone in the middle of a frame
    line.sendall(smp.frame(smp.message(WRITE, FILE, TRANSFER, {"off": 21_000, "name": "x", "data": new[21_000:28_000]}))[:3000])
    line.close()
    assert download(machine, "x") == old, "the old content is whole until the last byte is there"
    at = machine.smp.read_request(FILE, STATUS, {"name": "x"})["len"]
    assert at == 21_000
    upload(machine, "x", new, start=at)
    assert download(machine, "x") == new
    assert machine.smp.read_request(FILE, STATUS, {"name": "x"}) == {"len": 40_000}


def test_a_chunk_whose_answer_was_lost_is_sent_again(host):
    machine = host()
    data = noise(20_000)
    for off in range(0, 20_000, 5000):
        for _ in range(3 if off else 1):
            assert chunk(machine, "x", off, data[off : off + 5000], 20_000 if off == 0 else None) == {"off": off + 5000}
    assert download(machine, "x") == data
    # also the last one, when all is done already; other content there is none of it
    assert chunk(machine, "x", 15_000, data[15_000:]) == {"off": 20_000}
    assert refused(machine, WRITE, FILE, TRANSFER, {"off": 15_000, "name": "x", "data": data[:5000]})[:2] == \
        (BAD_OFFSET, FILE)
    assert download(machine, "x") == data


def test_what_does_not_fit_leaves_the_upload_where_it_was(host):
    machine = host()
    old, data = b"old" * 100, noise(9000)
    upload(machine, "x", old)
    chunk(machine, "x", 0, data[:3000], 9000)
    cases = [
        ({"off": 3001, "name": "x", "data": b"a"}, (BAD_OFFSET, 3, "x: off is 3001, but it goes on at 3000")),
        ({"off": 1, "name": "x", "data": data[1:3000]}, (BAD_OFFSET, 3, "x: off is 1, but it goes on at 3000")),
        ({"off": 2 ** 64 - 1, "name": "x", "data": b"a"},
         (BAD_OFFSET, 3, "x: off is 18446744073709551615, but it goes on at 3000")),
        ({"off": 3000, "name": "x", "data": data[:6001]}, (BEYOND, 3, "x: the chunk ends at 9001, but len is 9000")),
        ({"off": 3000, "name": "x", "data": b"a", "len": 9001}, (None, 3, "x: len is 9001, but began as 9000")),
        ({"off": 3000, "name": "y", "data": b"a"}, (BAD_OFFSET, 6, "no upload of y is under way: begin with off 0")),
        ({"off": 3000, "name": "x", "data": 5}, (None, 3, "data takes text or a byte string, not integer")),
        ({"off": 3000, "name": "x"}, (None, 3, "an upload needs the argument data")),
        ({"off": 3000, "data": b"a"}, (None, 3, "transfer needs the argument name")),
        ({"name": "x", "data": b"a"}, (None, 3, "transfer needs the argument off")),
        ({"off": 0, "name": "z", "data": b"a"}, (None, 3, "the first chunk of z needs len, the length of the file")),
        ({"off": 0, "name": "z", "data": b"ab", "len": 1}, (BEYOND, 3, "z: the chunk has 2 bytes, but len is 1")),
    ]
    for payload, want in cases:
        assert sentence(machine, WRITE, TRANSFER, payload) == want, payload
        assert machine.smp.read_request(FILE, STATUS, {"name": "x"}) == {"len": 3000}
        assert download(machine, "x") == old
    upload(machine, "x", data, start=3000, size=3000)
    assert download(machine, "x") == data


def test_starting_again_takes_the_place_of_what_was_under_way(host):
    machine = host()
    chunk(machine, "x", 0, b"abc", 10)
    chunk(machine, "y", 0, b"abc", 10)
    assert sentence(machine, WRITE, TRANSFER, {"off": 3, "name": "x", "data": b"d"})[0] == BAD_OFFSET
    assert refused(machine, READ, FILE, STATUS, {"name": "x"})[:2] == (NOT_FOUND, FILE)
    chunk(machine, "y", 0, b"other", 8)
    assert chunk(machine, "y", 5, b"one") == {"off": 8}
    assert download(machine, "y") == b"otherone"
    chunk(machine, "y", 0, b"abc", 10)
    machine.smp.write_request(FILE, CLOSE)
    assert download(machine, "y") == b"otherone"
    assert sentence(machine, WRITE, TRANSFER, {"off": 3, "name": "y", "data": b"d"})[0] == BAD_OFFSET


def test_a_file_that_changes_under_a_download(host):
    machine = host()
    upload(machine, "x", noise(10_000, 1))
    machine.smp.read_request(FILE, TRANSFER, {"off": 0, "name": "x"})
    upload(machine, "x", noise(10_000, 2))
    assert sentence(machine, READ, TRANSFER, {"off": 4096, "name": "x"}) == \
        (BAD_OFFSET, 6, "x was replaced while it was downloaded: begin again")
    assert download(machine, "x") == noise(10_000, 2)


def test_store_too_small(host):
    machine = host()
    upload(machine, "x", b"old")
    rc, common, text = sentence(machine, WRITE, TRANSFER, {"off": 0, "name": "x", "data": b"a", "len": 1 << 30})
    assert (rc, common) == (WRITE_FAILED, smp.NO_MEMORY) and text
    assert download(machine, "x") == b"old"
    with pytest.raises(smp.SmpError) as error:
        for n in range(100):
            upload(machine, "fill/%d" % n, noise(600_000, n), size=8000)
    assert (error.value.rc, error.value.group) == (WRITE_FAILED, FILE)
    assert download(machine, "x") == b"old"
    machine.smp.write_request(STORE, REMOVE, {"name": "fill/0"})
    upload(machine, "x", noise(300_000), size=8000)
    assert download(machine, "x") == noise(300_000)


def test_machine_without_a_writable_store(host):
    machine = host("-- text", options=("--disk", "none"))
    assert sentence(machine, WRITE, TRANSFER, {"off": 0, "name": "x", "data": b"a", "len": 1}) == \
        (READ_ONLY, 6, "there is no writable store: this machine has no disk")
    assert machine.smp.read_request(STORE, INFO) == {"writable": False, "why": "this machine has no disk"}
    assert download(machine, "scripts/boot.lua") == b"-- text"


def test_what_was_acknowledged_is_there_after_a_restart(host, tmp_path):
    disk = ("--disk", str(tmp_path / "disk"))
    machine = host(options=disk)
    upload(machine, "done", noise(20_000, 1))
    upload(machine, "half", b"old")
    chunk(machine, "half", 0, noise(5000), 10_000)
    machine.disconnect()
    machine.process.kill()
    machine.process.wait()
    machine.process.returncode = 0
    machine = host(options=disk)
    assert download(machine, "done") == noise(20_000, 1)
    assert download(machine, "half") == b"old"
    assert sentence(machine, WRITE, TRANSFER, {"off": 5000, "name": "half", "data": b"d"})[0] == BAD_OFFSET


# ---- refused ----

@pytest.mark.parametrize("op,command,payload,want", [
    (READ, TRANSFER, {"off": 0, "name": "nothing"}, (NOT_FOUND, 5, "there is no file 'nothing' in the store")),
    (READ, TRANSFER, {"off": 0, "name": "scripts"}, (IS_DIRECTORY, 5, "there is no file 'scripts' in the store")),
    (READ, TRANSFER, {"off": 99, "name": "kernel"}, (BEYOND, 3, "kernel has 36 bytes, off is 99")),
    (READ, TRANSFER, {"off": 0, "name": ""}, (INVALID_NAME, 3, "a file needs a name")),
    (READ, TRANSFER, {"off": 0, "name": "x" * 300}, (INVALID_NAME, 3, None)),
    (READ, TRANSFER, {"off": 0, "name": "x\0y"}, (INVALID_NAME, 3, None)),
    (READ, TRANSFER, {"off": -1, "name": "kernel"}, (None, 3, "off takes a whole number, not negative integer")),
    (READ, TRANSFER, {"off": "0", "name": "kernel"}, (None, 3, "off takes a whole number, not text")),
    (READ, TRANSFER, {"name": "kernel"}, (None, 3, "transfer needs the argument off")),
    (READ, STATUS, {}, (None, 3, "status needs the argument name")),
    (READ, STATUS, {"name": "nothing"}, (NOT_FOUND, 5, "there is no file 'nothing' in the store")),
    (READ, HASH, {"name": "kernel", "type": "md5"}, (NO_HASH, 3, "type is sha256 or crc32")),
    (READ, HASH, {"name": "kernel", "type": ""}, (NO_HASH, 3, "type is sha256 or crc32")),
    (READ, HASH, {"name": "kernel", "off": 37}, (BEYOND, 3, "kernel has 36 bytes, off is 37")),
    (READ, HASH, {"name": "nothing"}, (NOT_FOUND, 5, "there is no file 'nothing' in the store")),
    (READ, CLOSE, {}, (None, 8, None)),
    (WRITE, TRANSFER, {"off": 0, "name": "a b", "data": b"", "len": 0}, (INVALID_NAME, 3, None)),
    (WRITE, TRANSFER, {"off": 0, "name": "../x", "data": b"", "len": 0}, (INVALID_NAME, 3, None)),
    (WRITE, TRANSFER, {"off": 0, "name": "x/", "data": b"", "len": 0}, (INVALID_NAME, 3, None)),
    (WRITE, TRANSFER, {"off": 0, "name": "x" * 200, "data": b"", "len": 0}, (INVALID_NAME, 3, None)),
    (WRITE, TRANSFER, {"off": 0, "name": "system/keys", "data": b"", "len": 0},
     (None, 11, "system/keys is the control plane's own")),
    (READ, TRANSFER, {"off": 0, "name": "/system/keys"}, (None, 11, "/system/keys is the control plane's own")),
    (WRITE, TRANSFER, {"off": 0, "name": "image/0", "data": b"", "len": 0},
     (None, 11, "image/0 is an image slot: images are written and erased through group 1")),
])
def test_refusals(host, op, command, payload, want):
    machine = host()
    rc, common, text = sentence(machine, op, command, payload)
    assert (rc, common) == want[:2] and want[2] in (None, text), text


def test_a_long_hash_blocks_nobody(host):
    machine = host()
    data = noise(3_000_000)
    upload(machine, "x", data, size=8000)
    machine.smp.send(smp.frame(smp.message(READ, FILE, HASH, {"name": "x"}, 200)) +
                     smp.frame(smp.message(READ, 0, 0, {"d": "first"}, 201)))
    first, second = machine.smp.next_frame(5), machine.smp.next_frame(30)
    assert first.map() == {"r": "first"}
    assert (second.sequence, second.map()["output"]) == (200, hashlib.sha256(data).digest())
    # a second hash takes the place of one that is still being computed
    machine.smp.send(smp.frame(smp.message(READ, FILE, HASH, {"name": "x"}, 202)) +
                     smp.frame(smp.message(READ, FILE, HASH, {"name": "x", "type": "crc32"}, 203)))
    with pytest.raises(smp.SmpError) as error:
        machine.smp.next_frame(30).map()
    assert error.value.rc == smp.BUSY
    assert machine.smp.next_frame(30).map()["output"] == zlib.crc32(data)


def test_a_file_that_goes_while_it_is_hashed(host):
    machine = host()
    upload(machine, "x", noise(3_000_000), size=8000)
    machine.smp.send(smp.frame(smp.message(READ, FILE, HASH, {"name": "x"}, 200)) +
                     smp.frame(smp.message(WRITE, STORE, REMOVE, {"name": "x"}, 201)))
    assert machine.smp.next_frame(5).map() == {}
    with pytest.raises(smp.SmpError) as error:
        machine.smp.next_frame(5).map()
    assert (error.value.rc, error.value.group) == (READ_FAILED, FILE)


def test_frames_cut_at_every_byte(host):
    """Each piece of a chunk's frame, then a whole request: one answer each time, and nothing was written."""
    machine = host()
    frame = smp.frame(smp.message(WRITE, FILE, TRANSFER, {"off": 0, "name": "x", "data": noise(120), "len": 120}, 7))
    for cut in range(1, len(frame)):
        machine.smp.send(frame[:cut])
        assert machine.smp.echo("after") == "after", cut
    assert names(machine, prefix="x") == []
    began = time.monotonic()
    machine.smp.send(frame)
    assert machine.smp.next_frame(5).map() == {"off": 120} and time.monotonic() - began < 5

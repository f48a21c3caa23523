# SPDX-License-Identifier: Apache-2.0
"""The image group over the wire: slots, uploads of real ELF files and of everything that is none."""
import hashlib
import json
import random
import struct

import pytest
import smp
from smp import WRITE
from stamp import note, stamp, stamp_offset

IMAGE = 1
STATE, UPLOAD, ERASE, SLOTS = 0, 1, 5, 6
NO_IMAGE, HASH_NOT_FOUND, NO_FREE_SLOT, WRITE_FAILED, INVALID_SLOT, INVALID_LENGTH, TOO_SMALL, NOT_OURS, INVALID_HASH, \
    NOT_NEWER, TOO_LARGE, OVERRUN, ACTIVE = 3, 8, 9, 12, 14, 21, 22, 23, 24, 27, 30, 31, 33
RUNNING = {"slot": 0, "version": "0.0-test", "hash": b"the hash of the image that runs.", "bootable": True,
           "pending": False, "confirmed": True, "active": True, "permanent": False}


def image(version=b"0.2.0", size=20_000, notes=None, machine=62, elf_class=2, phoff=64, phnum=2, phentsize=56,
          note_at=4096, note_size=None, stamped=True):
    """An ELF64 executable with one loaded segment and a segment of notes."""
    if notes is None:
        notes = note(b"Xen\0", 18, struct.pack("<Q", 0x20004E)) + \
            note(b"Corbel\0", 1, version.ljust(32, b"\0") + bytes(32))
    note_size = len(notes) if note_size is None else note_size
    header = b"\x7fELF" + bytes([elf_class, 1, 1]) + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0x200030, phoff, 0, 0, 64, phentsize, phnum, 0, 0, 0)
    header += struct.pack("<IIQQQQQQ", 1, 5, 0, 0x200000, 0x200000, size, size, 4096)
    header += struct.pack("<IIQQQQQQ", 4, 4, note_at, 0x200000, 0x200000, note_size, note_size, 4)
    data = bytearray(random.Random(1).randbytes(size))
    data[: len(header)] = header
    data[note_at : note_at + len(notes)] = notes
    data = bytes(data[:size])
    return stamp(data) if stamped else data


def stamp_of(data):
    at = stamp_offset(data)
    return data[at : at + 32]


def send(machine, data, size=5000, start=0, **first):
    off, reply = start, {}
    while off < len(data):
        more = {"len": len(data), **first} if off == 0 else {}
        reply = machine.smp.write_request(IMAGE, UPLOAD, {"off": off, "data": data[off : off + size], **more})
        assert reply["off"] == min(off + size, len(data))
        off = reply["off"]
    return reply


def state(machine):
    return machine.smp.read_request(IMAGE, STATE)["images"]


def slot1(data, version="0.2.0", **more):
    return {"slot": 1, "version": version, "hash": stamp_of(data), "bootable": True, "pending": False,
            "confirmed": False, "active": False, "permanent": False, **more}


def refused(machine, command, payload, op=WRITE):
    with pytest.raises(smp.SmpError) as error:
        machine.smp.exchange(op, IMAGE, command, payload).map()
    with pytest.raises(smp.SmpError) as old:
        machine.smp.exchange(op, IMAGE, command, payload, version=smp.V1).map()
    assert old.value.group is None and old.value.text
    return (error.value.rc if error.value.group == IMAGE else None), old.value.text


def send_refused(machine, data, **first):
    """Sends until it is refused: the code, and where."""
    off = 0
    while off < len(data):
        more = {"len": len(data), **first} if off == 0 else {}
        payload = {"off": off, "data": data[off : off + 5000], **more}
        try:
            off = machine.smp.write_request(IMAGE, UPLOAD, payload)["off"]
        except smp.SmpError as error:
            return error.rc, off
    return None, off


@pytest.mark.parametrize("size", [8192, 8193, 20_000, 300_000])
def test_upload(host, size):
    machine = host()
    data = image(size=size)
    assert state(machine) == [RUNNING]
    assert send(machine, data, sha=hashlib.sha256(data).digest()) == {"off": size, "match": True}
    assert state(machine) == [RUNNING, slot1(data)]
    assert stamp_of(data) == hashlib.sha256(data.replace(stamp_of(data), bytes(32))).digest()
    assert machine.smp.read_request(8, 2, {"name": "image/1"})["output"] == hashlib.sha256(data).digest()
    newer = image(b"0.3.1", size)
    assert send(machine, newer) == {"off": size}  # without sha there is nothing to match
    assert state(machine) == [RUNNING, slot1(newer, "0.3.1")]


def test_test_confirm_and_erase(host, tmp_path):
    disk = ("--disk", str(tmp_path / "disk"))
    machine = host(options=disk)
    data = image()
    send(machine, data)
    hash_ = stamp_of(data)
    tried = slot1(data, pending=True)
    assert machine.smp.write_request(IMAGE, STATE, {"hash": hash_, "confirm": False}) == {"images": [RUNNING, tried]}
    assert refused(machine, UPLOAD, {"off": 0, "data": data[:100], "len": len(data)}) == \
        (NO_FREE_SLOT, "the image in slot 1 is to be booted next: erase it first")
    machine.close()
    machine = host(options=disk)  # what was planned outlives a restart, and the hash is read from the content again
    assert state(machine) == [RUNNING, tried]
    kept = slot1(data, pending=True, permanent=True)
    assert machine.smp.write_request(IMAGE, STATE, {"hash": hash_, "confirm": True})["images"][1] == kept
    assert machine.smp.write_request(IMAGE, STATE, {"confirm": True})["images"] == [RUNNING, kept]
    assert machine.smp.write_request(IMAGE, STATE, {"hash": RUNNING["hash"], "confirm": True})["images"][0] == RUNNING
    assert machine.smp.write_request(IMAGE, ERASE) == {}
    assert state(machine) == [RUNNING]
    assert machine.smp.write_request(IMAGE, ERASE, {"slot": 1}) == {}
    send(machine, data)
    assert state(machine)[1]["pending"] is False


def test_refused_states(host):
    machine = host()
    data = image()
    send(machine, data)
    for payload, code in (({}, INVALID_HASH), ({"confirm": False}, INVALID_HASH), ({"hash": b"x" * 31}, INVALID_HASH),
                          ({"hash": bytes(32)}, HASH_NOT_FOUND), ({"hash": bytes(32), "confirm": True}, HASH_NOT_FOUND),
                          ({"hash": RUNNING["hash"]}, ACTIVE), ({"hash": 5}, None), ({"confirm": 1}, None)):
        assert refused(machine, STATE, payload)[0] == code, payload
    assert state(machine) == [RUNNING, slot1(data)]
    assert refused(machine, ERASE, {"slot": 0}) == (INVALID_SLOT, "slot 0 is the image that runs")
    assert refused(machine, ERASE, {"slot": 2}) == (INVALID_SLOT, "there is no slot 2")
    assert state(machine) == [RUNNING, slot1(data)]


def test_resume(host):
    machine = host()
    data = image(size=50_000)
    sha = hashlib.sha256(data).digest()
    first = {"off": 0, "data": data[:5000], "len": len(data), "sha": sha}
    assert machine.smp.write_request(IMAGE, UPLOAD, first) == {"off": 5000}
    assert machine.smp.write_request(IMAGE, UPLOAD, {"off": 5000, "data": data[5000:10_000]}) == {"off": 10_000}
    machine.disconnect()
    # the same image from the start: it goes on where it was; a chunk for another place says where that is
    assert machine.smp.write_request(IMAGE, UPLOAD, first) == {"off": 10_000}
    for wrong in (5000, 9_999, 10_001, 49_999):
        assert machine.smp.write_request(IMAGE, UPLOAD, {"off": wrong, "data": b"x"}) == {"off": 10_000}
    assert send(machine, data, start=10_000) == {"off": 50_000, "match": True}
    # the answer to the last chunk was lost
    assert machine.smp.write_request(IMAGE, UPLOAD, {"off": 45_000, "data": data[45_000:]}) == {"off": 50_000}
    assert state(machine)[1] == slot1(data)
    # without an upload it is to begin
    assert machine.smp.write_request(IMAGE, UPLOAD, {"off": 7, "data": b"x"}) == {"off": 0}
    # another image from the start takes its place
    other = image(b"0.9.0", size=30_000)
    machine.smp.write_request(IMAGE, UPLOAD, first)
    send(machine, other, sha=hashlib.sha256(other).digest())
    assert state(machine)[1] == slot1(other, "0.9.0")


def corrupt(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


NO_NOTE = note(b"Xen\0", 18, bytes(8))


@pytest.mark.parametrize("name,data,code", [
    ("empty", b"\x7fELF", TOO_SMALL),
    ("no ELF", b"MZ" + bytes(10_000), NOT_OURS),
    ("32 bits", image(elf_class=1, stamped=False), NOT_OURS),
    ("ARM", image(machine=183, stamped=False), NOT_OURS),
    ("headers far away", image(phoff=10_000, stamped=False), NOT_OURS),
    ("headers at the end of the address space", image(phoff=2 ** 64 - 8, stamped=False), NOT_OURS),
    ("many headers", image(phnum=0xFFFE, stamped=False), NOT_OURS),
    ("no headers", image(phnum=0, stamped=False), NOT_OURS),
    ("headers of another size", image(phentsize=32, stamped=False), NOT_OURS),
    ("notes far away", image(note_at=9000), NOT_OURS),
    ("notes past the end", image(note_size=2 ** 63, stamped=False), NOT_OURS),
    ("cut off", image()[:15_000], NOT_OURS),
    ("a Linux kernel, say", image(notes=NO_NOTE, stamped=False), NOT_OURS),
    ("no PVH note", image(notes=note(b"Corbel\0", 1, b"0.2.0".ljust(64, b"\0"))), NOT_OURS),
    ("a note of another length", image(notes=NO_NOTE + note(b"Corbel\0", 1, bytes(63)), stamped=False), NOT_OURS),
    ("no version", image(b""), NOT_OURS),
    ("an escape sequence for a version", image(b"\x1b[2J"), NOT_OURS),
    ("an endless version", image(b"1" * 32), NOT_OURS),
    ("not stamped", image(stamped=False), INVALID_HASH),
    ("a byte is wrong at the end", corrupt(image(), 19_999), INVALID_HASH),
    ("a byte is wrong in the head", corrupt(image(), 3000), INVALID_HASH),
    ("a byte of the stamp is wrong", corrupt(image(), stamp_offset(image())), INVALID_HASH),
])
def test_what_is_no_image(host, name, data, code):
    machine = host()
    good = image(b"0.1.5")
    send(machine, good)
    assert send_refused(machine, data)[0] == code
    assert state(machine) == [RUNNING, slot1(good, "0.1.5")], "the old content is whole"
    assert machine.smp.write_request(IMAGE, UPLOAD, {"off": 5000, "data": b"x"}) == {"off": 0}


def test_refused_early(host):
    """As soon as the head is there, not at the end of a long upload."""
    machine = host()
    assert send_refused(machine, bytes(1_000_000))[1] <= 5000
    assert send_refused(machine, image(b"0.0.0", size=1_000_000), upgrade=True) == (NOT_NEWER, 5000)


def test_refused_chunks(host):
    machine = host()
    data = image()
    for payload, code in (({"data": b"x", "len": 20_000}, None), ({"off": 0, "len": 20_000}, None),
                          ({"off": 0, "data": data[:100]}, INVALID_LENGTH),
                          ({"off": 0, "data": data[:100], "len": 65 << 20}, TOO_LARGE),
                          ({"off": 0, "data": data[:100], "len": 60 << 20}, TOO_LARGE),
                          ({"off": 0, "data": data[:101], "len": 100}, OVERRUN),
                          ({"off": 0, "data": data[:100], "len": 20_000, "sha": b"x"}, INVALID_HASH),
                          ({"off": 0, "data": data[:100], "len": 20_000, "image": 1}, INVALID_SLOT),
                          ({"off": 0, "data": data[:100], "len": 20_000, "upgrade": 1}, None),
                          ({"off": 0, "data": data[:100], "len": -1}, None)):
        assert refused(machine, UPLOAD, payload)[0] == code, payload
    assert state(machine) == [RUNNING]
    machine.smp.write_request(IMAGE, UPLOAD, {"off": 0, "data": data[:5000], "len": 20_000})
    assert refused(machine, UPLOAD, {"off": 5000, "data": data[5000:10_000], "len": 20_001})[0] == INVALID_LENGTH
    machine.smp.write_request(IMAGE, UPLOAD, {"off": 0, "data": data[:5000], "len": 5001 + 5000})
    assert refused(machine, UPLOAD, {"off": 5000, "data": bytes(5002)})[0] == OVERRUN
    wrong = hashlib.sha256(b"other").digest()
    assert send_refused(machine, data, sha=wrong)[0] == INVALID_HASH
    assert state(machine) == [RUNNING]


def sizes(machine):
    (info,) = machine.smp.read_request(IMAGE, SLOTS)["images"]
    return info


def test_slot_info(host):
    machine = host()
    store = machine.smp.read_request(77, 1)
    most = sizes(machine)["max_image_size"]
    assert sizes(machine) == {"image": 0, "max_image_size": most, "slots": [
        {"slot": 0, "size": 1 << 20}, {"slot": 1, "size": store["size"], "upload_image_id": 0}]}
    assert 5 << 20 < most < store["size"]
    # the figure is exact
    first = {"off": 0, "data": image()[:5000]}
    assert refused(machine, UPLOAD, dict(first, len=most + 1))[0] == TOO_LARGE
    assert machine.smp.write_request(IMAGE, UPLOAD, dict(first, len=most)) == {"off": 5000}
    # and less by what is in the slot
    send(machine, image(size=200_000))
    assert 6 * 32256 <= most - sizes(machine)["max_image_size"] <= 7 * 32256
    assert json.loads(machine.ctl("--json", "image", "list"))["max_image_size"] == sizes(machine)["max_image_size"]
    assert "room in slot 1 for an image of 5." in machine.ctl("image", "list")


def test_slot_info_without_a_store(host):
    assert sizes(host(options=("--disk", "none"))) == {
        "image": 0, "slots": [{"slot": 0, "size": 1 << 20}, {"slot": 1, "size": 0}], "max_image_size": 0}


def test_no_store(host):
    machine = host(options=("--disk", "none"))
    assert state(machine) == [RUNNING]
    assert send_refused(machine, image()) == (WRITE_FAILED, 0)
    assert machine.smp.write_request(IMAGE, ERASE) == {}

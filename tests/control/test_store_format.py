# SPDX-License-Identifier: Apache-2.0
"""Making the writable store anew over the wire: one that cannot be opened, and one that works and is given up."""
import json

import pytest
import smp
from signer import ENROLL, SESSION, TRUST, WHOAMI, Key, enroll, login
from test_images import image
from test_store import INFO, evaluate, good, listed

FORMAT = 3
STORE, AUDIT, EVENTS = 77, (64, 8), (71, 0)
SCRIPT = 'log("from the seed")'


@pytest.fixture
def disk(tmp_path):
    return tmp_path / "disk.img"


@pytest.fixture
def start(host, disk):
    def start(args="", **more):
        return host(script=SCRIPT, args=args, options=["--disk", str(disk)], **more)
    return start


def corrupt(disk):
    """Neither superblock is good: what is behind them cannot be found any more."""
    data = bytearray(disk.read_bytes())
    for at in (16, 4096 + 16):
        data[at] ^= 1
    disk.write_bytes(data)


def refused(client, **more):
    with pytest.raises(smp.SmpError) as error:
        client.write_request(STORE, FORMAT, more)
    return error.value.rc, error.value.text


def store_events(client):
    events = client.read_request(*EVENTS, {"from": 0, "kinds": "store", "max": 50, "wait": 0})["events"]
    return [e["text"] for e in events]


def owned(client):
    """An owner's key is enrolled, and the line needs a login from now on."""
    alice = Key()
    enroll(client, "alice", "owner", alice)
    login(client, alice)
    client.write_request(SESSION, TRUST, {"on": False})
    return alice


def written(machine, count):
    """Waits until the new store has @count names: those that the machine writes itself, and behind the reply."""
    machine.smp.wait_until(lambda: machine.smp.read_request(STORE, INFO)["keys"] == count, 5)


def test_a_corrupt_store_is_made_anew(start, disk):
    machine = start()
    good(machine.smp, 'store.put("note", "old")')
    machine.close()
    corrupt(disk)
    machine = start(args="trust=line")
    machine.wait_for(b"from the seed")
    why = "file: neither superblock, sectors 0 and 8, is good"
    assert store_events(machine.smp) == ["nothing can be written: " + why]
    assert machine.smp.read_request(STORE, INFO) == {"writable": False, "why": why}
    assert evaluate(machine.smp, 'store.put("x", "y")')[1] == 1
    assert refused(machine.smp, confirm="0" * 16) == \
        (smp.BAD_STATE, "no store is open that confirm could be about: leave it out")
    made = machine.smp.write_request(STORE, FORMAT)["id"]
    info = machine.smp.read_request(STORE, INFO)
    assert (info["writable"], info["id"], info["damaged"], info["bad_superblocks"]) == (True, made, 0, 0)
    assert store_events(machine.smp)[1:] == ["formatted: its id is " + made]
    (entry,) = [e for e in machine.smp.read_request(*AUDIT, {})["entries"] if "format" in e["what"]]
    assert "failed" not in entry and entry["who"] == "line", "the refused attempt is no change, and no denial"
    assert "note" not in listed(machine.smp)
    written(machine, 1)
    good(machine.smp, 'store.put("note", "new")')
    assert machine.smp.read_request(74, 1) == {"checked": True}
    machine.close()
    # the next start opens it, with what was done, and needs no argument
    machine = start()
    assert good(machine.smp, 'store.get("note")') == "new"
    assert machine.smp.read_request(STORE, INFO)["id"] == made and store_events(machine.smp) == []
    assert [e for e in machine.smp.read_request(*AUDIT, {})["entries"] if "format" in e["what"]] == [entry]


def test_a_corrupt_store_with_keys_takes_the_boot_argument(start, disk):
    machine = start()
    owned(machine.smp)
    machine.close()
    corrupt(disk)
    machine = start()
    assert refused(machine.smp)[0] == smp.DENIED
    machine.close()
    machine = start(args="trust=line")
    machine.smp.write_request(STORE, FORMAT)
    assert "cannot be read" not in machine.smp.read_request(SESSION, WHOAMI)["trust"]
    assert machine.smp.read_request(SESSION, WHOAMI)["role"] == "owner"
    bob = owned(machine.smp)
    machine.close()
    machine = start()
    assert refused(machine.smp)[0] == smp.DENIED
    assert login(machine.smp, bob)["role"] == "owner"


def test_keys_enrolled_without_a_store_go_into_the_new_one(start, disk):
    start().close()
    corrupt(disk)
    machine = start(args="trust=line")
    alice = owned(machine.smp)
    machine.smp.write_request(STORE, FORMAT)
    machine.close()
    machine = start()
    assert refused(machine.smp)[0] == smp.DENIED
    assert login(machine.smp, alice)["role"] == "owner"


def test_a_store_that_works_takes_its_id(start):
    machine = start()
    alice = owned(machine.smp)
    carol = Key()
    machine.smp.write_request(SESSION, ENROLL, {"name": "carol", "role": "operator", "key": carol.cose})
    good(machine.smp, 'store.put("note", "old")')
    machine.smp.write_request(8, 0, {"off": 0, "name": "half", "len": 100_000, "data": b"x" * 5000})
    machine.smp.write_request(1, 1, {"off": 0, "data": image()[:5000], "len": 20_000})
    old = machine.smp.read_request(STORE, INFO)["id"]
    assert refused(machine.smp) == \
        (smp.BAD_STATE, "the store can be read, and all in it would be deleted: confirm takes its id, " + old)
    for wrong in ("", "yes", old[:-1], old + "0", old.upper() + " "):
        assert refused(machine.smp, confirm=wrong) == (smp.BAD_VALUE, "confirm is not the store's id, which is " + old)
    assert "note" in listed(machine.smp) and machine.smp.read_request(STORE, INFO)["streams"] == 2
    # an operator may not, with or without it
    login(machine.smp, carol)
    assert refused(machine.smp, confirm=old)[0] == smp.DENIED
    login(machine.smp, alice)
    made = machine.smp.write_request(STORE, FORMAT, {"confirm": old})["id"]
    info = machine.smp.read_request(STORE, INFO)
    assert made != old and info["id"] == made and info["streams"] == 0 and "upload" not in info
    assert not any(name for name, (_, seed) in listed(machine.smp).items() if not seed)
    # what was under way is not gone on with
    with pytest.raises(smp.SmpError):
        machine.smp.write_request(8, 0, {"off": 5000, "name": "half", "data": b"x" * 5000})
    assert machine.smp.write_request(1, 1, {"off": 5000, "data": image()[5000:10_000]}) == {"off": 0}
    written(machine, 2)
    machine.close()
    # and the machine is still whose it was
    machine = start()
    assert refused(machine.smp, confirm=made)[0] == smp.DENIED
    assert login(machine.smp, alice)["name"] == "alice" and listed(machine.smp).get("note") is None
    assert len(machine.smp.read_request(*AUDIT, {})["entries"]) > 5, "what led to it"


def test_nowhere_to_make_one(host):
    machine = host(options=["--disk", "none"])
    assert refused(machine.smp) == (smp.NO_ENTRY, "there is nothing to format: this machine has no disk")


def test_from_the_command_line(start, disk):
    machine = start()
    info = json.loads(machine.ctl("--json", "store", "info"))
    done = machine.ctl_run("store", "format")
    assert done.returncode == 1 and info["id"] in done.stderr
    assert machine.ctl("store", "format", info["id"]).startswith("id:")
    assert "writable:     true" in machine.ctl("store", "info") and info["id"] not in machine.ctl("store", "info")
    machine.close()
    corrupt(disk)
    machine = start(args="trust=line")
    assert "neither superblock" in machine.ctl("store", "info")
    assert set(json.loads(machine.ctl("--json", "store", "format"))) == {"id"}

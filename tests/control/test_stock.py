# SPDX-License-Identifier: Apache-2.0
"""What a stock SMP client does, done by one that is as strict as the known ones (stock.py)."""
import hashlib
import zlib

import pytest
from conftest import vm
from smp import READ, WRITE
from stock import Refused, Stock, Violation
from test_files import noise
from test_images import image, stamp_of


@pytest.fixture
def client(host):
    machine = host(vm("a", "echo", more="autostart = true"))
    return Stock(machine.connect()).connect()


def test_connect_echo_and_info(client):
    assert client.size == 8188
    assert client.request(WRITE, 0, 0, d="hello")["r"] == "hello"
    assert client.request(READ, 0, 0, d="x" * 5000)["r"] == "x" * 5000
    assert client.request(READ, 0, 7, format="a")["output"].startswith("Corbel ")
    assert client.request(READ, 0, 7)["output"] == "Corbel"


def test_enumeration(client):
    groups = client.request(READ, 10, 1)["groups"]
    assert client.request(READ, 10, 0)["count"] == len(groups) and {0, 1, 2, 3, 8, 9, 10} <= set(groups)
    for index, group in enumerate(groups):
        entry = client.request(READ, 10, 2, index=index)
        assert entry["group"] == group and entry.get("end", False) == (index == len(groups) - 1)
    assert [d["group"] for d in client.request(READ, 10, 3)["groups"]] == groups


def test_statistics(client):
    names = client.request(READ, 2, 1)["stat_list"]
    assert "vm.a" in names
    for name in names:
        assert client.request(READ, 2, 0, name=name)["fields"]
    with pytest.raises(Refused) as refused:
        client.request(READ, 2, 0, name="nothing")
    assert (refused.value.group, refused.value.rc) == (2, 2)


def test_settings(client):
    before = client.request(READ, 3, 0, name="log.level")["val"]
    assert client.request(WRITE, 3, 0, name="log.level", val=b"debug") == {}
    assert client.request(WRITE, 3, 2) == {}
    assert client.request(READ, 3, 0, name="log.level")["val"] == b"debug"
    assert client.request(WRITE, 3, 1, name="log.level") == {}
    assert client.request(READ, 3, 0, name="log.level")["val"] == before
    with pytest.raises(Refused):
        client.request(READ, 3, 0, name="nothing")


@pytest.mark.parametrize("size", [0, 1, 8000, 50_000])
def test_files(client, size):
    data = noise(size)
    client.upload("/scripts/x.bin", data)
    assert client.download("/scripts/x.bin") == data
    assert client.request(READ, 8, 1, name="/scripts/x.bin")["len"] == size
    types = client.request(READ, 8, 3)["types"]
    assert types == {"crc32": {"format": 0, "size": 4}, "sha256": {"format": 1, "size": 32}}
    assert client.request(READ, 8, 2, name="/scripts/x.bin", type="sha256")["output"] == hashlib.sha256(data).digest()
    assert client.request(READ, 8, 2, name="/scripts/x.bin", type="crc32")["output"] == zlib.crc32(data)
    assert client.request(WRITE, 8, 4) == {}
    with pytest.raises(Refused) as refused:
        client.download("/nothing")
    assert (refused.value.group, refused.value.rc) == (8, 3)


def test_shell(client):
    assert client.request(WRITE, 9, 0, argv=["1", "+", "1"]) == {"o": "2\n", "ret": 0}
    assert client.request(WRITE, 9, 0, argv=["vm_list()"])["ret"] == 0
    assert client.request(WRITE, 9, 0, argv=["error", "'no'"])["ret"] == 1


def test_images(client):
    data = image(size=30_000)
    (info,) = client.request(READ, 1, 6)["images"]
    assert info["image"] == 0 and info["slots"][1]["upload_image_id"] == 0 and info["max_image_size"] >= len(data)
    assert client.upload_image(data)["match"] is True
    hashes = [s["hash"] for s in client.request(READ, 1, 0)["images"]]
    assert hashes[1] == stamp_of(data)
    assert client.request(WRITE, 1, 0, hash=hashes[1])["images"][1]["pending"]
    assert client.request(WRITE, 1, 0, hash=hashes[1], confirm=True)["images"][1]["permanent"]
    assert client.request(WRITE, 1, 0, confirm=True)["images"][0]["confirmed"]
    assert client.request(WRITE, 1, 5, slot=1) == {}
    for payload in ({"hash": b"x" * 32}, {"hash": b"x"}, {}):
        with pytest.raises(Refused) as refused:
            client.request(WRITE, 1, 0, **payload)
        assert refused.value.group == 1
    assert client.request(WRITE, 0, 5) == {}


def test_pushed_lines_and_late_replies_do_not_disturb(host):
    """Another tool has attached everything on this line; a stock client takes the pushed lines for text."""
    machine = host(vm("a", "flood echo", more="autostart = true"))
    client = Stock(machine.connect()).connect()
    client.client.exchange(WRITE, 72, 2, {"name": "a", "from": 0})
    client.client.exchange(WRITE, 71, 1, {"from": 0})
    for n in range(20):
        assert client.request(WRITE, 0, 0, d=str(n))["r"] == str(n)
    client.upload("x", noise(20_000))
    assert client.download("x") == noise(20_000)
    assert client.client.deframer.other, "something was pushed"


def test_the_client_is_strict(client):
    from stock import REPLIES, complaint
    assert complaint(REPLIES[0, 0, READ], {"r": "x"}) is None
    for spec, reply in ((REPLIES[0, 0, READ], {"r": "x", "rc": 0}), (REPLIES[0, 0, READ], {}),
                        (REPLIES[0, 6, READ], {"buf_size": True, "buf_count": 1}),
                        (REPLIES[1, 0, READ], {"images": [{"slot": 0}]}),
                        (REPLIES[1, 0, READ], {"images": [{"slot": 0, "version": "1", "stamp": b""}]}),
                        (REPLIES[8, 2, READ], {"type": "md5", "len": 0, "output": 0})):
        assert complaint(spec, reply)
    for answer in ({"err": {"group": 8, "rc": 3}, "rsn": "x"}, {"err": {"group": 8, "rc": 99}}, {"err": {"group": 9, "rc": 3}},
                   {"rc": 0}, {"rc": 99}, {"rc": 3, "why": "x"}):
        with pytest.raises(Violation):
            client.failure(8, answer)

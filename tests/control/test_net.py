# SPDX-License-Identifier: Apache-2.0
"""Networks and VMs' interfaces: by Lua and over the wire, in the tree of settings, as a part of generations, by corbelctl."""
import json

import pytest
import smp
from conftest import vm
from signer import Key, enroll, login
from test_cpu_numbers import change, value
from test_disks import config, define_error, refused
from test_generations import NOTHING, apply, plan

GROUP = 69
LIST, SHOW, PORTS, ADDRESSES, NICS, DEFINE, SET, REMOVE, CAPTURE, RECORDS, END = range(11)
WHY = 4
MBIT = 125000
LAN = 'network "lan" {}\n'


def networks(machine):
    return {n["name"]: n for n in machine.smp.read_request(GROUP, LIST)["networks"]}


def show(machine, name):
    return machine.smp.read_request(GROUP, SHOW, {"name": name})


def ports(machine, name):
    return {p["name"]: p for p in machine.smp.read_request(GROUP, PORTS, {"name": name})["ports"]}


def write(machine, command, **arguments):
    return machine.smp.write_request(GROUP, command, arguments)


def error(machine, command, **arguments):
    return refused(machine.smp.write_request, GROUP, command, arguments)


def nic(text='network = "lan"', name="a", more=""):
    return vm(name, "echo", more="net = { lan0 = virtio { %s } }, %s" % (text, more))


# ---- networks ----


def test_a_network(host):
    machine = host()
    assert networks(machine) == {}
    assert write(machine, DEFINE, name="lan") == {"name": "lan"}
    assert networks(machine)["lan"] == {"name": "lan", "mtu": 1500, "ports": 0}
    assert show(machine, "lan")["config"] == {"mtu": 1500, "patience": 20_000_000, "age": 300_000_000_000}
    assert ports(machine, "lan") == {}
    # again, with other settings: it is changed; with the same nothing happens
    write(machine, DEFINE, name="lan", config={"mtu": 9000, "patience": 5_000_000}, origin="x")
    assert show(machine, "lan").items() >= {"origin": "x", "mtu": 9000}.items()
    before = [e["kind"] for e in machine.smp.read_request(71, 0, {"from": 0, "kinds": ["network"]})["events"]]
    assert before == ["network.defined", "network.changed"]
    write(machine, DEFINE, name="lan", config={"mtu": 9000, "patience": 5_000_000})
    write(machine, REMOVE, name="lan")
    kinds = [e["kind"] for e in machine.smp.read_request(71, 0, {"from": 0, "kinds": ["network"]})["events"]]
    assert kinds == before + ["network.removed"]
    assert networks(machine) == {}
    assert error(machine, REMOVE, name="lan") == (smp.NO_ENTRY, "there is no network called lan")


@pytest.mark.parametrize("given, want", [
    ({"uplnk": "nic0"}, "unknown setting uplnk; did you mean uplink?"),
    ({"mtu": 5}, "mtu is 5, it can be 68 to 9216"),
    ({"mtu": "x"}, "mtu takes a whole number, not text"),
    ({"patience": 2 * 10 ** 9}, "patience is 2 s, it can be 0 ns to 1 s"),
    ({"age": 1}, "age is 1 ns, it can be 1 s to 1 h"),
    ({"uplink": {"rate": 5}}, "uplink.nic is missing"),
    ({"uplink": {"nic": "nic0", "vlan": 4095}}, "uplink.vlan is 4095, it can be 1 to 4094"),
    ({"uplink": {"nic": "nic0", "depth": 1}}, "uplink.depth is 1 B, it can be 1600 B to 1 MiB"),
    ({"uplink": {"nic": "nic0", "rate": "fast"}}, "uplink.rate takes a number of bytes a second, not text"),
    ({"uplink": "nic7"}, "uplink: this machine has no interface called nic7"),
    ("mtu", "its settings are text, not a table"),
])
def test_what_is_wrong_is_named(host, given, want):
    machine = host()
    code, text = error(machine, DEFINE, name="lan", config=given, origin="t:1")
    assert (code in (smp.BAD_VALUE, smp.NO_ENTRY), text) == (True, "network lan (t:1): " + want)
    assert networks(machine) == {}


def test_names(host):
    machine = host(script=LAN)
    assert "name has a character outside" in error(machine, DEFINE, name="a b")[1]
    assert "31 are possible" in error(machine, DEFINE, name="x" * 32)[1]
    for command in (SHOW, PORTS, ADDRESSES):
        assert refused(machine.smp.read_request, GROUP, command, {"name": "lna"}) == (
            smp.NO_ENTRY, "there is no network called lna; did you mean lan?")
    assert error(machine, SET, name="lna", config={})[1] == "there is no network called lna; did you mean lan?"


def test_the_machines_interfaces(host):
    machine = host(script='network "wan" { uplink = "nic1", mtu = 1400 }')
    nics = machine.smp.read_request(GROUP, NICS)["nics"]
    assert [(n["name"], n["up"], n["mbps"], n.get("network")) for n in nics] == [
        ("nic0", True, 1000, None), ("nic1", True, 1000, "wan")]
    assert nics[0]["mac"] == "52:54:00:00:ee:30" and nics[0]["what"] == "an interface of a test"
    assert networks(machine)["wan"] == {"name": "wan", "uplink": "nic1", "up": True, "mtu": 1400, "ports": 1}
    uplink = ports(machine, "wan")["uplink"]
    assert uplink["up"] and uplink["wire"]["held"] == 0 and "mac" not in uplink
    assert error(machine, DEFINE, name="other", config={"uplink": "nic1"})[1] == (
        "network other: uplink: nic1 is that of network wan")
    assert value(machine, "nic.nic1.link") == 1000 * MBIT and value(machine, "nic.nic1.rx.frames") == 0
    assert refused(machine.smp.read_request, 76, 1, {"path": "nic.nic2.up"})[1].startswith(
        "nic.nic2.up: there is no network interface called nic2; did you mean nic.nic")


def test_settings(host):
    machine = host(script='network "wan" { uplink = { nic = "nic0", rate = Mbps(50) }, patience = ms(30) }')
    assert value(machine, "network.wan.uplink.rate") == 50 * MBIT
    assert machine.ctl("get", "network.wan.uplink.rate") == "50 Mbit/s\n"
    chain = machine.smp.read_request(76, WHY, {"path": "network.wan.patience"})["chain"]
    assert [(link["origin"], link["value"]) for link in chain] == [("script", 30_000_000), ("default", 20_000_000)]
    assert chain[0]["where"] == "boot.lua:1"
    reply = write(machine, SET, name="wan", config={"uplink": {"rate": 10 * MBIT}, "age": 60 * 10 ** 9})
    assert reply["config"]["uplink"]["rate"] == 10 * MBIT and reply["config"]["age"] == 60 * 10 ** 9
    assert show(machine, "wan")["config"] == reply["config"]
    chain = machine.smp.read_request(76, WHY, {"path": "network.wan.uplink.rate"})["chain"]
    assert [(link["origin"], link["value"]) for link in chain] == [
        ("operator", 10 * MBIT), ("script", 50 * MBIT), ("default", 0)]
    # all or nothing
    assert error(machine, SET, name="wan", config={"mtu": 9000, "age": 1})[0] == smp.BAD_VALUE
    assert show(machine, "wan")["config"] == reply["config"]
    assert error(machine, SET, name="wan", config={"uplink": "nic1"})[1] == (
        "network wan: only a new definition changes its uplink")
    assert error(machine, SET, name="wan", config={})[1] == "set needs a setting of network wan"
    machine.smp.write_request(76, 3, {"path": "network.wan.uplink.rate"})
    assert show(machine, "wan")["config"]["uplink"]["rate"] == 50 * MBIT
    # in Lua, and for a time
    assert machine.ctl("lua", 'get "network.wan.uplink.rate" == Mbps(50)') == "true\n"
    machine.smp.shell('set("network.wan.uplink.rate", Mbps(5), { for_ = hour(1) })')
    assert machine.ctl("get", "network.wan.uplink.rate") == "5 Mbit/s\n"
    assert "needs a unit: write for example Mbps(100)" in machine.smp.shell('set("network.wan.uplink.rate", 5)')[0]
    # what an operator set stays above a new definition, and goes with the network
    change(machine, "network.wan.patience", 7_000_000)
    write(machine, DEFINE, name="wan", config={"patience": 30_000_000, "uplink": "nic0"})
    assert value(machine, "network.wan.patience") == 7_000_000
    machine.smp.write_request(76, 3, {"path": "network.wan.patience"})
    assert value(machine, "network.wan.patience") == 30_000_000
    change(machine, "network.wan.patience", 7_000_000)
    write(machine, REMOVE, name="wan")
    write(machine, DEFINE, name="wan")
    assert value(machine, "network.wan.patience") == 20_000_000


@pytest.mark.parametrize("path, want", [
    ("network.lna.patience", "network.lna.patience: there is no network called lna; did you mean network.lan?"),
    ("network.lan.patiense", "there is no network.lan.patiense; did you mean network.lan.patience?"),
    ("network.lan", "network.lan is no counter or setting, but has some below it"),
    ("vm.a.net.lan1.rate", "vm.a.net.lan1.rate: VM a has no network interface called lan1; did you mean vm.a.net.lan0?"),
    ("vm.a.net.lan0.raet", "there is no vm.a.net.lan0.raet; did you mean vm.a.net.lan0.rate?"),
])
def test_wrong_paths(host, path, want):
    machine = host(script=LAN + nic())
    code, text = refused(machine.smp.read_request, 76, 1, {"path": path})
    assert (code, text) == (smp.NO_ENTRY, want)


def test_saved_settings_come_back(host, tmp_path):
    disk = ("--disk", str(tmp_path / "disk"))
    machine = host(LAN, options=disk)
    change(machine, "network.lan.age", 60 * 10 ** 9)
    machine.ctl("save", "network.lan")
    machine.close()
    assert value(host(LAN, options=disk), "network.lan.age") == 60 * 10 ** 9


# ---- interfaces ----

EVERYTHING = ('network = "lan", mac = "52:54:00:12:34:56", ip = { "10.0.0.5", "FE80:0::1" }, vlan = 10, trunk = { 20, 30 }, '
              'isolated = true, connected = false, queues = 2, mtu = 9000, rate = Mbps(100), storm = 500, '
              'mbps = { reservation = 10, limit = 100, shares = "high" }, interrupts = { policy = "cif", gap = us(5) }')


def test_in_a_definition(host):
    machine = host(script=nic(EVERYTHING) + nic('network = "later"', "b"))
    assert config(machine)["net"]["lan0"] == {
        "device": "virtio", "network": "lan", "mac": "52:54:00:12:34:56", "ip": ["10.0.0.5", "fe80::1"], "vlan": 10,
        "trunk": [20, 30], "isolated": True, "connected": False, "queues": 2, "mtu": 9000, "rate": 100 * MBIT,
        "storm": 500, "mbps": {"shares": 2000, "reservation": 10 * MBIT, "limit": 100 * MBIT},
        "interrupts": {"policy": "cif", "gap": 5000}}
    # what info says is what define takes
    machine.smp.write_request(65, 1, {"name": "c", "config": config(machine)})
    assert config(machine, "c") == config(machine)
    assert config(machine, "b")["net"]["lan0"] == {"device": "virtio", "network": "later", "mbps": {"shares": 1000}}
    figures = machine.smp.read_request(65, 7, {"name": "a"})["nics"]["lan0"]
    assert figures == {"network": "lan", "mac": "52:54:00:12:34:56", "sent_frames": 0, "sent_bytes": 0,
                       "received_frames": 0, "received_bytes": 0}
    # an address that is made of names is the same each time, and another for each
    made = [machine.smp.read_request(65, 7, {"name": name})["nics"]["lan0"]["mac"] for name in "bb"]
    assert made[0] == made[1] and made[0].startswith("c2:")


@pytest.mark.parametrize("text, want", [
    ("netwrok = 'lan'", "unknown setting net.lan0.netwrok; did you mean net.lan0.network?"),
    ("network = 'lan', rate = 100", "net.lan0.rate needs a unit: write Mbps(100), not 100"),
    ("network = 'lan', ip = '10.0.0.5/24'",
     'net.lan0.ip: "10.0.0.5/24" is no address such as 10.0.0.5 or fe80::1: write it without its prefix'),
    ("network = 'lan', mbps = { reservation = 20, limit = 10 }",
     "net.lan0: mbps.reservation (20 Mbit/s) is above mbps.limit (10 Mbit/s)"),
    ("network = 'lan', vlan = 5, trunk = { 5 }",
     "net.lan0: trunk conflicts with vlan: 5 cannot be with a tag and without"),
    ("", "net.lan0: network is missing"),
])
def test_wrong_interfaces_are_named(host, text, want):
    assert define_error(host(), nic(text)) == (smp.BAD_VALUE, "VM a (t:1): " + want)


def test_a_vm_on_a_network(host):
    machine = host(script=LAN + nic(EVERYTHING) + nic('network = "lna"', "b"))
    assert "lna" in refused(machine.smp.write_request, 65, 2, {"name": "b"})[1]
    machine.smp.write_request(65, 2, {"name": "a"})
    port = ports(machine, "lan")["a/lan0"]
    assert port.items() >= {"mac": "52:54:00:12:34:56", "ip": ["10.0.0.5", "fe80::1"], "vlan": 10, "trunk": [20, 30],
                            "isolated": True, "mtu": 9000, "rate": 100 * MBIT, "storm": 500, "sent_frames": 0}.items()
    assert not port["up"] and "wire" not in port and port["sent_drops"] == {}
    addresses = machine.smp.read_request(GROUP, ADDRESSES, {"name": "lan"})["addresses"]
    assert {(a["mac"], a["vlan"], a["port"]) for a in addresses} == {
        ("52:54:00:12:34:56", tag, "a/lan0") for tag in (10, 20, 30)}
    code, text = error(machine, REMOVE, name="lan")
    assert "lan" in text and "a" in text and code == smp.BUSY
    # settings that count at once, and one that does not
    assert change(machine, "vm.a.net.lan0.storm", 7)["value"] == 7
    assert ports(machine, "lan")["a/lan0"]["storm"] == 7
    machine.ctl("net", "link", "a/lan0", "up")
    assert ports(machine, "lan")["a/lan0"]["up"] and config(machine)["net"]["lan0"].get("connected", True)
    assert change(machine, "vm.a.net.lan0.mtu", 1400)["next_value"] == 1400
    assert ports(machine, "lan")["a/lan0"]["mtu"] == 9000
    machine.smp.write_request(65, 3, {"name": "a"})
    machine.smp.write_request(65, 2, {"name": "a"})
    assert ports(machine, "lan")["a/lan0"]["mtu"] == 1400
    machine.smp.write_request(65, 3, {"name": "a"})
    assert ports(machine, "lan") == {}
    assert write(machine, REMOVE, name="lan") == {}


def test_counters_by_every_face(host):
    machine = host(script=LAN + nic(name="a.b") + nic(name="z"))
    listed = machine.smp.read_request(76, 0, {"prefix": "vm.a.b.net.lan0"})["items"]
    assert {"vm.a.b.net.lan0.tx.frames", "vm.a.b.net.lan0.mbps.limit"} <= {item["path"] for item in listed}
    assert all(item["path"].startswith("vm.a.b.net.lan0.") for item in listed)
    values = machine.smp.read_request(76, 6, {"group": "vm.net"})["values"]
    assert [table[:2] for table in values] == [["vm.net", "a.b/lan0"], ["vm.net", "z/lan0"]]
    metrics = machine.ctl("metrics")
    assert 'corbel_vm_net_tx_bytes_total{vm="a.b",net="lan0"} 0\n' in metrics
    assert 'corbel_vm_net_tx_drops_total{vm="a.b",net="lan0",reason="mac"} 0\n' in metrics
    assert 'corbel_network_frames_total{network="lan"} 0\n' in metrics
    assert 'corbel_nic_link_bytes_per_second{nic="nic0"} 125000000\n' in metrics
    top = json.loads(machine.ctl("--json", "top", "0.1"))
    assert [(n["vm"], n["interface"]) for n in top["interfaces"]] == [("a.b", "lan0"), ("z", "lan0")]
    assert top["nics"][0]["name"] == "nic0"
    assert "a.b/lan0" in machine.ctl("top", "0.1")


def test_pools_have_their_part(host):
    machine = host(script='pool "edge" { mbps = { reservation = 10, limit = Gbps(1), shares = "low" } }')
    assert machine.smp.read_request(67, 4, {"name": "edge"})["config"]["mbps"] == {
        "shares": 500, "reservation": 10 * MBIT, "limit": 1000 * MBIT}
    assert value(machine, "pool.edge.mbps.limit") == 1000 * MBIT
    machine.smp.write_request(67, 6, {"name": "edge", "config": {"mbps": {"limit": 20 * MBIT}}})
    assert machine.ctl("get", "pool.edge.mbps.limit") == "20 Mbit/s\n"
    chain = machine.smp.read_request(76, WHY, {"path": "pool.edge.mbps.limit"})["chain"]
    assert [link["origin"] for link in chain] == ["operator", "script", "default"]
    assert refused(machine.smp.write_request, 67, 6, {"name": "edge", "config": {"mbps": {"reservation": 21 * MBIT}}})[1] \
        == "pool edge (boot.lua:1): mbps.reservation (21 Mbit/s) is above mbps.limit (20 Mbit/s)"


# ---- generations ----


def test_generations(host):
    machine = host()
    text = LAN + nic()
    lan = {"added": ["lan"], "changed": [], "removed": []}
    assert plan(machine, text) == {**NOTHING, "added": ["a"], "networks": lan}
    assert networks(machine) == {}
    assert apply(machine, text)["networks"] == lan
    assert plan(machine, text) == NOTHING
    # the VM before its network, as it stands in the text; other numbers
    turned = nic() + 'network "lan" { mtu = 9000, patience = ms(30) }\n'
    assert plan(machine, turned) == {**NOTHING, "networks": {
        "added": [], "changed": [{"name": "lan", "settings": ["mtu", "patience"]}], "removed": []}}
    apply(machine, turned)
    assert networks(machine)["lan"]["mtu"] == 9000
    # an operator's changes are no difference, and stay
    change(machine, "network.lan.patience", 5_000_000)
    assert plan(machine, turned) == NOTHING
    apply(machine, turned.replace("9000", "8000"))
    assert (networks(machine)["lan"]["mtu"], value(machine, "network.lan.patience")) == (8000, 5_000_000)
    # a text that cannot be applied leaves everything
    for bad, want in ((text.replace('"lan" }', '"lna" }'),
                       "VM a (site.lua:2): net.lan0: there is no network called lna; did you mean lan?"),
                      (turned + 'network "wan" { uplink = "nic7" }',
                       "network wan (site.lua:3): uplink: the machine has no interface called nic7; did you mean nic"),
                      (turned + 'network "x" { uplink = "nic0" } network "y" { uplink = "nic0" }',
                       "network y (site.lua:3): uplink: nic0 is that of network x"),
                      (turned + LAN, "network lan (site.lua:3) is already defined (site.lua:2)"),
                      ('network "x" { uplink = "nic0" }\n' + nic('network = "x"') + 'volume "v" { ram = 5 }', "ram needs a unit")):
        with pytest.raises(smp.SmpError) as caught:
            apply(machine, bad)
        assert want in caught.value.text
        assert set(networks(machine)) == {"lan"}
    # what the text has not got any more goes
    answer = apply(machine, vm("a", "echo"))
    assert answer["networks"] == {"added": [], "changed": [], "removed": ["lan"]} and networks(machine) == {}


def test_what_is_done_is_taken_back(host):
    """The second of two networks cannot be made: the first one goes again, and one that was changed is as it was."""
    machine = host()
    apply(machine, LAN)
    text = 'network "lan" { mtu = 9000 }\n' + "".join('network "n%d" {}\n' % i for i in range(15))
    write(machine, DEFINE, name="mine")
    with pytest.raises(smp.SmpError) as caught:
        apply(machine, text)
    assert "there are 16 networks already" in caught.value.text
    assert {n: v["mtu"] for n, v in networks(machine).items()} == {"lan": 1500, "mine": 1500}
    write(machine, REMOVE, name="mine")
    apply(machine, text)
    assert len(networks(machine)) == 16
    # an operator's network is none of the text's
    apply(machine, "")
    write(machine, DEFINE, name="mine")
    apply(machine, LAN)
    assert set(networks(machine)) == {"lan", "mine"}


def test_a_network_in_use_stays(host):
    machine = host()
    apply(machine, LAN + nic())
    machine.smp.write_request(65, 1, {"text": nic(name="mine")})
    machine.smp.write_request(65, 2, {"name": "mine"})
    with pytest.raises(smp.SmpError) as caught:
        apply(machine, "")
    assert caught.value.text == "network lan is not in the text, but VM mine, which is running, is on it"
    with pytest.raises(smp.SmpError) as caught:
        apply(machine, 'network "lan" { uplink = "nic0" }')
    assert caught.value.text == "network lan (site.lua:1): uplink differs, and VM mine, which is running, is on it"
    apply(machine, 'network "lan" { age = sec(60) }')
    assert value(machine, "network.lan.age") == 60 * 10 ** 9
    machine.smp.write_request(65, 3, {"name": "mine"})
    apply(machine, "")
    assert networks(machine) == {}


def test_interfaces_in_generations(host):
    machine = host()
    start = 'autostart = true'
    apply(machine, LAN + nic(more=start))
    faster = 'network = "lan", rate = Mbps(5), mbps = { limit = 5 }, connected = false'
    assert plan(machine, LAN + nic(faster, more=start)) == {**NOTHING, "changed": [{"name": "a", "settings": ["net"]}]}
    apply(machine, LAN + nic(faster, more=start))  # it runs: these count at once
    assert (ports(machine, "lan")["a/lan0"]["rate"], ports(machine, "lan")["a/lan0"]["up"]) == (5 * MBIT, False)
    for fixed in ('network = "lan", mtu = 1400', 'network = "lan", queues = 1', 'network = "lan", mac = "52:54:00:00:00:01"'):
        with pytest.raises(smp.SmpError) as caught:
            apply(machine, LAN + nic(fixed, more=start))
        assert "net.lan0 differs, and it is running: stop it first" in caught.value.text
    machine.smp.write_request(65, 3, {"name": "a"})
    # what operators set goes with an interface to its new place, and is forgotten with one that goes
    change(machine, "vm.a.net.lan0.storm", 9)
    two = vm("a", "echo", more='net = { dmz = virtio { network = "lan" }, lan0 = virtio { network = "lan" } }')
    apply(machine, LAN + two)
    assert (value(machine, "vm.a.net.lan0.storm"), value(machine, "vm.a.net.dmz.storm")) == (9, 0)
    apply(machine, LAN + vm("a", "echo", more='net = { dmz = virtio { network = "lan" } }'))
    assert value(machine, "vm.a.net.dmz.storm") == 0
    assert refused(machine.smp.read_request, 76, 1, {"path": "vm.a.net.lan0.storm"})[0] == smp.NO_ENTRY
    # a text's own settings
    with pytest.raises(smp.SmpError) as caught:
        plan(machine, LAN + nic() + 'set("vm.a.net.dmz.storm", 5)')
    assert "a setting of a network interface of VM a, which the text does not have like that" in caught.value.text
    with pytest.raises(smp.SmpError) as caught:
        plan(machine, 'set("network.lan.age", sec(9))')
    assert "a setting of network lan, which is not in the text any more" in caught.value.text
    apply(machine, LAN + two)
    apply(machine, LAN + two + 'set("vm.a.net.lan0.storm", 5) set("network.lan.age", sec(9))')
    assert (value(machine, "vm.a.net.lan0.storm"), value(machine, "network.lan.age")) == (5, 9 * 10 ** 9)
    dropped = plan(machine, LAN + two)["dropped"]
    assert dropped == [{"path": "vm.a.net.lan0.storm", "value": "0", "origin": "default"},
                       {"path": "network.lan.age", "value": "300000000000", "origin": "default"}]
    longer = plan(machine, 'network "lan" { age = sec(60) }\n' + two)["dropped"]
    assert longer[1] == {"path": "network.lan.age", "value": "60000000000", "origin": "script"}
    apply(machine, LAN + two)
    assert (value(machine, "vm.a.net.lan0.storm"), value(machine, "network.lan.age")) == (0, 300 * 10 ** 9)


def test_a_start_goes_on_without_an_operators_network(host, tmp_path):
    disk = ("--disk", str(tmp_path / "disk"))
    machine = host(options=disk)
    write(machine, DEFINE, name="mine")
    apply(machine, LAN + nic('network = "mine"', more="autostart = true") + nic(name="b", more="autostart = true"))
    machine.close()
    machine = host(options=disk)
    states = {v["name"]: v["state"] for v in machine.smp.read_request(65, 0)["vms"]}
    assert states["b"] == "running" and states["a"] == "defined" and set(networks(machine)) == {"lan"}
    assert b"there is no network" in machine.log


# ---- Lua ----


def test_by_lua(host):
    machine = host()
    shell = lambda line: machine.smp.shell(line)[0]
    shell('network "lan" { mtu = 9000 }')
    shell('network "wan" { uplink = { nic = "nic0", rate = Mbps(50), depth = KiB(16) } }')
    assert shell("#networks(), networks()[1].name, networks()[2].uplink") == "2\nlan\nnic0\n"
    assert shell('network_info("lan").mtu') == "9000\n"
    assert shell('#network_ports("wan"), network_ports("wan")[1].name') == "1\nuplink\n"
    shell('network "lan" { mtu = 9000 }')
    shell('network_remove "lan"')
    assert shell("#networks()") == "1\n"
    assert shell("Mbps(1) == kbps(1000), Mbps(8) + kbps(1), Gbps(1)") == "true\nkbps(8001)\nGbps(1)\n"
    for text, want in (('network "x" { patience = 5 }', "patience needs a unit: write ms(5), not 5"),
                       ('network "x" (5)', "its settings are a number, not a table"),
                       ("network(5)", "network takes a name and a table"),
                       ('network_remove(5)', "network_remove takes the name of a network, not a number"),
                       ('network_info "wna"', "there is no network called wna; did you mean wan?"),
                       ("Mbps(1) + MiB(1)", "cannot add a rate and bytes")):
        assert want in shell(text)
    assert "a text for vm define has VMs alone; apply takes networks" in define_error(machine, LAN)[1]


# ---- who may ----


def test_rights(host):
    machine = host(script=LAN + nic() + nic(name="b"))
    bob, eve = Key(), Key()
    enroll(machine.smp, "bob", "operator", bob, vms=["a"])
    enroll(machine.smp, "eve", "observer", eve)
    for name in "ab":
        machine.smp.write_request(65, 2, {"name": name})
    uplinked = machine.smp.write_request(GROUP, CAPTURE, {"port": "b/lan0"})["capture"]
    login(machine.smp, eve)
    assert set(networks(machine)) == {"lan"} and len(ports(machine, "lan")) == 2
    assert error(machine, CAPTURE, port="a/lan0")[0] == smp.DENIED
    assert refused(machine.smp.read_request, GROUP, RECORDS, {"capture": uplinked})[0] == smp.DENIED
    assert error(machine, DEFINE, name="x")[0] == smp.DENIED
    login(machine.smp, bob)
    assert error(machine, DEFINE, name="x") == (smp.DENIED, "define is not for the key bob, which is limited to VMs")
    assert error(machine, CAPTURE, port="b/lan0") == (smp.DENIED, "the key bob has no rights on b/lan0")
    assert refused(machine.smp.read_request, GROUP, RECORDS, {"capture": uplinked})[0] == smp.DENIED
    mine = machine.smp.write_request(GROUP, CAPTURE, {"port": "a/lan0"})["capture"]
    assert machine.smp.read_request(GROUP, RECORDS, {"capture": mine}) == {"records": [], "more": False}
    assert machine.smp.write_request(GROUP, END, {"capture": mine}) == {"lost": 0}
    change(machine, "vm.a.net.lan0.connected", False)
    assert refused(change, machine, "vm.b.net.lan0.connected", False)[0] == smp.DENIED
    assert refused(change, machine, "network.lan.age", 60 * 10 ** 9)[0] == smp.DENIED


# ---- corbelctl ----


def test_by_corbelctl(host, tmp_path):
    machine = host(script=nic())
    machine.ctl("net", "define", "lan", "--mtu", "9000", "--age", "1min")
    machine.ctl("net", "define", "wan", "--uplink", "nic0", "--rate", "50Mbit/s", "--depth", "16KiB")
    machine.ctl("vm", "start", "a")
    listed = machine.ctl("net", "list").splitlines()
    assert [line.split() for line in listed[1:]] == [["lan", "-", "9000", "1"], ["wan", "nic0", "up", "1500", "1"]]
    assert [n["name"] for n in json.loads(machine.ctl("--json", "net", "list"))["networks"]] == ["lan", "wan"]
    shown = machine.ctl("net", "show", "lan")
    assert "  a/lan0  " in shown and "patience" in shown
    whole = json.loads(machine.ctl("--json", "net", "show", "wan"))
    assert whole["network"]["config"]["uplink"]["rate"] == 50 * MBIT and whole["ports"][0]["name"] == "uplink"
    assert whole["addresses"] == []
    nics = machine.ctl("net", "nics")
    assert "nic0" in nics and "an interface of a test" in nics
    assert len(json.loads(machine.ctl("--json", "net", "nics"))["nics"]) == 2
    machine.ctl("net", "set", "wan", "--patience", "20ms", "--rate", "10Mbit/s")
    assert machine.ctl("get", "network.wan.uplink.rate") == "10 Mbit/s\n"
    machine.ctl("net", "link", "a/lan0", "down")
    assert value(machine, "vm.a.net.lan0.connected") is False
    site = tmp_path / "site.lua"
    site.write_text(nic() + 'network "dmz" {}\n')
    assert "+ network dmz\n" in machine.ctl("plan", str(site))
    for words, status, want in (
            (("show", "lna"), 1, "there is no network called lna; did you mean lan?"),
            (("remove", "lan"), 1, "is on it"), (("define", "x", "--rate", "fast"), 2, "a rate such as 50Mbit/s"),
            (("define", "x", "--speed", "5"), 2, "there is no option --speed"), (("define", "x", "--mtu"), 2, "needs a value"),
            (("link", "a", "up"), 2, "a port such as web/lan0"), (("link", "a/lan0", "sideways"), 2, "up or down"),
            (("link", "a/lan9", "up"), 1, "has no network interface called lan9"), (("set", "wan"), 2, "usage")):
        done = machine.ctl_run("net", *words)
        assert (done.returncode, want in done.stderr) == (status, True), (words, done)
    done = machine.ctl_run("--json", "net", "remove", "lna")
    assert done.returncode == 1 and "lna" in json.loads(done.stdout)["error"]
    machine.ctl("net", "remove", "wan")
    assert [n["name"] for n in json.loads(machine.ctl("--json", "net", "list"))["networks"]] == ["lan"]

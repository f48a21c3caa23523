# SPDX-License-Identifier: Apache-2.0
"""The policies of scripts/examples/, each at what it is for."""
import calendar
import os
import time

import pytest
from conftest import ROOT, vm

EXAMPLES = os.path.join(ROOT, "scripts", "examples")
COVERED = ["disks.lua", "maintenance.lua", "memory.lua", "night.lua", "order.lua", "pools.lua", "restart.lua", "watchdog.lua"]


def examples():
    files = {}
    for name in os.listdir(EXAMPLES):
        with open(os.path.join(EXAMPLES, name), encoding="utf-8") as text:
            files["scripts/examples/" + name] = text.read()
    return files


@pytest.fixture
def site(host):
    def start(text, *options):
        return host(script=text, files=examples(), options=options)
    return start


def lua(machine, line):
    text, status = machine.smp.shell(line)
    assert status == 0, text
    return text


def wait_state(machine, name, state, seconds=20):
    deadline = time.monotonic() + seconds
    while lua(machine, "now.vm['%s'].state" % name) != state + "\n":
        assert time.monotonic() < deadline, lua(machine, "now.vm['%s'].state" % name) + machine.log.decode()
        time.sleep(0.05)


def no_failures(machine):
    assert "failed:" not in machine.log.decode(), machine.log.decode()


def test_every_example_has_a_test():
    assert sorted(os.listdir(EXAMPLES)) == COVERED


def test_restart(site):
    machine = site(vm("a", "end=crash") + vm("b", "end=crash") + """
use("scripts/examples/restart.lua",
    { only = { a = true }, tries = 3, pause = ms(50), longest = ms(100), look = ms(20) })
""")
    lua(machine, 'start "a" start "b"')
    machine.wait_for("crashed 4 times, left alone: ")
    assert lua(machine, "now.vm.a.starts, now.vm.b.starts") == "4\n1\n"
    events = machine.smp.read_request(71, 0, {"from": 0, "kinds": ["alert"]})["events"]
    assert [(e["name"], e["kind"]) for e in events] == [("a", "alert")]
    no_failures(machine)


def test_restart_waits_longer_each_time(site):
    machine = site(vm("a", "end=crash") + """
use("scripts/examples/restart.lua", { tries = 4, pause = ms(100), look = ms(10) })
""")
    lua(machine, 'start "a"')
    machine.wait_for("crashed 5 times")
    crashes = [e["time_ns"] for e in machine.smp.read_request(71, 0, {"from": 0, "kinds": ["vm.crashed"]})["events"]]
    gaps = [later - sooner for sooner, later in zip(crashes, crashes[1:])]
    assert len(gaps) == 4
    for gap, pause in zip(gaps, (100, 200, 400, 800)):
        assert gap >= pause * 1000000, gaps


def test_watchdog(site):
    machine = site(vm("silent", "say=hi echo", more="autostart = true") + vm("loud", "flood=1000000000 echo") +
                   vm("other", "say=x echo", more="autostart = true") + """
use("scripts/examples/watchdog.lua", { vms = { silent = ms(400), loud = ms(400) }, limit = 2, look = ms(50) })
""")
    lua(machine, 'start "loud"')
    machine.wait_for("silent again, left as it is")
    assert lua(machine, "now.vm.silent.starts, now.vm.loud.starts, now.vm.other.starts") == "3\n1\n1\n"
    assert lua(machine, "now.vm.silent.state") == "running\n"
    no_failures(machine)


def test_order(site):
    machine = site(vm("web", "echo") + vm("app", "say=listening echo") + vm("db", "echo") + """
use("scripts/examples/order.lua", {
  db = { up = "READY" }, app = { needs = { "db" }, up = "listening" }, web = { needs = { "app", "db" } } })
""")
    wait_state(machine, "db", "running")
    time.sleep(1.5)
    assert lua(machine, "now.vm.app.state, now.vm.web.state") == "defined\ndefined\n"
    machine.smp.write_request(72, 4, {"name": "db", "data": b"ready\n"})    # the guest says it in capitals
    machine.wait_for("web is up")
    log = machine.log.decode()
    assert log.index("db is up") < log.index("app is up") < log.index("web is up")
    no_failures(machine)


@pytest.mark.parametrize("table,sentence", [
    ('{ a = { needs = { "b" } }, b = { needs = { "a" } } }', "a circle of needs at "),
    ('{ a = { needs = { "z" } } }', "a needs z, which is not in the order"),
])
def test_order_refuses_mistakes(site, table, sentence):
    machine = site('use("scripts/examples/order.lua", %s)' % table)
    machine.wait_for(sentence)


def test_night(site):
    noon = calendar.timegm((2026, 3, 2, 12, 0, 0))
    machine = site(vm("backup", "echo", more="autostart = true") + vm("other", "echo", more="autostart = true") + """
use("scripts/examples/night.lua", { vms = { "backup", "gone" }, from = 15, to = 16, offset = 2, look = ms(100) })
""", "--wall", str(noon), "--speed", "600")
    assert lua(machine, "now.host.hour, now.host.weekday") == "12\n0\n"
    wait_state(machine, "backup", "paused")
    assert lua(machine, "now.vm.other.state") == "running\n"
    machine.wait_for("backup may work", 30)           # one hour later, 13:00 UTC: six seconds of ours
    wait_state(machine, "backup", "running")
    machine.wait_for("backup rests until the night")
    no_failures(machine)


def test_night_without_a_calendar(site):
    machine = site(vm("backup", "echo", more="autostart = true") + """
use("scripts/examples/night.lua", { vms = { "backup" }, look = ms(20) })
""")
    assert lua(machine, "now.host.hour") == "nil\n"
    time.sleep(0.5)
    assert lua(machine, "now.vm.backup.state") == "running\n"
    no_failures(machine)


def test_maintenance(site):
    machine = site("".join(vm(name, "echo", more="autostart = true") for name in ("a", "b", "kept")))
    text = 'use("scripts/examples/maintenance.lua", { grace = ms(300), look = ms(50), keep = { kept = true } })'
    machine.smp.write_request(70, 4, {"text": text, "origin": "m.lua"})
    machine.wait_for("maintenance: the machine is quiet")
    assert lua(machine, "now.vm.a.state, now.vm.b.state, now.vm.kept.state") == "stopped\nstopped\nrunning\n"
    assert lua(machine, 'get "log.level"') == "debug\n"
    assert "maintenance" in lua(machine, 'why "log.level"')
    lua(machine, 'start "a"')                          # nothing stays up
    wait_state(machine, "a", "stopped")
    machine.smp.write_request(70, 5, {"name": "m.lua"})
    lua(machine, 'start "a"')
    time.sleep(0.8)
    assert lua(machine, "now.vm.a.state") == "running\n"
    no_failures(machine)


def test_memory(site):
    """A VM's memory is taken when it is touched: what is free falls with definitions and starts."""
    machine = site(vm("batch", "echo", more="autostart = true") + vm("idle", "echo", more="autostart = true") +
                   vm("other", "echo", more="autostart = true"))
    wait_state(machine, "other", "running")
    free = int(lua(machine, "now.host.free_bytes"))
    low = free + (64 << 10)                            # more than there is: the level is low at once
    text = ('use("scripts/examples/memory.lua", { low = KiB(%d), high = KiB(%d), spare = { "nobody", "batch" },'
            ' look = ms(50) })' % (low // 1024, 1 << 30))
    machine.smp.write_request(70, 4, {"text": text, "origin": "mem.lua"})
    machine.wait_for("memory is low: ")
    wait_state(machine, "batch", "stopped")
    assert lua(machine, "now.vm.idle.state, now.vm.other.state") == "running\nrunning\n"
    machine.smp.write_request(70, 5, {"name": "mem.lua"})
    lua(machine, 'start "batch"')
    # the other way: it gives up one while low, and takes it back when there is enough
    free = int(lua(machine, "now.host.free_bytes")) - (1 << 20)    # of which the script will take so much itself
    text = ('use("scripts/examples/memory.lua", { low = KiB(%d), high = KiB(%d), spare = { "batch" },'
            ' look = ms(50) })' % (free // 1024 + 16, free // 1024 + 20))
    machine.smp.write_request(70, 4, {"text": text, "origin": "mem.lua"})
    machine.wait_for("stopping batch for its memory")
    deadline = time.monotonic() + 20
    while lua(machine, "now.vm.batch.starts") == "2\n":
        assert time.monotonic() < deadline, machine.log.decode()[-2000:]
        time.sleep(0.05)
    no_failures(machine)


def test_pools(site):
    """While the one pool is busy the other one is squeezed; when it is quiet that ends by itself."""
    machine = site('pool "shop" { cpu = { shares = 4000 } } pool "batch" { cpu = { limit = pct(90) } }' +
                   vm("web", "echo", more='pool = "shop", autostart = true') + vm("job", "echo", more='pool = "batch"') +
                   'use("scripts/examples/pools.lua", { look = ms(100), high = 5 })')
    limit = lambda: lua(machine, "get 'pool.batch.cpu.limit'")
    deadline = time.monotonic() + 20
    while limit() != "pct(10)\n":
        assert time.monotonic() < deadline, machine.log.decode()
        time.sleep(0.05)
    assert "shop uses" in lua(machine, "why 'pool.batch.cpu.limit'")
    lua(machine, 'stop "web"')
    while limit() != "pct(90)\n":
        assert time.monotonic() < deadline, machine.log.decode()
        time.sleep(0.05)
    no_failures(machine)


def test_pools_that_are_not_there(site):
    machine = site('pool "shop" {} use("scripts/examples/pools.lua")')
    machine.wait_for("there is no pool called batch")


def test_disks(site):
    """A slow volume has others held back for a time; a pool that is nearly full is relieved of what may go."""
    machine = site('volume "p" { ram = MiB(8) }' + vm("batch", more='disk = { root = virtio { volume = "b" } }') + """
use("scripts/examples/disks.lua", { low = GiB(1), spare = { "nobody", "old" }, slow = ms(20), look = ms(100), time = hour(1),
                                    hold = { ["vm.batch.disk.root.iops.limit"] = 100 } })
""")
    assert lua(machine, "get 'vm.batch.disk.root.iops.limit'") == "none\n"
    machine.ctl("volume", "create", "m", "--ram", "1MiB")
    machine.ctl("volume", "create", "slow", "--model", "m", "--service", "40ms")
    machine.ctl("volume", "format", "p", "p")
    machine.wait_for("volume p: its pool has ")
    machine.ctl("volume", "import", "slow", "copy", "p")
    deadline = time.monotonic() + 20
    while lua(machine, "get 'vm.batch.disk.root.iops.limit'") != "100\n":
        assert time.monotonic() < deadline, machine.log.decode()[-2000:]
        time.sleep(0.05)
    assert "volume slow needs" in lua(machine, "why 'vm.batch.disk.root.iops.limit'")
    machine.ctl("volume", "create", "old", "--layer", "p", "--size", "1MiB")
    machine.wait_for("deleting old for p")
    done = []
    while "delete of old" not in done:
        assert time.monotonic() < deadline, machine.log.decode()[-2000:]
        done = [e["text"] for e in machine.smp.read_request(71, 0, {"from": 0, "kinds": ["volume.done"]})["events"]]
    no_failures(machine)

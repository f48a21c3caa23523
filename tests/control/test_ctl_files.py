# SPDX-License-Identifier: Apache-2.0
"""corbelctl with files and events: ls, cp, rm, events, and lines that drop or damage."""
import calendar
import json
import os
import random
import re
import subprocess
import threading
import time

import pytest
import relay
from conftest import CORBELCTL, vm
from relay import Relay
from test_corbelctl import DENIED, OK, REFUSED, UNREACHABLE, USAGE, Terminal, as_json, failed
from test_files import chunk, download, noise
from test_images import RUNNING, image, stamp_of

VMS, START, PAUSE, RESUME = 65, 2, 4, 5


def run(target, *words, seconds=30, **more):
    return subprocess.run([CORBELCTL, "-t", target, "--timeout", "8", *words], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=seconds, **more)


class Follower:
    """corbelctl that stays; its output comes by lines."""

    def __init__(self, target, *words):
        self.lines, self.errors = [], []
        self.process = subprocess.Popen([CORBELCTL, "-t", target, "--timeout", "5", *words], text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for stream, lines in ((self.process.stdout, self.lines), (self.process.stderr, self.errors)):
            threading.Thread(target=lambda s=stream, l=lines: l.extend(iter(s.readline, "")), daemon=True).start()

    def wait_for(self, text, seconds=15):
        deadline = time.monotonic() + seconds
        while not any(text in line for line in self.lines):
            assert time.monotonic() < deadline, (text, self.lines, self.errors)
            time.sleep(0.02)

    def end(self):
        self.process.terminate()
        return self.process.wait(10)


# ---- ls, cp, rm ----

@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 60_000])
def test_there_and_back(host, tmp_path, size):
    machine = host()
    data = noise(size)
    (tmp_path / "up").write_bytes(data)
    assert machine.ctl("cp", str(tmp_path / "up"), ":data/x") == ""
    assert download(machine, "data/x") == data
    assert machine.ctl("cp", ":data/x", str(tmp_path / "down")) == ""
    assert (tmp_path / "down").read_bytes() == data and not (tmp_path / "down.part").exists()


def test_names_and_folders(host, tmp_path):
    machine = host("-- boot")
    (tmp_path / "a.lua").write_text("-- a")
    machine.ctl("cp", str(tmp_path / "a.lua"), ":scripts/")
    machine.ctl("cp", str(tmp_path / "a.lua"), ":")
    machine.ctl("cp", ":scripts/boot.lua", str(tmp_path))
    assert (tmp_path / "boot.lua").read_text() == "-- boot"
    assert [re.split(" {2,}", line.strip()) for line in machine.ctl("ls").splitlines()] == [
        ["4 B", "a.lua"], ["1700 B", "broken", "(seed)"], ["36 B", "kernel", "(seed)"],
        ["4 B", "scripts/a.lua"], ["7 B", "scripts/boot.lua", "(seed)"]]
    assert as_json(machine, "ls", ":scripts/a") == {"files": [{"name": "scripts/a.lua", "size": 4}]}
    assert machine.ctl("rm", ":a.lua", "scripts/a.lua") == ""
    assert as_json(machine, "ls", "scripts/a") == {"files": []}
    assert "came with the loader" in failed(machine, DENIED, "rm", "kernel")[0]
    crc = as_json(machine, "cp", str(tmp_path / "a.lua"), ":x")
    assert crc == {"name": "x", "size": 4, "resumed": 0, "crc32": crc["crc32"]}


def test_what_cannot_be_copied(host, tmp_path):
    machine = host()
    (tmp_path / "x").write_bytes(b"x")
    nothing = str(tmp_path / "nothing")
    assert failed(machine, USAGE, "cp", nothing, ":x")[0] == "cannot read %s: No such file or directory" % nothing
    assert failed(machine, USAGE, "cp", str(tmp_path), ":x")[0] == "cannot read %s: it is no file" % tmp_path
    assert failed(machine, USAGE, "cp", ":kernel", "/nowhere/x")[0].startswith("cannot write /nowhere/x.part: ")
    for words in (["a", "b"], [":a", ":b"], [":a", "b", "c"]):
        assert failed(machine, USAGE, "cp", *words)[0] == "usage: cp FILE :NAME, or cp :NAME FILE"
    assert failed(machine, REFUSED, "cp", ":nothing", nothing)[0] == "there is no file 'nothing' in the store"
    assert not os.path.exists(nothing) and not os.path.exists(nothing + ".part")
    failed(machine, DENIED, "cp", str(tmp_path / "x"), ":system/keys")
    small = host(options=("--disk", "none"))
    failed(small, REFUSED, "cp", str(tmp_path / "x"), ":x")


def test_interrupted_transfers_go_on(host, tmp_path):
    machine = host()
    data = noise(30_000)
    (tmp_path / "up").write_bytes(data)
    chunk(machine, "x", 0, data[:7000], 30_000)
    assert as_json(machine, "cp", str(tmp_path / "up"), ":x")["resumed"] == 7000
    assert download(machine, "x") == data
    (tmp_path / "down.part").write_bytes(data[:12_345])
    assert as_json(machine, "cp", ":x", str(tmp_path / "down"))["resumed"] == 12_345
    assert (tmp_path / "down").read_bytes() == data
    # the beginning of something else is not gone on with
    chunk(machine, "x", 0, noise(7000, 9), 30_000)
    machine.ctl("cp", str(tmp_path / "up"), ":x")
    assert download(machine, "x") == data
    for part in (noise(5000, 9), data + b"more"):
        (tmp_path / "down.part").write_bytes(part)
        assert as_json(machine, "cp", ":x", str(tmp_path / "down"))["resumed"] == 0
        assert (tmp_path / "down").read_bytes() == data


def test_progress_bar_on_a_terminal(host, tmp_path):
    machine = host(options=("--rate", "60000"))
    (tmp_path / "up").write_bytes(noise(40_000))
    terminal = Terminal(machine, "cp", str(tmp_path / "up"), ":some/file")
    seen = terminal.wait_for("100%", 20)
    assert b"some/file" in seen and b"[####" in seen
    assert terminal.end() == OK
    terminal = Terminal(machine, "cp", ":some/file", str(tmp_path / "down"))
    seen = terminal.wait_for("100%", 20)
    percents = [int(p) for p in re.findall(rb"(\d+)%", seen)]
    assert percents == sorted(percents) and percents[0] < 60
    assert terminal.end() == OK


# ---- events ----

def test_events(host):
    machine = host(vm("a", "echo") + vm("b"))
    machine.smp.write_request(VMS, START, {"name": "a"})
    lines = machine.ctl("events").splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ +\d+\.\d{3}  vm\.defined a: boot\.lua:1", lines[-3])
    assert lines[-1].endswith("  vm.running a")
    assert abs(calendar.timegm(time.strptime(lines[-1][:20], "%Y-%m-%dT%H:%M:%SZ")) - time.time()) < 5
    events = [json.loads(line) for line in machine.ctl("--json", "events", "vm.running", "vm.stopped").splitlines()]
    assert [(e["kind"], e["name"], e["vm"]) for e in events] == [("vm.running", "a", 1)]
    assert failed(machine, REFUSED, "events", "vn")[0] == "there is no kind of event called vn"
    assert failed(machine, USAGE, "events", "-x")[0] == "usage: events [-f] [KIND...]"


def change(target, count, seconds=0.0):
    for n in range(count):
        assert run(target, "vm", "resume" if n % 2 else "pause", "a").returncode == OK
        time.sleep(seconds)


def test_events_are_followed_through_a_line_that_drops(host):
    machine = host(vm("a", "echo", more="autostart = true"))
    with Relay(machine.port) as cable:
        follower = Follower(cable.target, "events", "-f", "vm")
        follower.wait_for("vm.running a")
        for n in range(3):
            cable.drop()
            deadline = time.monotonic() + 10
            while cable.connections < n + 2:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(0.3)
        assert not [line for line in follower.lines if "missed" in line]
        # while nobody is connected things happen; they are not lost
        machine.smp  # noqa: B018  (takes the line)
        cable.drop()
        for _ in range(10):
            machine.smp.write_request(VMS, PAUSE, {"name": "a"})
            machine.smp.write_request(VMS, RESUME, {"name": "a"})
        machine.disconnect()
        deadline = time.monotonic() + 20
        while len([line for line in follower.lines if "vm.paused a" in line]) < 10:
            assert time.monotonic() < deadline, (follower.lines, follower.errors)
            time.sleep(0.05)
        assert follower.end() == OK
    kinds = [line.split("  ")[-1].split()[0] for line in follower.lines]
    running = kinds[kinds.index("vm.running") + 1 :]
    assert running == ["vm.paused", "vm.running"] * 10, "each once, in order"
    assert any("trying again" in e for e in follower.errors) and any("answers again" in e for e in follower.errors)


def test_log_is_followed_through_a_line_that_drops(host):
    machine = host()
    with Relay(machine.port) as cable:
        follower = Follower(cable.target, "log", "-f")
        follower.wait_for("management line is open")
        cable.drop()
        deadline = time.monotonic() + 10
        while cable.connections < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.5)
        cable.drop()
        machine.smp.shell("log 'while nobody listened'")
        machine.disconnect()
        follower.wait_for("while nobody listened", 20)
        assert follower.end() == OK
    text = "".join(follower.lines)
    assert text.count("management line is open") == 1 and text.count("while nobody listened") == 1


def test_a_machine_that_starts_again_is_followed_from_its_beginning(host):
    machine = host(vm("a", "echo", more="autostart = true"))
    other = host(vm("b", "echo"))
    with Relay(machine.port) as cable:
        for n in range(10):
            machine.smp.write_request(VMS, RESUME if n % 2 else PAUSE, {"name": "a"})
        machine.disconnect()
        follower = Follower(cable.target, "events", "-f", "vm")
        follower.wait_for("vm.running a")
        cable.port = other.port
        cable.drop()
        follower.wait_for("vm.defined b", 20)
        assert follower.end() == OK


def test_giving_up(host, tmp_path):
    machine = host()
    (tmp_path / "up").write_bytes(noise(50_000))
    assert run("127.0.0.1:1", "cp", str(tmp_path / "up"), ":x").returncode == UNREACHABLE
    with Relay(machine.port, up=relay.cut_after(20_000)) as cable:
        process = subprocess.Popen([CORBELCTL, "-t", cable.target, "--timeout", "2", "cp", str(tmp_path / "up"), ":x"],
                                   stderr=subprocess.PIPE, text=True)
        while cable.connections == 0:
            time.sleep(0.01)
        cable.refuses = True
        assert process.wait(20) == UNREACHABLE
        said = process.stderr.read()
        assert "trying again" in said and "gave up" in said


# ---- images ----

def test_images(host, tmp_path):
    machine = host()
    data = image(size=30_000)
    path = str(tmp_path / "corbel.elf")
    (tmp_path / "corbel.elf").write_bytes(data)
    hash_ = stamp_of(data).hex()
    running = "0  0.0-test  %s  active  confirmed" % RUNNING["hash"].hex()
    room = "room in slot 1 for an image of 5."
    assert re.fullmatch(re.escape(running + "\n" + room) + r"\d\d MiB\n", machine.ctl("image", "list"))
    *lines, last = machine.ctl("image", "upload", path).splitlines()
    assert lines == [running, "1  0.2.0  " + hash_] and last.startswith(room)
    assert machine.ctl("image", "test", hash_[:8]).splitlines()[1].endswith("  pending")
    assert as_json(machine, "image", "list")["images"][1]["pending"] is True
    assert failed(machine, REFUSED, "image", "upload", path)[0] == \
        "the image in slot 1 is to be booted next: erase it first"
    assert machine.ctl("image", "confirm", "1").splitlines()[1].endswith("  pending  permanent")
    assert machine.ctl("image", "confirm").splitlines()[0] == running
    assert machine.ctl("image", "erase") == "" and len(machine.ctl("image", "list").splitlines()) == 2
    for word in ("1", "abcd", "x"):
        assert failed(machine, REFUSED, "image", "test", word)[0] == \
            "no slot holds an image %s: give its slot, or four digits of its hash" % word
    (tmp_path / "corbel.elf").write_bytes(image(b"0.0.0"))
    failed(machine, REFUSED, "image", "upload", "--upgrade", path)
    assert failed(machine, USAGE, "image", "upload", "--frob", path)[0] == "usage: image upload [--upgrade] FILE"
    assert "cannot read" in failed(machine, USAGE, "image", "upload", str(tmp_path))[0]


def test_an_image_through_a_line_that_drops(host, tmp_path):
    machine = host()
    data = image(size=60_000)
    (tmp_path / "corbel.elf").write_bytes(data)
    with Relay(machine.port, up=relay.cut_after(20_011, 3)) as cable:
        done = run(cable.target, "image", "upload", str(tmp_path / "corbel.elf"), seconds=60)
        assert done.returncode == OK and cable.connections >= 3
        assert stamp_of(data).hex() in done.stdout


# ---- damage ----

@pytest.mark.parametrize("name", ["lose", "double", "flip"])
@pytest.mark.parametrize("way", ["up", "down"])
def test_requests_through_a_line_that_damages(host, name, way):
    """Many frames are damaged; every read comes through within its time."""
    machine = host("".join(vm("vm%d" % n) for n in range(9)))
    damage = getattr(relay, name)(400 if way == "down" else 150)
    with Relay(machine.port, **{way: damage}) as cable:
        for n in range(6):
            done = run(cable.target, "--json", "vm", "list", seconds=40)
            assert done.returncode == OK, done
            assert len(json.loads(done.stdout)["vms"]) == 9


@pytest.mark.parametrize("name", ["lose", "double", "flip"])
def test_files_through_a_line_that_damages(host, tmp_path, name):
    machine = host()
    data = noise(24_000)
    (tmp_path / "up").write_bytes(data)
    with Relay(machine.port, up=getattr(relay, name)(25_000), down=getattr(relay, name)(1500, seed=5)) as cable:
        assert run(cable.target, "cp", str(tmp_path / "up"), ":x", seconds=60).returncode == OK
        assert run(cable.target, "cp", ":x", str(tmp_path / "down"), seconds=120).returncode == OK
    # what corbelctl asked twice may have been answered twice
    machine.smp.take_over()
    assert (tmp_path / "down").read_bytes() == data and download(machine, "x") == data


@pytest.mark.parametrize("count", [3_000, 20_011])
def test_files_through_a_line_that_drops(host, tmp_path, count):
    machine = host()
    data = noise(50_000)
    (tmp_path / "up").write_bytes(data)
    with Relay(machine.port, up=relay.cut_after(count, 3)) as cable:
        done = run(cable.target, "cp", str(tmp_path / "up"), ":x", seconds=60)
        assert done.returncode == OK and "trying again" in done.stderr and cable.connections >= 3
    with Relay(machine.port, down=relay.cut_after(count, 3)) as cable:
        done = run(cable.target, "cp", ":x", str(tmp_path / "down"), seconds=60)
        assert done.returncode == OK and cable.connections >= 3
    assert (tmp_path / "down").read_bytes() == data and download(machine, "x") == data


def test_two_clients_in_turn(host):
    machine = host(vm("a"))
    chance = random.Random(1)
    for n in range(30):
        line = machine.connect()
        line.sendall(bytes([6, 9]) + b"ABQKAAAKAAAqAKFhZGZjb3JiZWzH"[: chance.randrange(28)])
        line.close()
        assert machine.ctl("echo", str(n)) == "%d\n" % n

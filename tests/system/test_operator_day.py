# SPDX-License-Identifier: Apache-2.0
"""One machine's day: owned, given a policy, watched, fed with files, attacked by scripts, cut off, and back.

All of it in one run beside one guest whose timer beats every 2 ms and that is always runnable, so that what
it measures as lateness is what its vcpu waited for the control task. Each request, reply and pushed line is
held against docs/protocol.cddl.
"""
import hashlib
import os

import checked
import conftest
import pytest
import signer
import smp
import stock
import vms
from signer import AUDIT, CHALLENGE, KEYS, LOGOUT, SESSION, WHOAMI
from smp import READ, WRITE
from vms import LATE_MAX

POLICY, EVENTS, STORE, TREE, FILES = 70, 71, 77, 76, 8
APPLY, RUN, GENERATIONS = 3, 4, 6
WHY, SHELL_EXECUTE, FILE_TRANSFER, FILE_STATUS, FILE_HASH = 4, 0, 0, 1, 2
SETTING, VALUE = "host.mem.clear_ahead.4k", 300
BEAT = vms.guest("beat", cmdline="busy", more="autostart = true")
SITE = BEAT + 'set("%s", %d)\nevery(ms(100), function(now) log("the site sees", now.vm.beat.state) end)\n' % (SETTING, VALUE)
# Each has its name as an origin, and what its hook does for ever.
RUNAWAYS = {"in-lua": "while true do pcall(function() while true do end end) end", "in-c": "string.rep('', 1e15)"}
FIRST, LAST, SECOND = (os.urandom(40 * 1024) for _ in range(3))
# What the audit log must say of the day: who, what, on what, before, after.
DEEDS = [("line", "session.enroll", "alice", None, "owner"), ("alice", "session.login", "owner", None, None),
         ("alice", "session.trust", None, "on", "off"), ("script site.lua:2", "settings.set", SETTING, "512", str(VALUE)),
         ("alice", "policy.apply", None, None, None), ("alice", "files.transfer", "uploads/first", None, None),
         ("alice", "policy.run", None, None, None)]
REFUSED = [("line", "os.reset"), ("line", "files.transfer"), ("line", "shell.execute"), ("line", "vm.stop"),
           ("line", "policy.apply"), ("line", "store.delete")]

# What anybody may ask, and of every other group one command that looks and one that acts.
OPEN = [(WRITE, smp.OS, smp.ECHO, {"d": "x"}), (READ, smp.OS, smp.PARAMETERS, {}), (READ, smp.OS, smp.INFO, {}),
        (READ, smp.ENUM, 1, {}), (WRITE, SESSION, CHALLENGE, {})]
CLOSED = [(WRITE, smp.OS, smp.RESET, {}), (READ, 1, 0, {}), (READ, smp.STAT, 1, {}), (READ, 3, 0, {"name": SETTING}),
          (READ, FILES, FILE_STATUS, {"name": "uploads/first"}),
          (WRITE, FILES, FILE_TRANSFER, {"name": "uploads/x", "off": 0, "len": 1, "data": b"x"}),
          (WRITE, smp.SHELL, SHELL_EXECUTE, {"argv": ["vms()"]}), (READ, SESSION, WHOAMI, {}), (READ, SESSION, KEYS, {}),
          (READ, SESSION, AUDIT, {}), (READ, vms.VM, vms.LIST, {}), (WRITE, vms.VM, vms.STOP, {"name": "beat"}),
          (READ, POLICY, GENERATIONS, {}), (WRITE, POLICY, APPLY, {"text": "", "origin": "x"}), (READ, EVENTS, 0, {}),
          (WRITE, EVENTS, 1, {}), (READ, vms.CONSOLE, vms.CONSOLE_READ, {"name": "beat"}), (READ, TREE, 1, {"path": SETTING}),
          (READ, vms.INSPECT, vms.HOST, {}), (READ, STORE, 0, {}), (WRITE, STORE, 2, {"name": "uploads/first"})]


class Day:
    """The machine as it runs now: its clients, and what its guest measured."""

    def __init__(self, machine, **seen):
        self.machine = machine
        machine.log.wait_for(r"\] ready", 120)
        machine.client = self.client = checked.Client(machine.management).connect()
        self.operator, self.stock = machine.operator, stock.Stock(None, self.client)
        self.start = 0
        self.late = {}

    def begin(self):
        self.operator.wait_output("beat", rb"beat: \d{3,} ")
        self.start = self.operator.begin_beats()

    def beats(self, what):
        """Asks the guest, whose console holds all since the last time."""
        first = self.operator.read("beat", **{"from": self.start, "max": 1})
        assert first["next"] == self.start + 1, "the console has lost some of the guest's lines"
        self.late[what] = self.operator.worst_beat(self.start)
        self.start = self.operator.head("beat")
        assert self.late[what] <= LATE_MAX, "beside " + what

    def login(self, key):
        self.stock.connect()
        return signer.login(self.client, key)

    def pushed(self):
        return vms.Pushed(self.client)


def nobody_gets_in(client):
    """Without a login: what is open answers, all else is refused with the one code, and changes nothing."""
    for op, group, command, payload in OPEN:
        client.exchange(op, group, command, payload).map()
    for op, group, command, payload in CLOSED:
        with pytest.raises(smp.SmpError) as error:
            client.exchange(op, group, command, payload).map()
        assert error.value.rc == smp.DENIED, (group, command)


def wait_event(pushed, kind, text):
    """The pushed event of that kind about @text: (kind, VM's name, text)."""
    def search(lines):
        found = [line for line in lines if line[0] == 3 and line[3] == kind and text in line[5] + line[6]]
        return found and found[0]
    return pushed.wait(search, 120)


def link_in_force(client):
    return client.read_request(TREE, WHY, {"path": SETTING})["chain"][0]


def follow_and_apply(day):
    """The policy, with its events both ways: a poll that waits for it, and pushes."""
    pushed = day.pushed()
    head = day.client.write_request(EVENTS, 1, {})["head"]
    day.client.post(READ, EVENTS, 0, {"from": head, "wait": 1900, "kinds": "generation.applied"}, 200)
    day.client.post(WRITE, POLICY, APPLY, {"text": SITE, "origin": "site.lua"}, 201)
    answers = {answer.sequence: answer.map() for answer in (day.client.next_frame(60) for _ in range(2))}
    applied = answers[201]
    assert (applied["generation"], applied["kept"], applied["added"], applied["removed"]) == (1, True, [], [])
    assert applied["settings"] == [{"path": SETTING, "value": str(VALUE)}] and applied["hooks"] == 1
    assert [event["kind"] for event in answers[200]["events"]] == ["generation.applied"]
    wait_event(pushed, "generation.applied", "1")
    day.machine.log.wait_for(r"site\.lua: the site sees running", 60)
    link = link_in_force(day.client)
    assert (link["value"], link["origin"], link["where"]) == (VALUE, "script", "site.lua:2")


def upload_with_a_break(day, alice):
    """The client dies in the middle of a frame; who comes next logs in, asks how much there is, and goes on."""
    half = day.stock.upload("uploads/first", FIRST, stop=len(FIRST) // 2)
    chunk = smp.message(WRITE, FILES, FILE_TRANSFER, {"name": "uploads/first", "off": half, "data": FIRST[half : half + 4096]})
    day.client.send(smp.frame(chunk)[:2000] + b"\n")
    day.login(alice)
    assert day.stock.request(READ, FILES, FILE_STATUS, name="uploads/first") == {"len": half}
    assert day.client.read_request(STORE, 1)["upload"] == {"name": "uploads/first", "off": half, "len": len(FIRST)}
    day.stock.upload("uploads/first", FIRST, start=half)
    is_there(day, FIRST, "uploads/first")


def is_there(day, data, name):
    answer = day.stock.request(READ, FILES, FILE_HASH, name=name, type="sha256")
    assert (answer["len"], answer["output"]) == (len(data), hashlib.sha256(data).digest())
    assert day.stock.download(name) == data


def run_away(day):
    """A hook that never ends: in Lua it is killed until it is quarantined, in a C function its script is abandoned."""
    pushed = day.pushed()
    day.client.write_request(EVENTS, 1, {})
    for name, body in RUNAWAYS.items():
        text = "every(ms(50), function() %s end)" % body
        day.client.write_request(POLICY, RUN, {"text": text, "origin": name})
    wait_event(pushed, "hook.quarantined", "in-lua:1")
    wait_event(pushed, "script.abandoned", "in-c")
    day.client.check_pushed(pushed.start)
    assert not [line for line in pushed.lines() if line[0] == 5], "events were missed"
    states = {s["name"]: s["state"] for s in day.client.read_request(POLICY, 0)["scripts"]}
    assert states["in-c"] == "abandoned" and states["site.lua"] == "ready", states


def cut_power_in_an_upload(day):
    """One file whole and acknowledged, half of another, and the next piece on its way."""
    day.stock.upload("uploads/last", LAST)
    half = day.stock.upload("uploads/second", SECOND, stop=len(SECOND) // 2)
    day.client.post(WRITE, FILES, FILE_TRANSFER, {"name": "uploads/second", "off": half, "data": SECOND[half : half + 4096]})
    day.machine.cut_power()


def audit_tells(client):
    """Both lives of the machine are in the log: what was done, in the order in which it was, and what was refused."""
    entries, at = [], {}
    while at is not None:
        page = client.read_request(SESSION, AUDIT, at)
        entries += page["entries"]
        at = {"from": page["next"]} if "next" in page else None
    done = [tuple(e.get(key) for key in ("who", "what", "on", "before", "after")) for e in entries if "failed" not in e]
    assert [deed for deed in dict.fromkeys(done) if deed in DEEDS] == DEEDS, done
    refused = [(e["who"], e["what"]) for e in entries if "needs a login" in e.get("failed", "")]
    assert refused == REFUSED * 2


def test_a_day(boot, record_property, monkeypatch):
    monkeypatch.setattr(stock, "TIMEOUT", 30)  # an emulator does not keep to the wall's clock
    day = Day(boot(store={"scripts/boot.lua": BEAT, **conftest.guest_files("beat")}, megs=96, keep=True))
    alice = signer.own(day.client)
    day.begin()
    day.client.write_request(SESSION, LOGOUT)
    nobody_gets_in(day.client)
    assert day.login(alice)["name"] == "alice"
    day.beats("logins")
    follow_and_apply(day)
    day.beats("apply and events")
    upload_with_a_break(day, alice)
    day.beats("upload")
    run_away(day)
    day.beats("runaway scripts")
    day.operator.check()
    cut_power_in_an_upload(day)

    # the same disk
    night = Day(boot(disk=day.machine.disk, megs=96, keep=True))
    assert "a login is needed (1 keys are enrolled)" in night.machine.log.text()
    night.machine.log.wait_for(r"generation 1 is in force: site\.lua", 60)
    nobody_gets_in(night.client)
    assert night.login(alice)["name"] == "alice"
    night.begin()
    generations = night.client.read_request(POLICY, GENERATIONS)
    assert (generations["current"], generations["kept"]) == (1, True)
    assert link_in_force(night.client)["where"] == "site.lua:2"
    night.machine.log.wait_for(r"site\.lua: the site sees running", 60)
    is_there(night, FIRST, "uploads/first")
    is_there(night, LAST, "uploads/last")
    names = [f["name"] for f in night.client.read_request(STORE, 0)["files"]]
    assert "uploads/first" in names and "uploads/second" not in names
    audit_tells(night.client)
    night.beats("all that after the cut")
    for what, late in {**day.late, **night.late}.items():
        record_property(what, late)
        print("worst beat beside %s: %d instructions" % (what, late))

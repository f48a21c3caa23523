# SPDX-License-Identifier: Apache-2.0
"""Files and events on the machine itself: a stock client's transfers beside a guest whose timer keeps its beat,
a power cut after one and in the middle of another, and long polls, which an idle machine must wake up to answer.
"""
import hashlib
import os

import conftest
import pytest
import smp
import stock
import vms
from vms import LATE_MAX

stock.TIMEOUT = 30  # an emulator does not keep to the wall's clock
EVENTS, GET = 71, 0
FILES = 8
LONG = os.urandom(48 * 1024)
BEAT = {"scripts/boot.lua": vms.guest("beat", more="autostart = true"), **conftest.guest_files("beat")}


@pytest.fixture
def client(boot):
    """Makes a machine and a stock client on its line, which takes the place of the fixture's own."""
    def start(**more):
        machine = boot(keep=True, **more)
        machine.log.wait_for(r"\] ready", 120)
        return machine, stock.Stock(None, machine.smp).connect()
    return start


def test_transfers_beside_a_beat_and_over_a_power_cut(client, record_property):
    machine, one = client(store=BEAT)
    operator = machine.operator
    operator.wait_output("beat", rb"beat: \d{3,} ")
    start = operator.begin_beats()
    one.upload("uploads/long", LONG)
    assert one.request(stock.READ, FILES, 2, name="uploads/long", type="sha256")["output"] == hashlib.sha256(LONG).digest()
    assert one.download("uploads/long") == LONG
    late = operator.worst_beat(start)
    record_property("late", late)
    print("worst lateness beside the transfers: %d instructions" % late)
    assert late <= LATE_MAX

    # half of another content, and the power goes: the first one stands
    one.request(stock.WRITE, FILES, 0, name="uploads/long", off=0, len=len(LONG), data=b"\0" * 1024)
    machine.cut_power()
    _, one = client(disk=machine.disk)
    assert one.download("uploads/long") == LONG


def test_long_polls_wake_an_idle_machine(client):
    """Nothing runs but the poll: its end comes from the host's timer, an event's answer from the event."""
    machine, _ = client(store=conftest.guest_store("echo"))
    operator = machine.operator
    head = machine.smp.read_request(EVENTS, GET)["head"]
    before = operator.host()["uptime_ns"]
    reply = machine.smp.read_request(EVENTS, GET, {"from": head, "wait": 1500})
    assert (reply["events"], reply["next"]) == ([], head)
    assert operator.host()["uptime_ns"] - before >= 1_500_000_000

    operator.define(vms.guest("a", "echo"))
    head = machine.smp.read_request(EVENTS, GET)["head"]
    machine.smp.post(smp.READ, EVENTS, GET, {"from": head, "wait": 1900, "kinds": "vm.running"}, 200)
    machine.smp.post(smp.WRITE, 65, 2, {"name": "a"}, 201)
    answers = [machine.smp.next_frame(30) for _ in range(2)]
    assert {answer.sequence for answer in answers} == {200, 201}
    polled = next(answer for answer in answers if answer.sequence == 200).map()
    assert [(event["kind"], event["name"]) for event in polled["events"]] == [("vm.running", "a")]

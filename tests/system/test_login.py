# SPDX-License-Identifier: Apache-2.0
"""Owning a machine in the emulator: a key that is enrolled, a power cut, and a line that wants a login from then on.

The signature check runs beside a guest whose timer keeps its beat; with one guest, what the guest
measures as lateness is what its vcpu waited for the control task.
"""
import os

import conftest
import mkdisk
import pytest
import signer
import smp
import vms
from signer import AUDIT, CHALLENGE, ENROLL, LOGIN, LOGOUT, SESSION, TRUST, WHOAMI
from vms import LATE_MAX

READY = rb"\] ready"
LOGINS = 5


def denied(client, op, group, command, payload=None):
    with pytest.raises(smp.SmpError) as error:
        client.exchange(op, group, command, payload).map()
    return error.value.rc == smp.DENIED


def start_again(boot):
    """A machine without programs, with the writable store of the first one."""
    disk = str(boot.directory / "again.img")
    loader, elf = (os.path.join(conftest.BUILD, name) for name in ("sector.bin", "corbel.elf"))
    mkdisk.make_disk(disk, loader, elf, keep=str(boot.directory / "disk0.img"))
    machine = conftest.Machine(disk, workdir=str(boot.directory), megs=96)
    boot.machines.append(machine)
    machine.start()
    machine.log.wait_for(READY, 120)
    return machine


def test_enroll_power_off_login(boot, record_property):
    text = vms.guest("beat", more="autostart = true")
    machine = boot(store={"scripts/boot.lua": text, **conftest.guest_files("beat")}, megs=96, keep=True)
    machine.log.wait_for(READY, 120)
    log = machine.log.text()
    assert "WHOEVER IS AT THE SERIAL LINE OWNS THIS MACHINE: no key is enrolled" in log
    client, alice = machine.smp, signer.Key()
    reply = client.write_request(SESSION, ENROLL, {"name": "alice", "role": "owner", "key": alice.cose})
    assert reply == {"thumbprint": alice.thumbprint, "kept": True}
    challenges = {client.write_request(SESSION, CHALLENGE)["nonce"] for _ in range(4)}
    assert len(challenges) == 4 and bytes(32) not in challenges
    old = signer.answer(client, alice)

    # beside the guest's beat
    operator = machine.operator
    operator.wait_output("beat", rb"beat: \d{3,} ")
    start = operator.begin_beats()
    for _ in range(LOGINS):
        assert signer.login(client, alice)["name"] == "alice"
    late = operator.worst_beat(start)
    record_property("late", late)
    print("worst lateness beside %d logins: %d instructions" % (LOGINS, late))
    assert late <= LATE_MAX

    client.write_request(SESSION, TRUST, {"on": False})
    client.write_request(SESSION, LOGOUT)
    machine.stop()  # the power is gone; what is on the disk stays
    machine = start_again(boot)
    client = machine.smp
    assert "a login is needed (1 keys are enrolled)" in machine.log.text()
    assert client.echo("anybody") == "anybody"
    assert denied(client, smp.READ, 65, 0) and denied(client, smp.READ, SESSION, WHOAMI)
    assert denied(client, smp.WRITE, smp.OS, smp.RESET)
    client.write_request(SESSION, CHALLENGE)
    assert denied(client, smp.WRITE, SESSION, LOGIN, {"message": old})
    while True:  # what failed costs a second
        try:
            signer.login(client, alice)
            break
        except smp.SmpError as error:
            assert error.rc == smp.BUSY, error
    assert client.read_request(65, 0) == {"vms": []}
    entries = client.read_request(SESSION, AUDIT)["entries"]
    brief = [(e["who"], e["what"], e.get("failed", "")) for e in entries]
    assert ("line", "session.enroll", "") in brief and ("alice", "session.trust", "") in brief
    assert ("line", "os.reset", "reset needs a login as operator") in brief
    assert ("line", "session.login", "the answer is to another challenge: each is good once") in brief
    # the machine is left to whoever checks it
    client.write_request(SESSION, TRUST, {"on": True})

# SPDX-License-Identifier: Apache-2.0
"""Login, roles, rights, keys and the audit log over the wire; tests/control/signer.py is the other side."""
import os
import re
import time

import cbor2
import pytest
import smp
from checked import COMMANDS
from conftest import ROOT, vm
from cryptography.hazmat.primitives.asymmetric import ec
from signer import (AUDIT, CHALLENGE, ENROLL, KEYS, LOGIN, LOGOUT, REVOKE, SESSION, TRUST, WHOAMI, Key, answer, enroll,
                    login, own, payload_of)
from smp import OS, READ, SHELL, WRITE
from test_consoles import pushes

VMS, CONSOLES, INSPECT = 65, 72, 74


def roles():
    """{role: {(group, command, op)}} as the table of docs/protocol.md has it."""
    with open(os.path.join(ROOT, "docs", "protocol.md"), encoding="utf-8") as text:
        rows = dict(re.findall(r"^\| (none|observer|operator|owner) \| (group .*) \|$", text.read(), re.M))
    table = {}
    for role, row in rows.items():
        table[role] = set()
        for group, words in re.findall(r"group (\d+): ([^;]*)", row):
            names = {name: number for number, name in COMMANDS[int(group)][1].items()}
            for word in words.split(", "):
                ops = {"reading": [READ], "writing": [WRITE]}.get(word.split(" ")[0], [READ, WRITE])
                table[role] |= {(int(group), names[word.split(" ")[-1]], op) for op in ops}
    return table


ROLES = roles()
OPEN = ROLES["none"]


def refused(client, op, group, command, payload=None):
    """The error's code and sentence; None when the request was not refused."""
    try:
        client.exchange(op, group, command, payload).map()
    except smp.SmpError as error:
        return error.rc, error.text
    return None


def denied(client, op, group, command, payload=None):
    error = refused(client, op, group, command, payload)
    return error is not None and error[0] == smp.DENIED


def every_command():
    for group, (_, commands) in COMMANDS.items():
        for command in commands:
            for op in (READ, WRITE):
                yield group, command, op


def keep(tmp_path):
    return ("--disk", str(tmp_path / "disk"), "--speed", "50")


def shut(machine):
    """Ends it when what it did is in the store: a second of its time later."""
    time.sleep(0.1)
    machine.close()


def test_before_a_login_only_these_answer(host, tmp_path):
    machine = host(vm("a"), options=keep(tmp_path))
    alice = own(machine.smp)
    machine.smp.write_request(SESSION, LOGOUT)
    for group, command, op in every_command():
        error = refused(machine.smp, op, group, command, {})
        if (group, command, op) in OPEN:
            assert error is None or error[0] != smp.DENIED, (group, command, op, error)
        else:
            # an operation that the command does not have is refused with another code
            assert error[0] in (smp.DENIED, smp.NOT_SUPPORTED), (group, command, op, error)
    # standard groups in both versions: the plain code
    for version in (smp.V1, smp.V2):
        reply = cbor2.loads(machine.smp.exchange(WRITE, OS, smp.RESET, {}, version=version).payload)
        assert (reply["rc"], reply["rsn"]) == (smp.DENIED, "reset needs a login as operator")
    login(machine.smp, alice)
    assert machine.smp.read_request(VMS, 0)["vms"]


def test_each_role_ends_where_the_table_says(host, tmp_path):
    """Each command at each role: those of the role and below are not refused, those above are."""
    machine = host(vm("a"), options=keep(tmp_path))
    alice = own(machine.smp)
    keys = {"observer": Key(), "operator": Key(), "owner": alice}
    may, seen = set(OPEN), set()
    for role in ("observer", "operator"):
        enroll(machine.smp, role, role, keys[role])
    for role, key in keys.items():
        may |= ROLES[role]
        for group, command, op in every_command():
            if (group, command, op) in OPEN or (group, command) == (OS, smp.RESET) and role != "observer":
                continue
            login(machine.smp, key)
            # an argument that no command has: nothing happens but the check of the role
            got = refused(machine.smp, op, group, command, {"zz": 1} if group >= 64 else {})
            if got is not None and got[0] == smp.NOT_SUPPORTED:
                continue
            assert (got is None or got[0] != smp.DENIED) == ((group, command, op) in may), (role, group, command, op, got)
            seen.add((group, command))
    assert seen == {(group, command) for group, command, _ in may - OPEN}


def test_an_operator_can_reset_the_machine(host, tmp_path):
    machine = host(options=keep(tmp_path))
    own(machine.smp)
    bob = Key()
    enroll(machine.smp, "bob", "operator", bob)
    login(machine.smp, bob)
    assert machine.smp.write_request(OS, smp.RESET) == {}
    assert machine.process.wait(10) == 42
    machine = host(options=keep(tmp_path))
    assert denied(machine.smp, READ, VMS, 0)
    login(machine.smp, bob)
    machine.smp.read_request(VMS, 0)


def test_whoami_and_trust_say_who_and_why(host, tmp_path):
    machine = host(options=keep(tmp_path))
    owner = "WHOEVER IS AT THE SERIAL LINE OWNS THIS MACHINE: "
    machine.wait_for(owner.encode() + b"no key is enrolled")
    assert machine.smp.read_request(SESSION, WHOAMI) == {"role": "owner", "trust": owner + "no key is enrolled"}
    assert machine.smp.read_request(INSPECT, 0)["trust"] == owner + "no key is enrolled"
    alice = Key()
    assert enroll(machine.smp, "alice", "owner", alice) == {"thumbprint": alice.thumbprint, "kept": True}
    trusted = machine.smp.read_request(SESSION, TRUST)
    assert trusted == {"on": True, "trust": owner + "it is set to trust the line (1 keys are enrolled)"}
    # trust can only be given up by somebody whose key was seen to work
    assert refused(machine.smp, WRITE, SESSION, TRUST, {"on": False}) == (
        smp.BAD_STATE, "log in with an owner's key first: that shows that it works")
    assert login(machine.smp, alice) == {"role": "owner", "name": "alice"}
    assert machine.smp.write_request(SESSION, TRUST, {"on": False}) == {
        "on": False, "trust": "a login is needed (1 keys are enrolled)", "kept": True}
    assert machine.smp.write_request(SESSION, LOGOUT) == {"role": "none"}
    assert denied(machine.smp, READ, SESSION, WHOAMI)
    login(machine.smp, alice)
    machine.smp.write_request(SESSION, TRUST, {"on": True})
    assert machine.smp.write_request(SESSION, LOGOUT) == {"role": "owner"}


def test_trust_takes_what_it_says(host):
    machine = host()
    assert refused(machine.smp, READ, SESSION, TRUST, {"on": True}) == (smp.BAD_VALUE, "on is for writing trust")
    for payload in ({}, {"on": 1}, {"on": "off"}, {"on": None}):
        assert refused(machine.smp, WRITE, SESSION, TRUST, payload) == (
            smp.BAD_VALUE, "trust needs on, which is true or false")


def test_without_a_store_keys_last_until_the_reset(host):
    machine = host(options=("--disk", "none"))
    alice = Key()
    assert enroll(machine.smp, "alice", "owner", alice)["kept"] is False
    login(machine.smp, alice)
    assert machine.smp.write_request(SESSION, TRUST, {"on": False})["kept"] is False


def test_a_restart_needs_a_login_again(host, tmp_path):
    first = host(options=keep(tmp_path))
    alice = own(first.smp)
    identity = first.smp.write_request(SESSION, CHALLENGE)["machine"]
    old = answer(first.smp, alice)
    first.close()
    again = host(options=keep(tmp_path))
    assert b"a login is needed (1 keys are enrolled)" in again.log
    assert again.smp.write_request(SESSION, CHALLENGE)["machine"] == identity
    assert refused(again.smp, WRITE, SESSION, LOGIN, {"message": old}) == (
        smp.DENIED, "the answer is to another challenge: each is good once")


def test_keys_and_log_are_no_files(host, tmp_path):
    machine = host(files={"system/keys": b"of the seed"}, options=keep(tmp_path))
    machine.wait_for(b"nobody can log in, the keys cannot be read")
    machine.close()
    machine = host(options=keep(tmp_path))
    own(machine.smp)
    shown = machine.smp.write_request(SHELL, 0, {"argv": ["files()"]})["o"]
    assert "kernel" in shown and "system" not in shown
    text = vm("a").replace('image = "kernel"', 'image = "system/keys"')
    machine.smp.write_request(VMS, 1, {"text": text})
    assert refused(machine.smp, WRITE, VMS, 2, {"name": "a"})[0] == smp.NO_ENTRY


def test_a_store_that_cannot_be_opened_closes_the_machine(host, tmp_path):
    disk = tmp_path / "disk"
    machine = host(options=keep(tmp_path))
    alice = own(machine.smp)
    machine.close()
    whole = disk.read_bytes()
    disk.write_bytes(b"\xff" * 65536 + whole[65536:])
    machine = host(options=keep(tmp_path))
    machine.wait_for(b"nobody can log in, the keys cannot be read: ")
    assert denied(machine.smp, READ, VMS, 0)
    machine.close()
    machine = host(args="trust=line", options=keep(tmp_path))
    machine.smp.read_request(VMS, 0)
    machine.close()
    disk.write_bytes(whole)
    login(host(options=keep(tmp_path)).smp, alice)


def test_logins_in_every_allowed_form(host, tmp_path):
    machine = host(options=keep(tmp_path))
    alice = own(machine.smp)
    for more in ({}, {"tag": False}, {"unprotected": {33: b"x", "note": 1}},
                 {"protected": cbor2.dumps({1: -7, 3: "application/cbor"})}):
        assert login(machine.smp, alice, **more)["role"] == "owner"
    text = answer(machine.smp, alice).hex()
    assert machine.smp.write_request(SESSION, LOGIN, {"message": text})["name"] == "alice"
    assert machine.smp.write_request(SESSION, LOGIN, {"message": answer(machine.smp, alice).hex().upper()})


def test_forged_stale_and_replayed_logins_are_refused(host, tmp_path):
    machine = host(options=("--disk", str(tmp_path / "disk"), "--speed", "500"))
    alice, mallory = own(machine.smp), Key()
    client = machine.smp
    client.write_request(SESSION, LOGOUT)

    def attempt(message):
        machine_waits(client)
        return refused(client, WRITE, SESSION, LOGIN, {"message": message})

    def machine_waits(client):
        while refused(client, WRITE, SESSION, CHALLENGE, {}) is not None:
            pass

    def fresh():
        machine_waits(client)
        return client.write_request(SESSION, CHALLENGE)

    good = alice.sign1(payload_of(fresh()))
    client.write_request(SESSION, LOGIN, {"message": good})
    client.write_request(SESSION, LOGOUT)
    # machine_waits() opens a challenge, so a replay meets another nonce
    assert attempt(good) == (smp.DENIED, "the answer is to another challenge: each is good once")
    cases = [
        (lambda c: mallory.sign1(payload_of(c)), "no key of that identifier is enrolled"),
        (lambda c: mallory.sign1(payload_of(c), kid=alice.thumbprint), "the signature is wrong"),
        (lambda c: alice.sign1(payload_of(c), aad=b"x"), "the signature is wrong"),
        (lambda c: alice.sign1(payload_of(c), kid=b""), "no key of that identifier is enrolled"),
        (lambda c: alice.sign1(payload_of(c), kid=b"alice"), "no key of that identifier is enrolled"),
        (lambda c: alice.sign1(payload_of(dict(c, machine=bytes(16)))), "the answer is for another machine"),
        (lambda c: alice.sign1(payload_of(dict(c, line="serial2"))), "the answer is for another line than serial"),
        (lambda c: alice.sign1(payload_of(dict(c, protocol="corbel-login-2"))),
         "the answer is for another protocol than corbel-login-1"),
        (lambda c: alice.sign1(payload_of(dict(c, nonce=bytes(32)))),
         "the answer is to another challenge: each is good once"),
        (lambda c: alice.sign1(c["nonce"]), "what was signed is not the answer to a challenge"),
        (lambda c: alice.sign1(payload_of(c) + b"\0"), "what was signed is not the answer to a challenge"),
    ]
    for make, why in cases:
        challenge = fresh()
        assert refused(client, WRITE, SESSION, LOGIN, {"message": make(challenge)}) == (smp.DENIED, why)
        assert denied(client, READ, VMS, 0)
    malformed = [
        (b"", smp.CORRUPT), (b"\xff", smp.CORRUPT), (cbor2.dumps({}), smp.BAD_VALUE), (cbor2.dumps(5), smp.BAD_VALUE),
        (alice.sign1(b"x", protected=cbor2.dumps({1: -8})), smp.NOT_SUPPORTED),
        (alice.sign1(b"x", protected=b""), smp.BAD_VALUE),
        (alice.sign1(b"x", protected=cbor2.dumps({1: -7, 2: [3]})), smp.NOT_SUPPORTED),
    ]
    for message, rc in malformed:
        fresh()
        got = refused(client, WRITE, SESSION, LOGIN, {"message": message})
        assert got[0] == rc, (message, got)
    fresh()
    for bad in ("xyz", "abc", 5, None, ["00"], "00" * 1025):
        assert refused(client, WRITE, SESSION, LOGIN, {"message": bad})[0] == smp.BAD_VALUE
    login(client, alice)
    failures = [e for e in audit(client) if e["what"] == "session.login" and "failed" in e]
    assert sum(e.get("count", 1) for e in failures) == len(cases) + len(malformed) + 1
    assert {e["failed"] for e in failures} >= {why for _, why in cases}


def test_failed_logins_back_off(host, tmp_path):
    machine = host(options=("--disk", str(tmp_path / "disk")))
    own(machine.smp)
    machine.smp.write_request(SESSION, LOGOUT)
    message = answer(machine.smp, Key())
    assert refused(machine.smp, WRITE, SESSION, LOGIN, {"message": message})[0] == smp.DENIED
    for command, payload in ((CHALLENGE, {}), (LOGIN, {"message": message})):
        rc, why = refused(machine.smp, WRITE, SESSION, command, payload)
        assert rc == smp.BUSY and why.startswith("1 logins failed in a row: try again in ")
    # everything else goes on
    assert machine.smp.echo("x") == "x"


def test_a_line_that_drops_ends_the_session(host, tmp_path):
    machine = host(options=keep(tmp_path))
    alice = own(machine.smp)
    machine.smp.write_request(CONSOLES, 2, {"name": "corbel"})
    machine.disconnect()
    machine.wait_for("the session of alice ended: the line dropped")
    assert denied(machine.smp, READ, VMS, 0)
    login(machine.smp, alice)
    consoles = machine.smp.read_request(CONSOLES, 0)["consoles"]
    assert [c["attached"] for c in consoles] == [False]


def test_another_login_takes_the_line(host, tmp_path):
    machine = host(options=keep(tmp_path))
    own(machine.smp)
    bob = Key()
    enroll(machine.smp, "bob", "observer", bob)
    assert login(machine.smp, bob) == {"role": "observer", "name": "bob"}
    assert denied(machine.smp, READ, SESSION, KEYS)
    machine.wait_for("the session of alice ended: another login")


def test_silence_ends_the_session(host, tmp_path):
    machine = host(options=("--disk", str(tmp_path / "disk"), "--speed", "2000"))
    alice = own(machine.smp)
    machine.wait_for("the session of alice ended: idle", seconds=10)
    assert denied(machine.smp, READ, VMS, 0)
    login(machine.smp, alice)


def test_scripts_are_the_owners(host, tmp_path):
    machine = host(options=keep(tmp_path))
    own(machine.smp)
    bob = Key()
    enroll(machine.smp, "bob", "operator", bob)
    login(machine.smp, bob)
    for name in ("/scripts/boot.lua", "scripts/x", "policy.lua", "generations/1"):
        rc, why = refused(machine.smp, WRITE, 8, 0, {"name": name, "off": 0, "len": 1, "data": b"x"})
        assert (rc, why) == (smp.DENIED, "%s is or holds a script: only the owner writes it" % name.lstrip("/"))
    machine.smp.write_request(8, 0, {"name": "/uploads/x", "off": 0, "len": 1, "data": b"x"})
    assert refused(machine.smp, WRITE, 8, 0, {"name": "/system/keys", "off": 0, "len": 1, "data": b"x"})
    assert refused(machine.smp, READ, 8, 0, {"name": "/system/keys", "off": 0})


def test_a_key_may_be_limited_to_vms(host, tmp_path):
    machine = host(vm("a") + vm("b"), options=keep(tmp_path))
    own(machine.smp)
    bob, eve = Key(), Key()
    enroll(machine.smp, "bob", "operator", bob, vms=["a", "later"])
    enroll(machine.smp, "eve", "observer", eve, vms=["b"])
    assert login(machine.smp, bob) == {"role": "operator", "name": "bob", "vms": ["a", "later"]}
    client = machine.smp
    # sees all in lists, acts on its own
    assert [v["name"] for v in client.read_request(VMS, 0)["vms"]] == ["a", "b"]
    client.read_request(INSPECT, 0)
    client.read_request(CONSOLES, 1, {"name": "corbel"})
    client.write_request(VMS, 2, {"name": "a"})
    client.read_request(VMS, 7, {"name": "a"})
    client.read_request(CONSOLES, 1, {"id": 1})
    for target in ({"name": "b"}, {"id": 2}):
        for op, group, command, more in (
                [(WRITE, VMS, n, {}) for n in (2, 3, 4, 5, 6, 8)] + [(READ, VMS, 7, {}), (READ, VMS, 9, {})] +
                [(READ, CONSOLES, 1, {}), (WRITE, CONSOLES, 2, {}), (WRITE, CONSOLES, 3, {}),
                 (WRITE, CONSOLES, 4, {"data": "x"})]):
            assert refused(client, op, group, command, dict(target, **more)) == (
                smp.DENIED, "the key bob has no rights on VM b"), (group, command)
    for group, command, payload, verb in ((OS, smp.RESET, {}, "reset"), (VMS, 1, {"text": vm("c")}, "define")):
        assert refused(client, WRITE, group, command, payload) == (
            smp.DENIED, "%s is not for the key bob, which is limited to VMs" % verb)
    login(client, eve)
    client.read_request(VMS, 7, {"name": "b"})
    assert denied(client, READ, VMS, 7, {"name": "a"})
    client.write_request(CONSOLES, 2, {"name": "b"})


def test_keys_are_listed_enrolled_and_revoked(host, tmp_path):
    machine = host(options=keep(tmp_path))
    alice = own(machine.smp)
    client = machine.smp
    bob = Key()
    client.write_request(SESSION, ENROLL, {"name": "bob", "role": "operator", "key": bob.point.hex(), "vms": ["a"]})
    listed = client.read_request(SESSION, KEYS)["keys"]
    assert [{k: v for k, v in e.items() if k != "added"} for e in listed] == [
        {"name": "alice", "role": "owner", "thumbprint": alice.thumbprint},
        {"name": "bob", "role": "operator", "vms": ["a"], "thumbprint": bob.thumbprint}]
    name = "there is a key called bob already"
    for more, want in [
        ({"name": "bob"}, (smp.BAD_STATE, name)),
        ({"name": "bob2", "key": bob.cose}, (smp.BAD_STATE, "this key is enrolled already, as bob")),
        ({"role": "none"}, (smp.BAD_VALUE, "role takes observer, operator or owner")),
        ({"role": "root"}, (smp.BAD_VALUE, "role takes observer, operator or owner")),
        ({"role": "owner", "vms": ["a"]}, (smp.BAD_VALUE, "an owner cannot be limited to VMs")),
        ({"vms": []}, (smp.BAD_VALUE, "vms takes a list of names, not an empty one")),
        ({"vms": [5]}, (smp.BAD_VALUE, "vms takes names of VMs")),
        ({"vms": ["x" * 32]}, (smp.BAD_VALUE, "vms takes names of VMs")),
        ({"vms": ["x"] * 9}, (smp.NO_MEMORY, "a key can be limited to 8 VMs at most")),
        ({"key": Key().cose[:-1]}, (smp.BAD_VALUE, "the key is neither a COSE_Key nor a point of 65 bytes")),
        ({"key": 5}, (smp.BAD_VALUE, "key takes a byte string, or text in hexadecimal, not integer")),
        ({"key": cbor2.dumps({1: 2, -1: 2, -2: b"x" * 48, -3: b"y" * 48})},
         (smp.NOT_SUPPORTED, "the key is not EC2 (2) on the curve P-256 (1)")),
        ({"key": b"\x04" + bytes(64)}, (smp.BAD_VALUE, "the key is no point on the curve P-256")),
        ({"name": "x" * 32}, (smp.BAD_VALUE, "a key's name has at most 31 characters")),
        ({"name": ""}, None), ({"name": "Bob"}, None), ({"name": "-x"}, None), ({"name": "line"}, None),
        ({"name": "a b"}, None), ({"name": "a\0b"}, None),
    ]:
        payload = dict({"name": "carol", "role": "observer", "key": Key().cose}, **more)
        got = refused(client, WRITE, SESSION, ENROLL, payload)
        assert (got[0] == smp.BAD_VALUE) if want is None else got == want, (more, got)
    for missing in ("name", "role", "key"):
        payload = {"name": "carol", "role": "observer", "key": Key().cose}
        del payload[missing]
        assert refused(client, WRITE, SESSION, ENROLL, payload) == (
            smp.BAD_VALUE, "enroll needs the argument %s" % missing)
    assert len(client.read_request(SESSION, KEYS)["keys"]) == 2
    assert refused(client, WRITE, SESSION, REVOKE, {"name": "carol"}) == (smp.NO_ENTRY, "there is no key called carol")
    assert client.write_request(SESSION, REVOKE, {"name": "bob"}) == {"kept": True}
    assert refused(client, WRITE, SESSION, LOGIN, {"message": answer(client, bob)})[1] == \
        "no key of that identifier is enrolled"


def test_the_last_owner_stays(host, tmp_path):
    machine = host(options=keep(tmp_path))
    own(machine.smp)
    client = machine.smp
    assert refused(client, WRITE, SESSION, REVOKE, {"name": "alice"}) == (
        smp.BAD_STATE,
        "alice is the last owner's key and the line is not trusted: nobody could log in as owner any more")
    second = Key()
    enroll(client, "second", "owner", second)
    client.write_request(SESSION, REVOKE, {"name": "alice"})
    # that was the session's own key
    assert denied(client, READ, SESSION, WHOAMI)
    login(client, second)
    assert denied(client, WRITE, SESSION, REVOKE, {"name": "second"}) is False
    client.write_request(SESSION, TRUST, {"on": True})
    client.write_request(SESSION, REVOKE, {"name": "second"})
    assert client.read_request(SESSION, WHOAMI)["role"] == "owner"


def test_32_keys_and_no_more(host, tmp_path):
    machine = host(options=keep(tmp_path))
    client = machine.smp
    vms = ["vm-%025d" % n for n in range(8)]
    for n in range(32):
        enroll(client, "key-%027d" % n, "operator", Key(), vms=vms)
    assert refused(client, WRITE, SESSION, ENROLL, {"name": "more", "role": "owner", "key": Key().cose}) == (
        smp.NO_MEMORY, "there are 32 keys already, which is all this version has")
    machine.close()
    client = host(options=keep(tmp_path)).smp
    names, after, pages = [], {}, 0
    while True:
        page = client.read_request(SESSION, KEYS, after)
        names += [k["name"] for k in page["keys"]]
        pages += 1
        if "next" not in page:
            break
        after = {"after": page["next"]}
    assert names == ["key-%027d" % n for n in range(32)] and pages > 1
    assert client.read_request(SESSION, KEYS, {"after": 1000}) == {"keys": []}


def test_a_key_for_another_curve_cannot_be_enrolled(host):
    machine = host()
    other = Key(ec.SECP384R1())
    rc, _ = refused(machine.smp, WRITE, SESSION, ENROLL, {"name": "x", "role": "owner", "key": other.point})
    assert rc == smp.BAD_VALUE


# ---- the audit log

def audit(client, **more):
    entries, request = [], dict(more)
    while True:
        page = client.read_request(SESSION, AUDIT, request)
        entries += page["entries"]
        if "next" not in page:
            return entries
        request = dict(more, **{"from": page["next"]})


def brief(entries):
    return [tuple(e.get(k, "") for k in ("who", "what", "on", "before", "after", "failed")) for e in entries]


@pytest.mark.parametrize("wall", [1_700_000_000, 0], ids=["calendar", "none"])
def test_times_of_the_audit_log_are_those_of_events(host, wall):
    """One change, seen in both: the same two times, wherever they are read."""
    machine = host(vm("a"), options=("--wall", str(wall)))
    client = machine.smp
    client.write_request(71, 1, {})
    before = client.read_request(71, 0, {"last": 1})["now_ns"]
    client.write_request(VMS, 2, {"name": "a"})
    reply = client.read_request(71, 0, {"from": 0, "kinds": ["vm.running"]})
    entry, event = audit(client)[-1], reply["events"][-1]
    assert entry["what"] == "vm.start" and before < entry["time_ns"] and "uptime_ns" not in entry
    assert before < event["time_ns"] <= reply["now_ns"]
    assert abs(event["time_ns"] - entry["time_ns"]) < 2_000_000_000
    machine.smp.wait_until(lambda: any(p[3:4] == ["vm.running"] for p in pushes(machine)), 5)
    pushed = [p for p in pushes(machine) if p[0] == 3 and p[3] == "vm.running"][-1]
    if wall:
        for seen in (entry, event):
            assert abs(seen["time"] - wall - seen["time_ns"] // 1_000_000_000) <= 1
        assert pushed[8] == event["time"]
        # the same two columns in front of both lists
        columns = r"2023-11-14T22:1\d:\d\dZ +\d+\.\d{3}  "
        assert re.search("(?m)^" + columns + r"vm\.running a$", machine.ctl("events"))
        assert re.search(r"(?m)^ +\d+  " + columns + r"line +vm\.start +a$", machine.ctl("audit"))
    else:
        assert "time" not in entry and "time" not in event and pushed[8] == 0


def test_who_did_what(host, tmp_path):
    machine = host(vm("a") + vm("b"), options=keep(tmp_path))
    client = machine.smp
    client.write_request(VMS, 2, {"id": 2})
    own(client)
    bob = Key()
    enroll(client, "bob", "operator", bob, vms=["a"])
    login(client, bob)
    client.write_request(VMS, 2, {"name": "a"})
    client.write_request(CONSOLES, 4, {"name": "a", "data": "secret"})
    denied(client, WRITE, VMS, 3, {"name": "b"})
    denied(client, WRITE, SESSION, REVOKE, {"name": "alice"})
    refused(client, WRITE, VMS, 2, {"name": "a"})     # runs already: nothing changed, nothing noted
    client.write_request(OS, smp.ECHO, {"d": "x"})
    client.read_request(VMS, 0)
    client.write_request(SESSION, LOGOUT)
    denied(client, WRITE, OS, smp.RESET)
    machine.smp.write_request(SESSION, CHALLENGE)
    message = answer(client, Key())
    refused(client, WRITE, SESSION, LOGIN, {"message": message})
    shut(machine)
    client = host(vm("a"), args="trust=line", options=keep(tmp_path)).smp
    client.write_request(SHELL, 0, {"argv": ["start", '"a"']})
    entries = audit(client)
    assert brief(entries) == [
        ("line", "vm.start", "b", "", "", ""),
        ("line", "session.enroll", "alice", "", "owner", ""),
        ("alice", "session.login", "owner", "", "", ""),
        ("alice", "session.trust", "", "on", "off", ""),
        ("alice", "session.enroll", "bob", "", "operator", ""),
        ("alice", "session.end", "", "", "", "another login"),
        ("bob", "session.login", "operator", "", "", ""),
        ("bob", "vm.start", "a", "", "", ""),
        ("bob", "console.input", "a", "", "", ""),
        ("bob", "vm.stop", "b", "", "", "the key bob has no rights on VM b"),
        ("bob", "session.revoke", "", "", "", "revoke needs the role owner, this session is operator"),
        ("bob", "session.end", "", "", "", "logout"),
        ("line", "os.reset", "", "", "", "reset needs a login as operator"),
        ("line", "session.login", "", "", "", "no key of that identifier is enrolled"),
        ("script lua", "vm.start", "a", "", "", ""),
        ("line", "shell.execute", 'start "a"', "", "", ""),
    ]
    assert [e["seq"] for e in entries] == sorted(e["seq"] for e in entries)
    assert b"secret" not in b"".join(cbor2.dumps(e) for e in entries)


def test_settings_have_before_and_after(host, tmp_path):
    script = vm("a") + vm("b") + "every(ms(20), function() set('vm.a.mem.size', MiB(2 + math.random(9))) end)\n"
    machine = host(script, options=keep(tmp_path))
    client = machine.smp
    own(client)
    client.write_request(76, 2, {"path": "vm.b.mem.size", "value": 4 << 20})
    client.write_request(3, 0, {"name": "vm.b.mem.size", "val": str(6 << 20).encode()})
    client.write_request(76, 3, {"path": "vm.b.mem.size"})
    client.write_request(SHELL, 0, {"argv": ['set("vm.b.mem.size", MiB(8))']})
    bob = Key()
    enroll(client, "bob", "operator", bob, vms=["b"])
    login(client, bob)
    client.write_request(76, 2, {"path": "vm.b.mem.size", "value": 10 << 20})
    why = "vm.a.mem.size: the key bob has no rights on it"
    assert refused(client, WRITE, 76, 2, {"path": "vm.a.mem.size", "value": 10 << 20}) == (smp.DENIED, why)
    assert refused(client, WRITE, 3, 0, {"name": "vm.a.mem.size", "val": str(8 << 20).encode()}) == (smp.DENIED, why)
    for group, command, payload in ((76, 3, {"path": "vm.a.mem.size"}), (3, 1, {"name": "vm.a.mem.size"})):
        assert refused(client, WRITE, group, command, payload) == (smp.DENIED, "the key bob has no rights on it")
    client.read_request(76, 1, {"path": "vm.a.mem.size"})
    client.write_request(SESSION, LOGOUT)
    shut(machine)
    entries = audit(host(args="trust=line", options=keep(tmp_path)).smp)
    settings = [e for e in brief(entries) if "mem.size" in e[2] and not e[0].startswith("script") and not e[5]]
    assert settings == [
        ("alice", "tree.set", "vm.b.mem.size", str(2 << 20), str(4 << 20), ""),
        ("alice", "settings.access", "vm.b.mem.size", str(4 << 20), str(6 << 20), ""),
        ("alice", "tree.unset", "vm.b.mem.size", str(6 << 20), str(2 << 20), ""),
        ("alice", "settings.set", "vm.b.mem.size", str(2 << 20), str(8 << 20), ""),
        ("alice", "shell.execute", 'set("vm.b.mem.size", MiB(8))', "", "", ""),
        ("bob", "tree.set", "vm.b.mem.size", str(8 << 20), str(10 << 20), ""),
    ]
    # what a busy policy sets over and over is one entry
    scripts = [e for e in brief(entries) if e[0].startswith("script")]
    assert len(scripts) == 1 and scripts[0][:3] == ("script boot.lua:3", "settings.set", "vm.a.mem.size")


def test_the_same_again_is_counted(host):
    machine = host(vm("a", "echo", more="autostart = true"))
    for _ in range(40):
        machine.smp.write_request(CONSOLES, 4, {"name": "a", "data": "x"})
    last = audit(machine.smp)[-1]
    assert (last["what"], last["count"]) == ("console.input", 40)


def test_the_log_is_bounded_and_read_by_pages(host, tmp_path):
    """More changes than are kept: the newest are there, in the store and in memory, without a gap."""
    machine = host(vm("a") + vm("b"), options=keep(tmp_path))
    client = machine.smp
    for n in range(300):
        for name in ("a", "b"):
            client.write_request(VMS, 2 if n % 2 == 0 else 3, {"name": name})
    entries = audit(client)
    assert len(entries) == 600
    assert [e["seq"] for e in entries] == list(range(600))
    assert [e["on"] for e in entries] == ["a", "b"] * 300
    some = client.read_request(SESSION, AUDIT, {"from": 250, "max": 7})
    assert [e["seq"] for e in some["entries"]] == list(range(250, 257)) and some["next"] == 257
    for n in range(300):
        for name in ("a", "b"):
            client.write_request(VMS, 2 if n % 2 == 0 else 3, {"name": name})
    time.sleep(0.1)  # what is to be written is
    page = client.read_request(SESSION, AUDIT, {})
    assert page["head"] == 1200 and page["oldest"] > 0
    entries = audit(client)
    assert [e["seq"] for e in entries] == list(range(page["oldest"], 1200))
    assert 1000 <= len(entries) <= 1024 + 32
    shut(machine)
    client = host(options=keep(tmp_path)).smp
    after = audit(client)
    assert [e["seq"] for e in after] == [e["seq"] for e in entries]
    assert client.read_request(SESSION, AUDIT, {"from": 5000})["entries"] == []


def test_without_a_store_the_log_is_in_memory(host):
    machine = host(vm("a") + vm("b"), options=("--disk", "none"))
    client = machine.smp
    for n in range(100):
        for name in ("a", "b"):
            client.write_request(VMS, 2 if n % 2 == 0 else 3, {"name": name})
    entries = audit(client)
    assert [e["seq"] for e in entries] == list(range(200 - 128, 200))
    assert client.read_request(SESSION, AUDIT, {"from": 0})["entries"][0]["seq"] == 72
    assert refused(client, READ, SESSION, AUDIT, {"max": 0})[0] == smp.BAD_VALUE


def test_fields_missing_doubled_and_of_wrong_types(host):
    """Each command of the group with each argument of each wrong type: a named error, and the machine carries on."""
    machine = host()
    arguments = {LOGIN: ["message"], KEYS: ["after"], ENROLL: ["name", "role", "key", "vms"], REVOKE: ["name"],
                 TRUST: ["on"], AUDIT: ["from", "max"]}
    values = [None, -1, 1.5, 1 << 64, "", b"", [], {}, [[]], cbor2.CBORTag(18, 5), True]
    for command in range(9):
        for op in (READ, WRITE):
            for name in arguments.get(command, []) + ["nosuch"]:
                for value in values:
                    got = refused(machine.smp, op, SESSION, command, {name: value})
                    assert got is None or (got[0] in (smp.BAD_VALUE, smp.NOT_SUPPORTED, smp.NO_ENTRY, smp.CORRUPT,
                                                      smp.BAD_STATE, smp.DENIED, smp.BUSY) and got[1]), (command, name, value)
                encoded = cbor2.dumps(name) + b"\x00"
                assert refused(machine.smp, op, SESSION, command, b"\xa2" + encoded + encoded) is not None
    assert machine.smp.echo("x") == "x"


@pytest.mark.parametrize("nodes", [1, 1000])
def test_deep_and_endless_messages(host, nodes):
    machine = host()
    deep = b"\x81" * nodes + b"\x00"
    assert refused(machine.smp, WRITE, SESSION, LOGIN, {"message": deep})[0] in (smp.DENIED, smp.BAD_VALUE)

# SPDX-License-Identifier: Apache-2.0
"""corbelctl's login: keys as openssl and keygen write them, owning a machine and losing it, exit statuses."""
import json
import os
import re
import stat
import subprocess

import pytest
import relay
from conftest import CORBELCTL, vm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from relay import Relay
from signer import Key

OK, REFUSED, USAGE, UNREACHABLE, DENIED = range(5)


def run(*words):
    return subprocess.run([CORBELCTL, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          stdin=subprocess.DEVNULL, timeout=20)


def options(tmp_path):
    return ("--disk", str(tmp_path / "disk"), "--speed", "50")


@pytest.fixture
def key(tmp_path):
    path = str(tmp_path / "alice.pem")
    assert run("keygen", path).returncode == OK
    return path


def test_keygen(tmp_path):
    path = str(tmp_path / "key.pem")
    done = run("keygen", path)
    assert (done.returncode, done.stderr) == (OK, "")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with open(path, "rb") as f:
        private = serialization.load_pem_private_key(f.read(), None)
    made = Key()
    numbers = private.public_key().public_numbers()
    made.x, made.y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
    assert done.stdout == "thumbprint %s\n" % made.thumbprint.hex()
    again = run("keygen", path)
    assert again.returncode == USAGE and "File exists" in again.stderr
    assert run("keygen").returncode == USAGE
    other = run("--json", "keygen", str(tmp_path / "other.pem"))
    assert re.fullmatch(r'\{"thumbprint": "[0-9a-f]{64}"\}\n', other.stdout)


def test_owning_a_machine(host, tmp_path, key):
    """From a machine that is anybody's to one that needs a login, through a reset, and back."""
    machine = host(vm("a"), options=options(tmp_path))
    assert "OWNS THIS MACHINE: no key is enrolled" in machine.ctl("whoami")
    assert "kept" in machine.ctl("key", "add", "alice", "owner", key)
    refused = machine.ctl_run("trust", "off")
    assert refused.returncode == REFUSED and "log in with an owner's key first" in refused.stderr
    assert "a login is needed" in machine.ctl("--key", key, "trust", "off")
    denied = machine.ctl_run("vm", "list")
    assert denied.returncode == DENIED and "list needs a login as observer" in denied.stderr
    assert machine.ctl_run("--json", "vm", "list").stdout.startswith('{"error": "list needs a login as observer", "rc": 11}') or \
        "rc\": 11" in machine.ctl_run("--json", "vm", "list").stdout
    assert machine.ctl("echo", "x") == "x\n"
    assert "a " in machine.ctl("--key", key, "vm", "list")
    machine.ctl("start", "a", env={"CORBEL_KEY": key})
    machine.close()
    again = host(vm("a"), options=options(tmp_path))
    assert again.ctl_run("info").returncode == DENIED
    assert "a login is needed" in again.ctl("--key", key, "info")
    last = again.ctl_run("--key", key, "key", "remove", "alice")
    assert last.returncode == REFUSED and "the last owner's key" in last.stderr
    again.ctl("--key", key, "trust", "on")
    again.ctl("key", "remove", "alice")
    assert "no key is enrolled" in again.ctl("whoami")


def test_a_session_at_the_prompt(host, tmp_path, key):
    machine = host(vm("a"), options=options(tmp_path))
    machine.ctl("key", "add", "alice", "owner", key)
    machine.ctl("--key", key, "trust", "off")
    done = machine.ctl_run(input="whoami\nlogin %s\nwhoami\nlogout\nwhoami\n" % key)
    assert done.stderr.count("whoami needs a login as observer") == 2
    assert done.stdout.count("alice") == 2  # login's reply and whoami's


@pytest.mark.parametrize("form", ["ecparam", "genpkey", "protected"])
def test_keys_that_openssl_made(host, tmp_path, form):
    path = str(tmp_path / "key.pem")
    if form == "ecparam":
        subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-out", path], check=True)
    elif form == "genpkey":
        subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path],
                       check=True, stderr=subprocess.DEVNULL)
    else:
        with open(path, "wb") as f:
            f.write(Key().pem(password=b"sesame"))
    public = str(tmp_path / "public.pem")
    extra = ["-passin", "pass:sesame"] if form == "protected" else []
    subprocess.run(["openssl", "pkey", "-in", path, "-pubout", "-out", public, *extra], check=True)
    machine = host(options=options(tmp_path))
    machine.ctl("key", "add", "k", "operator", public)
    done = machine.ctl_run("--key", path, "whoami")
    if form == "protected":  # nobody is there to type it
        assert done.returncode == USAGE and "holds no key that can be read" in done.stderr
    else:
        assert done.returncode == OK and "operator" in done.stdout


def test_wrong_keys(host, tmp_path, key):
    machine = host(options=options(tmp_path))
    machine.ctl("key", "add", "alice", "owner", key)
    machine.ctl("--key", key, "trust", "off")
    other = str(tmp_path / "other.pem")
    run("keygen", other)
    for words in (("--key", other, "vm", "list"), ("login", other)):
        done = machine.ctl_run(*words)
        assert done.returncode in (DENIED, REFUSED) and ("no key of that identifier is enrolled" in done.stderr or
                                                         "try again in" in done.stderr)
    assert machine.ctl_run("--key", str(tmp_path / "none"), "vm", "list").returncode == USAGE
    wrong = tmp_path / "wrong.pem"
    wrong.write_bytes(Key(ec.SECP384R1()).pem())
    done = machine.ctl_run("--key", str(wrong), "vm", "list")
    assert done.returncode == USAGE and "not a key on the curve P-256" in done.stderr
    wrong.write_text("nonsense\n")
    assert machine.ctl_run("login", str(wrong)).returncode == USAGE
    assert machine.ctl_run("--key").returncode == USAGE


def test_keys_and_audit_as_tables_and_json(host, tmp_path, key):
    machine = host(vm("a") + vm("b"), options=options(tmp_path))
    machine.ctl("key", "add", "alice", "owner", key)
    bob = Key()
    path = tmp_path / "bob.pem"
    path.write_bytes(bob.pem())
    machine.ctl("key", "add", "bob", "operator", str(path), "a", "later")
    table = machine.ctl("key", "list").splitlines()
    assert table[0].split() == ["name", "role", "thumbprint", "VMs"]
    assert table[2].split() == ["bob", "operator", bob.thumbprint[:8].hex(), "a", "later"]
    rows = [json.loads(line) for line in machine.ctl("--json", "key", "list").splitlines()]
    assert [r["name"] for r in rows] == ["alice", "bob"] and rows[1]["vms"] == ["a", "later"]
    machine.ctl("--key", str(path), "start", "a")
    denied = machine.ctl_run("--key", str(path), "start", "b")
    assert denied.returncode == DENIED and "the key bob has no rights on VM b" in denied.stderr
    machine.ctl("set", "vm.b.mem.size", "4MiB")
    log = machine.ctl("audit")
    assert re.search(r"bob +vm\.start +a\n", log)
    assert re.search(r"bob +vm\.start +b  REFUSED: the key bob has no rights on VM b\n", log)
    assert re.search(r"line +tree\.set +vm\.b\.mem\.size  was 2097152  now 4194304\n", log)
    entries = [json.loads(line) for line in machine.ctl("--json", "audit").splitlines()]
    assert [e["seq"] for e in entries] == list(range(len(entries)))
    assert len(machine.ctl("audit", "5").splitlines()) == len(entries) - 5


def test_usage(host):
    machine = host()
    for words in (("key", "add", "x", "owner"), ("key", "remove"), ("trust", "maybe"), ("login",), ("key", "list2")):
        assert machine.ctl_run(*words).returncode == USAGE, words


def test_a_login_outlives_a_dropped_line(host, tmp_path, key):
    """An upload goes on after the line dropped, though the machine then wants a login again."""
    machine = host(vm("a"), options=options(tmp_path))
    machine.ctl("key", "add", "alice", "owner", key)
    machine.ctl("--key", key, "trust", "off")
    source = str(tmp_path / "long")
    with open(source, "wb") as f:
        f.write(os.urandom(60_000))
    with Relay(machine.port, up=relay.cut_after(20_000)) as cable:
        done = run("-t", cable.target, "--key", key, "cp", source, ":uploads/long")
    assert done.returncode == OK, done
    assert "answers again" in done.stderr
    machine.wait_for("the session of alice ended: the line dropped")
    assert "60000" in machine.ctl("--json", "--key", key, "ls", "uploads/")

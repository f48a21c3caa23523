# SPDX-License-Identifier: Apache-2.0
"""corbelctl: get, set, unset, why, stats, top, metrics and the exporter."""
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import time

import prometheus_client.parser
import pytest
from conftest import BUILD, CORBELCTL, vm
from relay import Relay
from signer import Key, enroll, login

PROMTOOL = os.path.join(os.environ.get("CORBEL_DEPS", os.path.join(BUILD, "deps")), "bin/promtool")
OK, REFUSED, USAGE, UNREACHABLE = range(4)


def failed(machine, status, *words):
    done = machine.ctl_run(*words)
    assert (done.returncode, done.stdout) == (status, ""), done
    return done.stderr.strip().removeprefix("corbelctl: ")


@pytest.fixture
def machine(host):
    return host(vm("alpha", "echo", more="autostart = true") + vm("beta"))


# ---- get, set, unset, why, stats ----

def test_get(machine):
    assert machine.ctl("get", "vm.alpha.mem.size") == "2 MiB\n"
    assert machine.ctl("get", "vm.beta.state") == "defined\n"
    lines = machine.ctl("get", "vm.beta.mem").splitlines()
    paths = [line.split()[0] for line in lines]
    assert paths[:2] == ["vm.beta.mem.present", "vm.beta.mem.overhead"]
    assert paths[-3:] == ["vm.beta.mem.size", "vm.beta.mem.reservation", "vm.beta.mem.balloon"]
    assert all(path.startswith("vm.beta.mem.") for path in paths) and "vm.beta.mem.guest.free" in paths
    assert lines[-3].endswith("  2 MiB  [script]")
    everything = machine.ctl("get").splitlines()
    assert len(everything) > 100 and any(line.startswith("control.frames ") for line in everything)
    changed = machine.ctl("get", "--changed", "vm.beta").splitlines()
    assert [line.split()[0] for line in changed] == ["vm.beta.mem.size", "vm.beta.on_reset", "vm.beta.debug_exit"]
    assert json.loads(machine.ctl("--json", "get", "vm.beta.on_reset")) == \
        {"items": [{"path": "vm.beta.on_reset", "value": "stop", "origin": "script"}]}
    assert len(json.loads(machine.ctl("--json", "get"))["items"]) == len(everything)
    assert json.loads(machine.ctl("--json", "get", "--changed", "host.mem.free")) == {"items": []}
    assert failed(machine, REFUSED, "get", "vm.alpha.mem.sise") == \
        "there is no vm.alpha.mem.sise; did you mean vm.alpha.mem.size?"
    assert failed(machine, USAGE, "get", "a", "b") == "usage: get [--changed] [PATH]"
    assert failed(machine, USAGE, "get", "--frob") == "usage: get [--changed] [PATH]"


def test_set_why_unset(machine):
    assert machine.ctl("set", "log.level", "debug", "--for", "10min", "--why", "a look") == "log.level = debug\n"
    assert machine.ctl("set", "log.level", "warn") == \
        "log.level = debug (an override is above it, see: why log.level)\n"
    lines = machine.ctl("why", "log.level").splitlines()
    assert lines[0] == "log.level = debug" and lines[2:] == ["  operator  warn", "  default   info"]
    assert re.fullmatch(r"  override  debug, for (59\d|600) s more, by the operator: a look", lines[1])
    assert machine.ctl("unset", "log.level") == "log.level = info\n"
    assert machine.ctl("set", "vm.alpha.mem.size", "4 MiB") == \
        "vm.alpha.mem.size = 2 MiB, and from the next start on 4 MiB\n"
    assert machine.ctl("get", "vm.alpha.mem.size") == "2 MiB  (from the next start on: 4 MiB)\n"
    assert machine.ctl("why", "vm.beta.mem.size") == "vm.beta.mem.size = 2 MiB\n  script    2 MiB, boot.lua:2\n"
    reply = json.loads(machine.ctl("--json", "set", "vm.beta.acpi", "false"))
    assert reply == {"path": "vm.beta.acpi", "value": False, "origin": "operator"}
    reply = json.loads(machine.ctl("--json", "why", "vm.beta.acpi"))
    assert reply["chain"] == [{"origin": "operator", "value": False}, {"origin": "default", "value": True}]


@pytest.mark.parametrize("words,status,sentence", [
    (["set", "log.level"], USAGE, "usage: set PATH VALUE [--for TIME] [--why TEXT]"),
    (["set", "log.level", "--why", "x"], USAGE, "usage: set PATH VALUE [--for TIME] [--why TEXT]"),
    (["set", "log.level", "warn", "error"], USAGE, "usage: set PATH VALUE [--for TIME] [--why TEXT]"),
    (["set", "log.level", "warn", "--for"], USAGE, "--for needs a value"),
    (["set", "log.level", "warn", "--for", "60"], USAGE, "--for takes a time such as 60s or 5min, not 60"),
    (["set", "log.level", "warn", "--for", "soon"], USAGE, "--for takes a time such as 60s or 5min, not soon"),
    (["set", "log.level", "warn", "--for", "0s"], USAGE, "--for takes a time such as 60s or 5min, not 0s"),
    (["set", "log.level", "loud"], REFUSED, "log.level: it takes error, warn, info or debug"),
    (["set", "vm.beta.pin", "1"], REFUSED,
     "there is no vm.beta.pin; it is called cpu.affinity"),
    (["set", "host.mem.free", "1"], REFUSED, "host.mem.free is a counter, not a setting"),
    (["unset"], USAGE, "usage: unset PATH"),
    (["why", "host.mem.free"], REFUSED, "host.mem.free is a counter, not a setting"),
    (["stats", "vm"], REFUSED, "there is no group of counters called vm"),
    (["top", "0"], USAGE, "top takes seconds, from 0.1 to 3600, not 0"),
    (["top", "soon"], USAGE, "top takes seconds, from 0.1 to 3600, not soon"),
    (["exporter", "65536"], USAGE, "a port is a number up to 65535, not 65536"),
    (["exporter", "-1"], USAGE, "a port is a number up to 65535, not -1"),
    (["exporter", "0", "soon"], USAGE, "an age is a number of seconds up to 3600, not soon"),
])
def test_refusals(machine, words, status, sentence):
    assert failed(machine, status, *words) == sentence


def test_save(machine):
    machine.ctl("set", "log.level", "debug")
    assert machine.ctl("save") == "" and machine.ctl("--json", "save", "log") == "{}\n"
    assert failed(machine, REFUSED, "save", "lag") == "there is no setting below lag"


def test_stats(machine):
    assert {"host", "host.mem", "vm.alpha", "line"} <= set(machine.ctl("stats").split())
    fields = dict(line.split() for line in machine.ctl("stats", "vm.beta").splitlines())
    assert fields["starts"] == "0" and fields["exits_by_kind.hlt"] == "0"
    assert json.loads(machine.ctl("--json", "stats", "host"))["fields"]["vms.defined"] == 1
    assert "stat_list" in json.loads(machine.ctl("--json", "stats"))


# ---- metrics ----

def check_metrics(text):
    """Parsed by Prometheus' own Python library, and by promtool; {name: {labels: value}}."""
    families = list(prometheus_client.parser.text_string_to_metric_families(text))
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, text=True, capture_output=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, ""), done
    found, seen = {}, set()
    for family in families:
        assert family.documentation and family.type in ("counter", "gauge", "histogram"), family
        assert family.name not in seen, "the samples of %s do not stand together" % family.name
        seen.add(family.name)
        for sample in family.samples:
            assert re.fullmatch(r"corbel_[a-z0-9_]+", sample.name)
            assert (family.type == "counter") == sample.name.endswith("_total")
            labels = tuple(sorted(sample.labels.items()))
            values = found.setdefault(sample.name, {})
            assert labels not in values
            values[labels] = sample.value
    assert text.endswith("\n") and len(re.findall("^# HELP", text, re.M)) == len(re.findall("^# TYPE", text, re.M))
    return found


def test_wake_latency_is_a_histogram(machine):
    """The parsers have looked at its form; here, that it is the counters' content."""
    found = check_metrics(machine.ctl("metrics"))
    name, alpha = "corbel_vm_cpu_wake_latency_seconds", ("vm", "alpha")
    buckets = sorted((float(dict(k)["le"]), v) for k, v in found[name + "_bucket"].items() if alpha in k)
    counts = [v for _, v in buckets]
    assert counts == sorted(counts) and buckets[-1][0] == float("inf")
    assert counts[-1] == found[name + "_count"][(alpha,)] > 0
    assert found[name + "_sum"][(alpha,)] == found["corbel_vm_cpu_wake_time_seconds_total"][(alpha,)]
    bounds = [b for b, _ in buckets]
    assert len(set(bounds)) == len(bounds) > 20
    # the sum is within what the buckets say
    low = sum(n * b for n, b in zip((b - a for a, b in zip([0, *counts], counts)), [0, *bounds]))
    assert found[name + "_sum"][(alpha,)] >= low


def test_metrics(machine):
    found = check_metrics(machine.ctl("metrics"))
    assert found["corbel_host_mem_free_bytes"][()] > 0
    assert found["corbel_vm_state"][(("state", "running"), ("vm", "alpha"))] == 1
    assert found["corbel_vm_state"][(("state", "running"), ("vm", "beta"))] == 0
    assert sum(found["corbel_vm_state"].values()) == 2
    assert found["corbel_vm_cpu_used_seconds_total"][(("vm", "alpha"),)] > 0
    assert found["corbel_vm_cpu_used_seconds_total"][(("vm", "beta"),)] == 0
    by_kind = found["corbel_vm_exits_by_kind_total"]
    assert by_kind[(("kind", "port access"), ("vm", "alpha"))] > 0
    assert sum(v for k, v in by_kind.items() if ("vm", "alpha") in k) == \
        found["corbel_vm_exits_total"][(("vm", "alpha"),)]
    assert found["corbel_line_received_bytes_total"] == {(): 0}
    declared = json.loads(machine.ctl("--json", "stats"))["stat_list"]
    assert len(found) > len(declared)
    assert check_metrics(json.loads(machine.ctl("--json", "metrics"))["metrics"]).keys() == found.keys()


@contextlib.contextmanager
def exporter(machine, *words, key=None, target=None):
    machine.disconnect()
    options = ["--timeout", "2", *(["--key", str(key)] if key else [])]
    target = target or "127.0.0.1:%d" % machine.port
    process = subprocess.Popen([CORBELCTL, "-t", target, *options, "exporter", *words],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        yield process, int(re.fullmatch(r"serving http://127\.0\.0\.1:(\d+)/metrics\n", line)[1])
    finally:
        process.kill()
        process.wait()


def http(port, request):
    """(status, headers, body)"""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(request.encode())
        data = b""
        while piece := line.recv(65536):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    status, *headers = head.decode().split("\r\n")
    return status, dict(h.split(": ", 1) for h in headers), body.decode()


SCRAPE = "GET /metrics HTTP/1.1\r\n\r\n"


def test_the_line_is_free_between_scrapes(machine):
    with exporter(machine, "0", "4") as (process, port):
        assert json.loads(machine.ctl("--json", "vm", "list"))["vms"]
        body = http(port, SCRAPE)[2]
        assert check_metrics(body)["corbel_host_vms"][(("state", "running"),)] == 1
        machine.ctl("vm", "start", "beta")
        assert check_metrics(http(port, SCRAPE)[2])["corbel_host_vms"][(("state", "running"),)] == 2
        # while somebody else has it the last result is given again, but not for long
        machine.smp.read_request(65, 0)
        status, _, again = http(port, SCRAPE)
        assert status == "HTTP/1.1 200 OK" and check_metrics(again)["corbel_host_vms"][(("state", "running"),)] == 2
        time.sleep(4)
        assert http(port, SCRAPE)[0] == "HTTP/1.1 503 Service Unavailable"
        machine.disconnect()
        status, _, body = http(port, SCRAPE)
        assert status == "HTTP/1.1 200 OK" and body != again


def test_a_session_keeps_the_line(host, tmp_path):
    machine = host(vm("alpha"))
    key = tmp_path / "key.pem"
    machine.ctl("keygen", str(key))
    machine.ctl("key", "add", "prom", "observer", str(key))
    with exporter(machine, "0", "0", key=key) as (process, port):
        for _ in range(3):
            assert http(port, SCRAPE)[0] == "HTTP/1.1 200 OK"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == OK
    logins = [e for e in machine.smp.read_request(64, 8)["entries"] if e["what"] == "session.login"]
    assert [e["who"] for e in logins] == ["prom"], "one login for all scrapes"


def test_a_session_that_ended_is_made_anew(host, tmp_path):
    machine = host(vm("alpha"))
    keys = {name: Key() for name in ("root", "prom")}
    enroll(machine.smp, "root", "owner", keys["root"])
    enroll(machine.smp, "prom", "observer", keys["prom"])
    login(machine.smp, keys["root"])
    machine.smp.write_request(64, 7, {"on": False})
    (tmp_path / "prom.pem").write_bytes(keys["prom"].pem())
    with Relay(machine.port) as cable, exporter(machine, "0", "0", key=tmp_path / "prom.pem", target=cable.target) as (_, port):
        assert http(port, SCRAPE)[0] == "HTTP/1.1 200 OK"
        cable.drop()
        for _ in range(2):
            assert http(port, SCRAPE)[0] == "HTTP/1.1 200 OK"
        assert cable.connections == 2


def test_a_serial_device_is_locked(tmp_path):
    master, slave = pty.openpty()
    device = os.ttyname(slave)
    fcntl.flock(slave, fcntl.LOCK_EX)
    words = [CORBELCTL, "-t", device, "--timeout", "0.5", "vm", "list"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stderr) == (UNREACHABLE, "corbelctl: cannot open %s: another corbelctl has it\n" % device)
    # it waits for it, and then asks
    words[4] = "8"
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    assert not select.select([master], [], [], 0)[0]
    fcntl.flock(slave, fcntl.LOCK_UN)
    assert os.read(master, 2) == b"\x06\x09"
    process.kill()
    process.wait()
    os.close(master)
    os.close(slave)


def test_exporter(machine):
    with exporter(machine, "0", "0") as (process, port):
        for _ in range(3):
            status, headers, body = http(port, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert status == "HTTP/1.1 200 OK" and int(headers["Content-Length"]) == len(body)
            assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert check_metrics(body)["corbel_host_vms"][(("state", "running"),)] == 1
        status, headers, body = http(port, "HEAD /metrics HTTP/1.1\r\n\r\n")
        assert status == "HTTP/1.1 200 OK" and body == "" and int(headers["Content-Length"]) > 1000
        for request, want in (("GET / HTTP/1.1\r\n\r\n", 404), ("GET /metricsx HTTP/1.1\r\n\r\n", 404),
                              ("POST /metrics HTTP/1.1\r\n\r\n", 405), ("hello\r\n\r\n", 400),
                              ("GET %s HTTP/1.1\r\n\r\n" % ("/x" * 1000), 400)):
            assert http(port, request)[0].startswith("HTTP/1.1 %d " % want), request
        with contextlib.suppress(ConnectionResetError):  # too long a head: hung up
            assert http(port, "GET /metrics HTTP/1.1\r\n" + "X: y\r\n" * 2000)[0] == ""
        with socket.create_connection(("127.0.0.1", port)) as idle:  # one that says nothing holds nobody up for long
            idle.sendall(b"GET")
            idle.close()
        assert http(port, "GET /metrics HTTP/1.1\r\n\r\n")[0] == "HTTP/1.1 200 OK"
        machine.process.stdin.close()  # the machine goes away
        machine.process.wait(10)
        assert http(port, "GET /metrics HTTP/1.1\r\n\r\n")[0] == "HTTP/1.1 503 Service Unavailable"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == OK


def test_exporter_listens_on_the_loopback_alone(machine):
    with exporter(machine, "0") as (process, port):
        with open("/proc/net/tcp", encoding="ascii") as table:
            local = [line.split()[1] for line in table if line.split()[3] == "0A"]
        assert "0100007F:%04X" % port in local and "00000000:%04X" % port not in local
        done = subprocess.run([CORBELCTL, "-t", "127.0.0.1:%d" % machine.port, "exporter", str(port)],
                              capture_output=True, text=True, timeout=10)
        assert done.returncode == USAGE and "cannot listen on port %d: Address already in use" % port in done.stderr
        assert process.poll() is None


# ---- top ----

def test_top_without_a_terminal(machine):
    lines = machine.ctl("top", "0.3").splitlines()
    assert lines[0].startswith("up ") and "2 VMs, 1 running" in lines[0] and lines[1].startswith("memory: ")
    assert lines[2].split() == ["NAME", "STATE", "%USED", "%RDY", "%CSTP", "%WAIT", "%LMT", "MIG", "PRESENT",
        "EXITS/s", "UPTIME"]
    assert [line.split()[:2] for line in lines[3:]] == [["alpha", "running"], ["beta", "defined"]]
    assert float(lines[3].split()[2]) > 1 and float(lines[4].split()[2]) == 0
    assert all(len(line) <= 80 for line in lines) and not any("\x1b" in line for line in lines)
    reply = json.loads(machine.ctl("--json", "top", "0.3"))
    assert [v["name"] for v in reply["vms"]] == ["alpha", "beta"]
    assert reply["vms"][0]["used_percent"] > 1 and reply["vms"][0]["exits_per_s"] > 0


class Terminal:
    """A terminal of 80 columns that understands what top sends."""

    def __init__(self, machine, width, height, *words):
        machine.disconnect()
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen([CORBELCTL, "-t", "127.0.0.1:%d" % machine.port, "top", *words],
                                        stdin=slave, stdout=slave, stderr=slave)
        self.data = b""

    def wait_for(self, condition, seconds=10):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.data[-3000:]
            if select.select([self.master], [], [], 0.1)[0]:
                self.data += os.read(self.master, 65536)

    def views(self):
        """Whole views so far, each a list of lines without their escape sequences."""
        views = self.data.decode().split("\x1b[H")[1:]
        plain = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", v).split("\r\n") for v in views if v.rstrip().endswith("\x1b[J")]
        return plain

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


def test_top_on_a_terminal(machine):
    terminal = Terminal(machine, 80, 24, "0.2")
    try:
        terminal.wait_for(lambda: len(terminal.views()) >= 3)
        for view in terminal.views():
            assert all(len(line) <= 80 for line in view), view
            assert view[2].split() == ["NAME", "STATE", "%USED", "%RDY", "%CSTP", "%WAIT", "%LMT", "MIG", "PRESENT",
                "EXITS/s", "UPTIME"]
            assert view[3].split()[0] == "alpha" and view[4].split()[0] == "beta"
            assert view[-1] == "c r s w l g m e u n: order, now %USED; q: quit"
        os.write(terminal.master, b"n")
        terminal.wait_for(lambda: terminal.views()[-1][-1] == "c r s w l g m e u n: order, now NAME; q: quit")
        assert terminal.data.startswith(b"\x1b[?1049h")
        os.write(terminal.master, b"q")
        terminal.wait_for(lambda: terminal.data.endswith(b"\x1b[?1049l"))
        assert terminal.process.wait(10) == OK
        assert termios.tcgetattr(terminal.slave) == terminal.before, "the terminal was not put back"
    finally:
        terminal.close()


@pytest.mark.parametrize("width,height", [(40, 10), (132, 50), (80, 6)])
def test_top_fits_any_terminal(host, width, height):
    machine = host("".join(vm("a-rather-long-name-%02d" % i) for i in range(12)))
    terminal = Terminal(machine, width, height, "0.2")
    try:
        terminal.wait_for(lambda: len(terminal.views()) >= 2)
        view = terminal.views()[-1]
        assert len(view) <= height and all(len(line) <= width for line in view[:-1]), view
        shown = [line for line in view if line.startswith("a-rather-l")]
        assert len(shown) == min(12, max(height - 5, 1))
        assert (len(shown) == 12) == (not any(line.startswith("... and") for line in view))
        if width == 132:
            assert shown[0].startswith("a-rather-long-name-00 ")
        os.write(terminal.master, b"\x03")
        assert terminal.process.wait(10) == OK
    finally:
        terminal.close()


def test_prompt_completes_the_new_commands(machine):
    done = machine.ctl_run(input="get vm.beta.state\nset vm.beta.acpi false\nwhy vm.beta.acpi\nquit\n")
    assert done.returncode == OK and "defined" in done.stdout and "operator  false" in done.stdout

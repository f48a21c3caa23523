# SPDX-License-Identifier: Apache-2.0
"""Captures: records over the wire, and corbelctl's pcap files, which tcpdump reads. Frames come from a wire of control_host's."""
import json
import re
import signal
import struct
import subprocess
import time

import pytest
import smp
from conftest import CORBELCTL
from test_corbelctl import Terminal
from test_disks import refused
from test_net import CAPTURE, END, GROUP, RECORDS, nic

WAN = 'network "wan" { uplink = "nic0" }\n'
BEACON = ("--beacon", "5")
HEAD, RECORD = struct.Struct("=IHHiIII"), struct.Struct("=IIII")
SOURCE, TYPE = bytes.fromhex("525400beac00"), b"\x88\xb5"


def begin(machine, port="wan/uplink", **more):
    return machine.smp.write_request(GROUP, CAPTURE, {"port": port, **more})["capture"]


def read(machine, capture, want):
    """At least @want whole frames: (time, bytes, sent, data)."""
    frames, data, deadline = [], b"", time.monotonic() + 20
    while len(frames) < want:
        assert time.monotonic() < deadline
        reply = machine.smp.read_request(GROUP, RECORDS, {"capture": capture})
        for at, size, kept, sent, offset, piece in reply["records"]:
            assert offset == len(data)
            data += piece
            assert len(data) <= kept
            if len(data) == kept:
                frames.append((at, size, sent, data))
                data = b""
    return frames


def check_beacons(frames):
    """They come in order, whole or cut, none missing and none changed on its way."""
    first = struct.unpack_from("<I", frames[0][3], 14)[0]
    for n, (at, size, sent, data) in enumerate(frames, first):
        full = b"\xff" * 6 + SOURCE + TYPE + struct.pack("<I", n) + bytes(i & 0xff for i in range(18, 1514))
        assert sent and size == 60 + n * 7 % 1454 and data == full[:len(data)], n
    assert all(a[0] < b[0] for a, b in zip(frames, frames[1:]))


def test_records(host):
    machine = host(WAN, options=BEACON)
    capture = begin(machine)
    frames = read(machine, capture, 30)
    check_beacons(frames)
    assert all(len(data) == size for _, size, _, data in frames)
    assert refused(machine.smp.write_request, GROUP, CAPTURE, {"port": "wan/uplink"})[0] == smp.BUSY
    assert machine.smp.write_request(GROUP, END, {"capture": capture}) == {"lost": 0}
    # a reply that did not come is asked for again
    again = lambda number: machine.smp.read_request(GROUP, RECORDS, {"capture": other, "number": number})
    other = begin(machine)
    assert again(0)["records"] is not None
    time.sleep(0.1)
    first, second = again(1), again(1)
    assert first == second and len(first["records"]) > 3
    assert again(2) != first
    assert refused(machine.smp.read_request, GROUP, RECORDS, {"capture": other, "number": 1})[1] == (
        "the next reply is number 3, and of those before the last one is kept")
    machine.smp.write_request(GROUP, END, {"capture": other})
    cut = begin(machine, snap=40)
    assert all(len(data) == 40 for *_, data in read(machine, cut, 5))
    assert refused(machine.smp.read_request, GROUP, RECORDS, {"capture": capture}) == (
        smp.NO_ENTRY, "there is no capture %d" % capture)
    assert refused(machine.smp.write_request, GROUP, END, {"capture": capture})[0] == smp.NO_ENTRY
    # the address of who sends them is known, and where
    addresses = machine.smp.read_request(GROUP, 3, {"name": "wan"})["addresses"]
    assert [(a["mac"], a["port"]) for a in addresses] == [("52:54:00:be:ac:00", "uplink")]


def test_what_a_vm_would_get(host):
    machine = host(WAN + nic('network = "wan"'), options=BEACON)
    machine.smp.write_request(65, 2, {"name": "a"})
    port = {p["name"]: p for p in machine.smp.read_request(GROUP, 2, {"name": "wan"})["ports"]}
    assert {"uplink", "a/lan0"} == set(port)
    time.sleep(0.1)
    port = {p["name"]: p for p in machine.smp.read_request(GROUP, 2, {"name": "wan"})["ports"]}
    assert port["uplink"]["sent_frames"] > 5 and port["uplink"]["sent_groups"] == port["uplink"]["sent_frames"]
    assert sum(port["a/lan0"]["received_drops"].values()) > 0  # nobody drives the device


def test_wrong_ones(host):
    machine = host(WAN + nic('network = "wan"'))
    for port in ("wan", "uplink", "lan/uplink", "a/lan0", "a/lan1", "", "x" * 100):
        code, text = refused(machine.smp.write_request, GROUP, CAPTURE, {"port": port})
        assert code == smp.NO_ENTRY and text, port
    for snap in (0, 65554):
        code, text = refused(machine.smp.write_request, GROUP, CAPTURE, {"port": "wan/uplink", "snap": snap})
        assert (code, text) == (smp.BAD_VALUE, "snap is %d, it can be 1 to 65553" % snap)


def five_ports(host, **more):
    machine = host(WAN + 'network "lan" { uplink = "nic1" }' + "".join(nic(name=name) for name in "abc"), **more)
    for name in "abc":
        machine.smp.write_request(65, 2, {"name": name})
    return machine, ["wan/uplink", "lan/uplink", "a/lan0", "b/lan0", "c/lan0"]


def test_four_at_a_time(host):
    machine, ports = five_ports(host)
    begun = [begin(machine, port) for port in ports[:4]]
    assert len(set(begun)) == 4
    assert refused(machine.smp.write_request, GROUP, CAPTURE, {"port": ports[4]})[0] == smp.NO_MEMORY
    machine.smp.write_request(GROUP, END, {"capture": begun[1]})
    begin(machine, ports[4])
    # a port that goes takes its capture's frames with it, and no more
    machine.smp.write_request(65, 3, {"name": "a"})
    assert machine.smp.read_request(GROUP, RECORDS, {"capture": begun[0]})["records"] == []


def test_one_that_nobody_reads_ends(host):
    machine, ports = five_ports(host, options=("--speed", "100"))
    captures = [begin(machine, port) for port in ports[:4]]
    deadline = time.monotonic() + 20
    while True:
        code = refused_or_none(machine, captures[0])
        if code is not None:
            break
        assert time.monotonic() < deadline
        time.sleep(1)  # a hundred seconds of the machine's
    assert code == smp.NO_ENTRY
    assert begin(machine, ports[4]) not in captures


def refused_or_none(machine, capture):
    try:
        machine.smp.read_request(GROUP, RECORDS, {"capture": capture})
    except smp.SmpError as error:
        return error.rc
    return None


def test_a_full_ring_is_counted(host):
    machine = host(WAN, options=("--beacon", "1"))
    capture = begin(machine)
    deadline = time.monotonic() + 30
    while machine.smp.read_request(76, 1, {"path": "nic.nic0.rx.bytes"})["value"] < 400_000:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    frames = read(machine, capture, 100)
    check_beacons(frames)  # the oldest ones are kept
    assert machine.smp.write_request(GROUP, END, {"capture": capture})["lost"] > 0


# ---- corbelctl ----


def packets(data):
    magic, major, minor, _, _, snap, link = HEAD.unpack_from(data)
    assert (magic, major, minor, link) == (0xa1b23c4d, 2, 4, 1)
    at, found = HEAD.size, []
    while at < len(data):
        seconds, ns, kept, size = RECORD.unpack_from(data, at)
        at += RECORD.size
        found.append((seconds * 10 ** 9 + ns, size, True, data[at:at + kept]))
        assert kept <= snap and len(found[-1][3]) == kept
        at += kept
    return found


def dump(path):
    done = subprocess.run(["tcpdump", "-r", path, "-e", "-n", "-tt"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=20)
    assert done.returncode == 0 and "EN10MB (Ethernet)" in done.stderr, done.stderr
    return [line for line in done.stdout.splitlines() if not line.startswith("\t")]  # without what is in them


def test_a_file_for_tcpdump(host, tmp_path):
    machine = host(WAN, options=BEACON + ("--wall", "1700000000"))
    path = str(tmp_path / "wan.pcap")
    done = machine.ctl_run("capture", "wan/uplink", "-w", path, "--count", "20")
    assert (done.returncode, done.stdout) == (0, "") and done.stderr == "20 frames captured, 0 lost for want of room\n"
    with open(path, "rb") as f:
        frames = packets(f.read())
    assert len(frames) == 20
    check_beacons(frames)
    # by the machine's calendar
    assert all(0 <= at / 1e9 - 1700000000 < 60 for at, *_ in frames)
    lines = dump(path)
    assert len(lines) == 20
    for line, (at, size, _, _) in zip(lines, frames):
        assert re.match(r"17000\d{5}\.\d{6,9} 52:54:00:be:ac:00 > ff:ff:ff:ff:ff:ff, ethertype Unknown \(0x88b5\), length %d:"
                        % size, line), line
    # cut, and by this computer's clock
    machine = host(WAN, options=BEACON)
    machine.ctl_run("capture", "wan/uplink", "-w", path, "--count", "3", "--snap", "64")
    with open(path, "rb") as f:
        frames = packets(f.read())
    assert [len(data) for *_, data in frames] == [min(64, size) for _, size, *_ in frames]
    assert all(abs(at / 1e9 - time.time()) < 60 for at, *_ in frames)
    assert len(dump(path)) == 3


def follow(machine, *words, **more):
    machine.disconnect()
    return subprocess.Popen([CORBELCTL, "-t", "127.0.0.1:%d" % machine.port, "capture", "wan/uplink", *words],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


def test_live_to_a_pipe(host):
    machine = host(WAN, options=BEACON)
    capture = follow(machine, "-w", "-")
    reader = subprocess.Popen(["tcpdump", "-r", "-", "-e", "-n", "-c", "10", "-l"], stdin=capture.stdout,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    capture.stdout.close()
    out, err = reader.communicate(timeout=20)
    assert reader.returncode == 0 and len(re.findall("^[0-9]", out, re.M)) == 10, err
    # the reader has gone: that ends it, and is no failure
    assert capture.wait(20) == 0
    assert b"lost for want of room" in capture.stderr.read()
    capture.stderr.close()
    assert machine.smp.read_request(76, 1, {"path": "network.wan.captures"})["value"] == 0


def test_ctrl_c_ends_it(host):
    machine = host(WAN, options=BEACON)
    capture = follow(machine)  # no terminal: pcap
    assert capture.stdout.read(HEAD.size + RECORD.size)[:4] == struct.pack("=I", 0xa1b23c4d)
    capture.send_signal(signal.SIGINT)
    rest, err = capture.communicate(timeout=20)
    assert capture.returncode == 0 and b" frames captured, 0 lost" in err


def test_lines_of_json(host):
    machine = host(WAN, options=BEACON)
    done = machine.ctl_run("--json", "capture", "wan/uplink", "--count", "3")
    frames = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and len(frames) == 3
    for frame in frames:
        data = bytes.fromhex(frame["data"])
        assert len(data) == frame["bytes"] and data[6:14] == SOURCE + TYPE and frame["sent"]


def test_lines_on_a_terminal(host):
    machine = host(WAN, options=BEACON)
    terminal = Terminal(machine, "capture", "wan/uplink")
    seen = terminal.wait_for(" bytes\r\n") + terminal.wait_for(" bytes\r\n")
    assert re.search(rb"^\d\d:\d\d:\d\d\.\d{6} out 52:54:00:be:ac:00 > ff:ff:ff:ff:ff:ff 88b5 \d+ bytes\r$", seen, re.M)
    terminal.process.send_signal(signal.SIGINT)
    terminal.wait_for("0 lost for want of room")
    assert terminal.end() == 0


@pytest.mark.parametrize("words, status, want", [
    (("wan",), 1, ""),
    (("nothing/uplink",), 1, ""),
    (("wan/uplink", "--snap", "0"), 2, "--snap takes a number from 1 on, not 0"),
    (("wan/uplink", "--count"), 2, "--count needs a value"),
    (("wan/uplink", "--fast", "5"), 2, "there is no option --fast here"),
    (("wan/uplink", "-w", "/nowhere/x.pcap"), 2, "cannot write /nowhere/x.pcap"),
    ((), 2, "usage: capture PORT"),
])
def test_what_corbelctl_refuses(host, words, status, want):
    machine = host(WAN)
    done = machine.ctl_run("capture", *words)
    assert done.returncode == status and done.stderr and want in done.stderr, done
    assert machine.smp.read_request(76, 1, {"path": "network.wan.captures"})["value"] == 0


def test_a_disk_that_is_full(host):
    machine = host(WAN, options=BEACON)
    done = machine.ctl_run("capture", "wan/uplink", "-w", "/dev/full")
    assert done.returncode == 2 and "cannot write /dev/full" in done.stderr

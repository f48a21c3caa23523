# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the control tests: the control plane in a host process, and clients of its line.

    def test_it(host):
        machine = host(script='vm "a" { ... }')
        machine.smp.read_request(65, 0)
        machine.ctl("vm", "list")

The SMP client is the system tests' own (tests/system/smp.py), written from the protocol's text; here it also
holds each message against docs/protocol.cddl.
"""
import os
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "tests", "system"), os.path.join(ROOT, "board")]

pytest.register_assert_rewrite("smp", "checked", "cddl")

import checked  # noqa: E402
import mkcpio  # noqa: E402

BUILD = os.environ.get("CORBEL_BUILD", os.path.join(ROOT, "build"))
CONTROL_HOST = os.path.join(BUILD, "host", "tests", "control", "control_host")
CORBELCTL = os.path.join(BUILD, "corbelctl")


def pytest_sessionstart(session):
    for path in (CONTROL_HOST, CORBELCTL):
        if not os.path.exists(path):
            pytest.exit("%s is not built (make control builds it)" % path, returncode=3)


def kernel():
    """The smallest image that multiboot 1 loads: a flat one with its addresses, and one HLT."""
    load = 0x100000
    flags = 1 << 16
    header = struct.pack("<III", 0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFFFFFF)
    header += struct.pack("<IIIII", load, load, load + 36, load + 4096, load + 32)
    return header + b"\xf4\xeb\xfd\x90"


def vm(name, cmdline="", size="MiB(2)", more=""):
    """Lua text of a guest that tests/fakes/fake_guest.c plays."""
    return ('vm "%s" { boot = multiboot { image = "kernel", cmdline = "%s" }, mem = { size = %s }, '
            'on_reset = "stop", debug_exit = true, %s }\n' % (name, cmdline, size, more))


class Host:
    """One control_host process. Its log is kept; its line takes one client at a time."""

    def __init__(self, store, args, options):
        self.process = subprocess.Popen(
            [CONTROL_HOST, "--store", store, "--args", args, *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.log = b""
        self.ended = False  # its output is complete
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        self.port = int(self.wait_for(b"port ", line=True).split()[1])
        self.wait_for(b"management line is open")
        self.client = None

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.log += line
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait_for(self, text, seconds=20, line=False):
        deadline = time.monotonic() + seconds
        text = text.encode() if isinstance(text, str) else text
        with self.changed:
            while text not in self.log:
                left = deadline - time.monotonic()
                assert left > 0 and not self.ended, \
                    "no %r in the log:\n%s" % (text, self.log.decode(errors="replace"))
                self.changed.wait(min(left, 0.2))
            found = self.log[self.log.index(text):]
        return found.split(b"\n")[0] if line else True

    def connect(self):
        """The line, raw; an SMP client or corbelctl that had it must be gone."""
        self.disconnect()
        line = socket.create_connection(("127.0.0.1", self.port))
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return line

    def disconnect(self):
        if self.client:
            self.client.connection.shutdown(socket.SHUT_RDWR)
            self.client.connection.close()
            self.client = None

    @property
    def smp(self):
        if self.client is None:
            self.client = checked.Client(self.connect())
        return self.client

    def uptime(self):
        """Seconds of the host's own clock, which stands while a busy machine runs others in its place."""
        return self.smp.read_request(76, 1, {"path": "control.uptime"})["value"] / 1e9

    def ctl_run(self, *words, input=None, seconds=20, env=None):
        """corbelctl with @words on this machine: the finished process."""
        self.disconnect()
        return subprocess.run(
            [CORBELCTL, "-t", "127.0.0.1:%d" % self.port, *words], input=input, timeout=seconds,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ, **(env or {})),
            stdin=None if input is not None else subprocess.DEVNULL)

    def ctl(self, *words, **more):
        """Its output; it must succeed and say nothing on its error stream."""
        done = self.ctl_run(*words, **more)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def close(self):
        self.disconnect()
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.thread.join(5)


@pytest.fixture
def host(tmp_path):
    """A function that starts a machine whose store holds @script and @files."""
    running = []

    def start(script="", files=None, args="", options=()):
        path = tmp_path / ("store%d.cpio" % len(running))
        contents = {"scripts/boot.lua": script, "kernel": kernel(), "broken": b"this is no kernel" * 100}
        contents.update(files or {})
        with open(path, "wb") as out:
            cpio = mkcpio.Cpio(out)
            for name, content in contents.items():
                cpio.entry(name, 0o100644, content.encode() if isinstance(content, str) else content)
            cpio.close()
        running.append(Host(str(path), args, options))
        return running[-1]

    yield start
    for machine in running:
        machine.close()
        # a sanitizer's report ends the process with another status
        assert machine.process.returncode in (0, 42), machine.log.decode(errors="replace")

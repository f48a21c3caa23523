# SPDX-License-Identifier: Apache-2.0
"""What `make run` starts: emulator, relay and prompt, on a terminal, as a person sits before it.

The guests are small ones; what Debian's do is in test_debian.py.
"""
import fcntl
import os
import pathlib
import pty
import socket
import subprocess
import sys
import termios

import bochs
import conftest
import pytest
import vms

STORE = {"scripts/boot.lua": "".join(vms.guest(name, "echo", more="autostart = true") for name in ("alpha", "beta")),
         **conftest.guest_files("echo")}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def processes_of(directory):
    """Command lines of processes that name a file below @directory."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if str(directory).encode() in words:
            found.append(words)
    return found


def take_terminal():
    """In the child: its input is its controlling terminal, so that Ctrl-C is a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    bochs.end_with_parent()


class Terminal:
    """board/emulate.py on a terminal of its own: what it shows, and a keyboard."""

    def __init__(self, directory, *arguments):
        store = directory / "store.cpio"
        conftest.write_store(store, STORE)
        self.keyboard, inside = pty.openpty()
        self.port = free_port()
        # whatever is started names a file below directory, by which it is found
        environment = dict(os.environ, HOME=str(directory), TMPDIR=str(directory), TERM="dumb")
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(conftest.ROOT, "board", "emulate.py"), "--loader", os.path.join(conftest.BUILD, "sector.bin"),
             "--elf", os.path.join(conftest.BUILD, "corbel.elf"), "--store", str(store), "--megs", "96", "--port", str(self.port), *arguments],
            stdin=inside, stdout=inside, stderr=inside, env=environment, start_new_session=True, preexec_fn=take_terminal)
        os.close(inside)
        self.screen = bochs.Stream("terminal")
        bochs.follow(lambda: os.read(self.keyboard, 65536), self.screen)
        self.seen = 0

    def wait_for(self, what, seconds=30):
        """@what, after everything that was waited for before."""
        self.seen = self.screen.wait_for(what, seconds, self.seen).end()

    def type(self, text):
        os.write(self.keyboard, text.encode())

    def say(self, line, answer):
        self.type(line + "\n")
        self.wait_for(answer)

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(30)
        os.close(self.keyboard)


@pytest.fixture
def terminal(tmp_path):
    terminal = Terminal(tmp_path, "--network", "open", "--forward", "%d:10.0.2.15:80" % free_port(), "--ready", "] ready",
                        "--prompt", os.path.join(conftest.BUILD, "corbelctl"))
    terminal.directory = tmp_path
    yield terminal
    terminal.end()


def test_session(terminal):
    terminal.wait_for(rb"\] Corbel \d", 60)
    terminal.wait_for(rb"nic: nic0: Intel 82540EM", 60)
    terminal.wait_for(rb"VM beta: started", 60)
    terminal.wait_for(rb"Try:\r\n(.*\r\n)*.*corbel> ")
    terminal.say("vm list", rb"alpha +running(.*\r\n)+.*beta +running")
    terminal.say("console alpha", rb"echo: ready")
    terminal.say("good morning", rb"echo: good morning")
    terminal.type("\x1d")
    terminal.wait_for(rb"\[left alpha\]")
    terminal.say("vm stop alpha", rb"corbel> ")
    terminal.say("vm list", rb"alpha +stopped(.*\r\n)+.*beta +running")
    terminal.say("vm start alpha", rb"corbel> ")
    terminal.say("=vms()[1].state .. 6 * 7", rb"\nrunning42\r\n")
    terminal.say("vm start nobody", rb"there is no VM called nobody")
    terminal.say("echo present", rb"\r\npresent\r\n")
    # a second operator at the same line
    done = subprocess.run([os.path.join(conftest.BUILD, "corbelctl"), "-t", "127.0.0.1:%d" % terminal.port, "lua", "#vms()"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=30)
    assert done.stdout == b"2\n"
    assert processes_of(terminal.directory)
    terminal.type("quit\n")
    assert terminal.process.wait(30) == 0
    assert not processes_of(terminal.directory), "the emulator outlived the prompt"


def test_ctrl_c_leaves_nothing_behind(terminal):
    terminal.wait_for(rb"Try:\r\n(.*\r\n)*.*corbel> ", 60)
    terminal.type("\x03")
    terminal.process.wait(30)
    assert not processes_of(terminal.directory)


def test_a_machine_that_does_not_come_up_is_said_to(tmp_path):
    terminal = Terminal(tmp_path, "--ready", "no such line", "--seconds", "3", "--prompt", "false")
    terminal.wait_for(rb"Corbel did not come up within 3 s", 60)
    assert terminal.process.wait(30) == 1
    assert not processes_of(tmp_path)
    terminal.end()

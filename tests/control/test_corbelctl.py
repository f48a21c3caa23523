# SPDX-License-Identifier: Apache-2.0
"""corbelctl: every command, its JSON, its exit statuses, its console and prompt on a terminal."""
import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import termios
import threading
import time

import pytest
from conftest import CORBELCTL, vm

OK, REFUSED, USAGE, UNREACHABLE, DENIED = range(5)


def failed(machine, status, *words, **more):
    """A call that must fail: one sentence on the error stream, nothing else; returns the sentence."""
    done = machine.ctl_run(*words, **more)
    assert done.returncode == status, done
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("corbelctl: "), done
    return lines[0][11:], done.stdout


def as_json(machine, *words):
    out = machine.ctl("--json", *words)
    assert out.endswith("\n") and out.count("\n") == 1
    return json.loads(out)


class Terminal:
    """corbelctl, or another command, on a pseudo-terminal."""

    def __init__(self, machine, *words, command=None, env=None):
        machine.disconnect()
        self.master, slave = pty.openpty()
        self.slave = slave
        self.before = termios.tcgetattr(slave)
        self.output = b""
        self.process = subprocess.Popen(
            command or [CORBELCTL, "-t", "127.0.0.1:%d" % machine.port, *words], stdin=slave, stdout=slave, stderr=slave,
            close_fds=True, start_new_session=True, env=dict(os.environ, TERM="xterm", **(env or {})))

    def wait_for(self, text, seconds=15):
        text = text.encode() if isinstance(text, str) else text
        deadline = time.monotonic() + seconds
        while text not in self.output:
            assert time.monotonic() < deadline, "no %r in %r" % (text, self.output)
            if select.select([self.master], [], [], 0.1)[0]:
                self.output += os.read(self.master, 65536)
        at = self.output.index(text) + len(text)
        seen, self.output = self.output[:at], self.output[at:]
        return seen

    def type(self, text):
        os.write(self.master, text.encode() if isinstance(text, str) else text)

    def end(self, seconds=10):
        status = self.process.wait(seconds)
        while select.select([self.master], [], [], 0)[0]:
            self.output += os.read(self.master, 65536)
        after = termios.tcgetattr(self.slave)
        assert after == self.before, "the terminal was not restored"
        os.close(self.slave)
        os.close(self.master)
        return status


def test_list(host):
    machine = host(vm("alpha", more="autostart = true") + vm("beta"))
    lines = machine.ctl("vm", "list").splitlines()
    assert lines[0].split() == ["id", "name", "state", "memory", "present", "cpu", "uptime", "reason"]
    assert lines[1].split()[:5] == ["1", "alpha", "running", "2", "MiB"]
    assert lines[2].split()[:3] == ["2", "beta", "defined"]
    vms = as_json(machine, "vm", "list")["vms"]
    assert [(v["id"], v["name"], v["state"]) for v in vms] == [(1, "alpha", "running"), (2, "beta", "defined")]
    assert as_json(host(), "list") == {"vms": []}


def test_list_of_many(host):
    machine = host("for i = 1, 64 do vm(('vm%02d'):format(i)) "
                   "{ boot = multiboot { image = 'kernel' }, mem = { size = MiB(1) } } end")
    assert [v["name"] for v in as_json(machine, "vm", "list")["vms"]] == ["vm%02d" % i for i in range(1, 65)]


def test_verbs(host):
    machine = host(vm("a", "echo") + vm("b"))
    for words, states in ((["vm", "start", "a", "b"], "running running"), (["pause", "a"], "paused running"),
                          (["vm", "resume", "a"], "running running"), (["vm", "power", "b"], "running running"),
                          (["stop", "a", "b"], "stopped stopped"), (["vm", "destroy", "b"], "stopped")):
        assert machine.ctl(*words) == ""
        assert " ".join(v["state"] for v in as_json(machine, "vm", "list")["vms"]) == states
    assert machine.ctl("--json", "vm", "start", "a") == "{}\n"
    assert failed(machine, REFUSED, "vm", "start", "a") == \
        ("VM a is running: start needs it defined or stopped or crashed", "")
    assert failed(machine, REFUSED, "vm", "stop", "nobody", "a") == ("there is no VM called nobody", "")
    sentence, out = failed(machine, REFUSED, "--json", "vm", "stop", "nobody")
    assert json.loads(out) == {"error": "there is no VM called nobody", "rc": 5}


def test_info(host):
    machine = host(vm("a", "say=x", more="autostart = true"))
    text = machine.ctl("info")
    assert re.search(r"^version: +0\.0-test$", text, re.M) and "mitigations:  off" in text
    assert re.search(r"^  capacity: +64 MiB$", text, re.M)
    info = as_json(machine, "info")
    assert info["engine"] == "fake" and info["memory"]["capacity"] == 64 << 20
    for words in (["vm", "info", "a"], ["info", "a"]):
        assert as_json(machine, *words)["config"]["mem"]["size"] == 2 << 20
        text = machine.ctl(*words)
        assert re.search(r"^state: +running$", text, re.M) and re.search(r"^    size: +2 MiB$", text, re.M)
    assert failed(machine, REFUSED, "vm", "info", "nobody")[0] == "there is no VM called nobody"
    assert as_json(machine, "check") == {"checked": True}
    assert "true" in machine.ctl("check")


def test_define(host, tmp_path):
    machine = host()
    path = tmp_path / "site.lua"
    path.write_text(vm("a") + vm("b"))
    assert machine.ctl("vm", "define", str(path)) == "defined a\ndefined b\n"
    assert as_json(machine, "vm", "info", "b")["origin"] == "site.lua:2"
    assert machine.ctl("vm", "define", "-", input=vm("c")) == "defined c\n"
    path.write_text(vm("d") + vm("e", size="64"))
    assert failed(machine, REFUSED, "vm", "define", str(path))[0] == \
        "VM e (site.lua:2): mem.size needs a unit: write MiB(64), not 64"
    path.write_text(vm("f"))
    assert json.loads(machine.ctl("--json", "define", str(path)))["vms"] == [{"id": 4, "name": "f"}]
    assert failed(machine, USAGE, "vm", "define", str(tmp_path / "nothing"))[0].startswith("cannot read ")
    path.write_text("-" * 70000)
    assert "longer than" in failed(machine, USAGE, "vm", "define", str(path))[0]
    path.write_text("--" + "x" * 30000)
    assert "too long" in failed(machine, REFUSED, "vm", "define", str(path))[0]


def test_report(host):
    machine = host(vm("a", "end=crash", more="autostart = true"))
    machine.wait_for("VM a crashed")
    assert "triple fault" in machine.ctl("vm", "report", "a")
    assert "triple fault" in as_json(machine, "vm", "report", "a")["text"]


def test_lua(host):
    machine = host(vm("a"))
    assert machine.ctl("lua", "1 + 1") == "2\n"
    assert machine.ctl("lua", "x", "=", "3") == ""
    assert "defined" in machine.ctl("lua", "vm_list()")
    assert as_json(machine, "lua", "x") == {"o": "3\n", "ret": 0}
    assert failed(machine, REFUSED, "lua", "print 'first' error 'no'") == ("line:1: no", "first\n")
    done = machine.ctl_run("--json", "lua", "error 'no'")
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (REFUSED, {"o": "line:1: no\n", "ret": 1}, "")
    assert machine.ctl("lua", "'a\\27[2Jb\\tc\\u{9b}d\\u{fc}'") == "a?[2Jb\tc?d\u00fc\n"


def test_echo_and_reset(host):
    machine = host()
    assert machine.ctl("echo") == "hello\n"
    assert machine.ctl("echo", "two words") == "two words\n"
    assert as_json(machine, "echo", "x") == {"r": "x"}
    assert machine.ctl("reset") == ""
    assert machine.process.wait(10) == 42


def test_log(host):
    machine = host(vm("a"))
    log = machine.ctl("log")
    assert "VM a: defined (boot.lua:1)" in log and "management line is open" in log
    machine.disconnect()
    follower = subprocess.Popen([CORBELCTL, "-t", "127.0.0.1:%d" % machine.port, "log", "-f"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(iter(follower.stdout.readline, b"")))
    reader.start()
    deadline = time.monotonic() + 10
    while not any(b"management line is open" in line for line in lines):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) == 0
    reader.join()
    assert follower.stderr.read() == b""
    for line in machine.ctl("--json", "log").splitlines():
        assert json.loads(line)["id"] == 0


def test_console_through_a_pipe(host):
    machine = host(vm("a", "say=welcome echo", more="autostart = true"))
    time.sleep(0.2)
    assert machine.ctl("console", "a", input="hello\n") == "welcome\nHELLO\n"
    assert machine.ctl("console", "a", "6", input="") == "HELLO\n"
    pushed = [json.loads(line) for line in machine.ctl("--json", "console", "a", input="").splitlines()]
    assert "".join(p[3] for p in pushed) == "welcome\nHELLO\n" and all(p[:2] == [0, 1] for p in pushed)
    assert failed(machine, REFUSED, "console", "nobody")[0] == "there is no VM called nobody"
    consoles = machine.smp.read_request(72, 0)["consoles"]
    assert not any(c["attached"] for c in consoles), "left attached"


def test_console_on_a_terminal(host):
    machine = host(vm("a", "say=welcome echo", more="autostart = true"))
    time.sleep(0.2)
    terminal = Terminal(machine, "console", "a")
    terminal.wait_for("welcome")
    terminal.type("abc\r")
    terminal.wait_for("ABC\r")
    terminal.type("\x03\x1b[A")   # Ctrl-C and an arrow key are the guest's
    terminal.wait_for("\x03\x1b[A")
    terminal.type("\x1d")
    terminal.wait_for("left a")
    assert terminal.end() == OK


def test_console_passes_what_a_guest_draws_and_nothing_else_does(host):
    machine = host(vm("a", "forge", more="autostart = true"))
    time.sleep(0.2)
    terminal = Terminal(machine, "console", "a")
    terminal.wait_for("\x1b[2J")
    terminal.type("\x1d")
    assert terminal.end() == OK
    assert "\x1b" not in machine.ctl("lua", "console 'a'")


def test_console_says_when_the_vm_stops(host):
    machine = host(vm("a", "echo end=off", more="autostart = true"))
    terminal = Terminal(machine, "console", "a")
    terminal.type("xq")
    terminal.wait_for("XQ")
    terminal.wait_for("[a is stopped: power-off]")
    terminal.type("x")      # refused with a sentence, and the console stays
    terminal.wait_for("takes no input")
    terminal.type("\x1d")
    assert terminal.end() == OK


def test_terminal_is_restored_after_a_signal(host):
    machine = host(vm("a", "echo", more="autostart = true"))
    for number, status in ((signal.SIGTERM, OK), (signal.SIGHUP, -signal.SIGHUP)):
        terminal = Terminal(machine, "console", "a")
        terminal.type("x")
        terminal.wait_for("X")
        os.kill(terminal.process.pid, number)
        assert terminal.end() == status


def test_prompt_on_a_terminal(host, tmp_path):
    machine = host(vm("alpha", "say=hi echo", more="autostart = true") + vm("beta"))
    terminal = Terminal(machine, env={"HOME": str(tmp_path)})
    greeting = terminal.wait_for("corbel> ")
    assert b"Corbel 0.0-test at 127.0.0.1" in greeting and b"vm list" in greeting and b"Ctrl-]" in greeting
    terminal.type("vm list\r")
    assert b"alpha" in terminal.wait_for("corbel> ")
    terminal.type("sta\t beta\r")    # completes to start; unknown without vm's list of words
    terminal.wait_for("corbel> ")
    terminal.type("vm sta\t be\t\r")
    terminal.wait_for("corbel> ")
    terminal.type("=info 'beta'.state\r")
    assert b"running" in terminal.wait_for("corbel> ")
    terminal.type("get vm.be\tmem.ov\t\r")  # a part of the path at a time
    assert b" KiB" in terminal.wait_for("corbel> ")
    terminal.type("set vm.beta.mem.\t\x15")   # several: nothing is chosen
    terminal.type("why log.l\t\r")
    assert b"default   info" in terminal.wait_for("default   info\r\n")
    terminal.wait_for("corbel> ")
    terminal.type("lua print(\"a  b\")\r")
    assert b"\r\na  b\r\n" in terminal.wait_for("corbel> ")
    terminal.type("nonsense here\r")
    assert b"there is no command nonsense here" in terminal.wait_for("corbel> ")
    terminal.type("echo 'open quote\r")
    assert b"a quote is left open" in terminal.wait_for("corbel> ")
    terminal.type("console alpha\r")
    terminal.wait_for("hi")
    terminal.type("typed")
    terminal.wait_for("TYPED")
    terminal.type("\x1d")
    terminal.wait_for("corbel> ")
    terminal.type("\x1b[A\x1b[A\x1b[A")  # history
    terminal.type("\x15quit\r")
    assert terminal.end() == OK
    history = (tmp_path / ".corbelctl_history").read_text()
    assert "console" in history


def test_prompt_without_a_terminal(host):
    machine = host(vm("a"))
    done = machine.ctl_run(input="echo one\n\n=1+1\nvm start nobody\necho 'two words'\nquit\necho never\n")
    assert done.stdout == "one\n2\ntwo words\n" and done.returncode == REFUSED
    assert done.stderr == "corbelctl: there is no VM called nobody\n"
    assert machine.ctl_run(input="").returncode == OK


@pytest.mark.parametrize("words,sentence", [
    (["frob"], "there is no command frob; try help"),
    (["vm", "frob"], "there is no command vm frob; try help vm"),
    (["vm", "start"], "usage: vm start NAME..."),
    (["console"], "usage: console NAME [BYTES]"),
    (["--frob", "vm", "list"], "there is no option --frob; try --help"),
    (["--timeout", "x", "vm", "list"], "--timeout takes seconds, more than 0 and at most 3600, not x"),
    (["--timeout", "0", "vm", "list"], "--timeout takes seconds, more than 0 and at most 3600, not 0"),
    (["-t"], "-t needs a value"),
    (["log", "-x"], "usage: log [-f]"),
])
def test_usage(host, words, sentence):
    assert failed(host(), USAGE, *words)[0] == sentence


def run(*words, env=None):
    environment = {k: v for k, v in os.environ.items() if k != "CORBEL_TARGET"}
    return subprocess.run([CORBELCTL, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          stdin=subprocess.DEVNULL, timeout=20, env=dict(environment, **(env or {})))


def test_help_needs_no_machine():
    for words in (["--help"], ["-h"], ["help"]):
        done = run(*words)
        assert done.returncode == OK and "usage:" in done.stdout and "vm list" in done.stdout


def test_target(host):
    done = run("vm", "list")
    assert done.returncode == USAGE and "CORBEL_TARGET" in done.stderr
    machine = host()
    assert run("echo", "x", env={"CORBEL_TARGET": "127.0.0.1:%d" % machine.port}).stdout == "x\n"
    for target, sentence in (("127.0.0.1:1", "cannot connect to 127.0.0.1:1: Connection refused"),
                             ("nonsense", "nonsense is neither a serial device nor host:port"),
                             ("/dev/null", "cannot open /dev/null: it is no serial device"),
                             ("/dev/nothing", "cannot open /dev/nothing: No such file or directory")):
        done = run("-t", target, "echo")
        assert (done.returncode, done.stderr) == (UNREACHABLE, "corbelctl: %s\n" % sentence)


def test_silence_and_closed_line():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        target = "127.0.0.1:%d" % server.getsockname()[1]
        began = time.monotonic()
        done = run("-t", target, "--timeout", "0.5", "echo")
        assert (done.returncode, done.stderr) == (UNREACHABLE, "corbelctl: %s does not answer\n" % target)
        assert 0.4 < time.monotonic() - began < 5

        def hang_up():
            for _ in range(2):  # the first is the one that gave up
                line, _ = server.accept()
                with contextlib.suppress(OSError):
                    line.recv(10)
                line.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        done = run("-t", target, "echo")
        thread.join(1)
        assert done.returncode == UNREACHABLE and "lost %s" % target in done.stderr


def test_garbage_instead_of_a_reply():
    def serve(server, data):
        line, _ = server.accept()
        line.recv(4096)
        line.sendall(data)
        line.recv(4096)
        line.close()

    for data, status in ((b"\x06\x09" + b"A" * 5000 + b"\n" + bytes(range(256)) * 10, UNREACHABLE),
                         (b"login: \x1b[2J\r\n", UNREACHABLE)):
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            thread = threading.Thread(target=serve, args=(server, data), daemon=True)
            thread.start()
            done = run("-t", "127.0.0.1:%d" % server.getsockname()[1], "--timeout", "0.5", "vm", "list")
            assert done.returncode == status and "\x1b" not in done.stdout + done.stderr


def test_serial_device(host):
    """A pseudo-terminal stands for the serial port, and a relay for the cable."""
    machine = host(vm("a"))
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    path = os.ttyname(slave)
    line = machine.connect()

    def relay():
        while True:
            for source in select.select([line, master], [], [])[0]:
                try:
                    data = line.recv(4096) if source is line else os.read(master, 4096)
                except OSError:
                    return
                if not data:
                    return
                os.write(master, data) if source is line else line.sendall(data)

    threading.Thread(target=relay, daemon=True).start()
    for _ in range(3):
        done = run("-t", path, "vm", "list")
        assert done.returncode == OK and " a " in done.stdout, done
    assert termios.tcgetattr(slave) == before, "the device's settings were not put back"
    line.close()
    os.close(slave)
    os.close(master)

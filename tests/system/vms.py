# SPDX-License-Identifier: Apache-2.0
"""Corbel's own command groups for the tests: VMs, their consoles, and the machine underneath.

Written from docs/protocol.md, like smp.py. An Operator turns each command into a method; errors are
smp.SmpError. Waiting methods poll over the wire and have limits on the host's clock.
"""
import re
import time

import smp

VM, CONSOLE, INSPECT = 65, 72, 74

LIST, DEFINE, START, STOP, PAUSE, RESUME, DESTROY, INFO, POWER, REPORT = range(10)
CONSOLE_LIST, CONSOLE_READ, CONSOLE_ATTACH, CONSOLE_DETACH, CONSOLE_INPUT = range(5)
HOST, CHECK = range(2)

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
PASS = 42               # what a test guest that is content writes to its debug-exit port
ENDED = ("stopped", "crashed")
LATE_MAX = 100_000      # instructions that a runnable vcpu waits for the control task


def guest(name, image=None, cmdline="", mem="MiB(4)", more=""):
    """Lua text that defines the test guest @image (tests/guests/) as VM @name."""
    return ('vm "%s" { boot = multiboot { image = "guests/%s", cmdline = "%s" }, mem = { size = %s }, '
            'on_reset = "stop", debug_exit = true, %s }\n' % (name, image or name, cmdline, mem, more))


def passed(info, console):
    """The console of a test guest that came to its end and was content."""
    assert (info["state"], info["reason"], info["exit_code"]) == ("stopped", "debug-exit", PASS), console
    assert console.endswith(": pass\r\n"), console
    return console


class Operator:
    """The operator's verbs over an SMP client."""

    def __init__(self, client):
        self.client = client

    # ---- VMs ----

    def vms(self):
        """{name: entry} of all VMs, page by page."""
        found, arguments = {}, {}
        while True:
            answer = self.client.read_request(VM, LIST, arguments)
            found.update((entry["name"], entry) for entry in answer["vms"])
            if "next" not in answer:
                return found
            arguments = {"after": answer["next"]}

    def define(self, text, origin="test"):
        return self.client.write_request(VM, DEFINE, {"text": text, "origin": origin})["vms"]

    def verb(self, command, name):
        answer = self.client.write_request(VM, command, {"name": name}, seconds=120)
        assert answer == {}, "a verb answers nothing but success: %r" % answer

    def start(self, name):
        self.verb(START, name)

    def stop(self, name):
        self.verb(STOP, name)

    def pause(self, name):
        self.verb(PAUSE, name)

    def resume(self, name):
        self.verb(RESUME, name)

    def destroy(self, name):
        self.verb(DESTROY, name)

    def power(self, name):
        self.verb(POWER, name)

    def info(self, name):
        return self.client.read_request(VM, INFO, {"name": name})

    def state(self, name):
        return self.info(name)["state"]

    def report(self, name):
        """The whole crash report, piece by piece."""
        text, offset = "", 0
        while offset is not None:
            part = self.client.read_request(VM, REPORT, {"name": name, "offset": offset})
            text += part["text"]
            offset = part.get("next")
        assert len(text) == part["total"]
        return text

    def wait_state(self, name, states, seconds=60):
        """Info of the VM once it is in one of @states."""
        deadline = time.monotonic() + seconds
        while True:
            info = self.info(name)
            if info["state"] in states:
                return info
            assert time.monotonic() < deadline, "VM %s is still %s; its console ends %r" % (
                name, info["state"], self.output(name)[-500:])
            time.sleep(0.1)

    def run(self, text, seconds=60):
        """Defines the one VM of @text, starts it and waits for its end: (info, console)."""
        name = self.define(text)[0]["name"]
        self.start(name)
        return self.wait_state(name, ENDED, seconds), self.output(name).decode(errors="replace")

    def end(self, name):
        """The VM is gone, whatever it was doing."""
        if self.state(name) in ("running", "paused"):
            self.stop(name)
        self.destroy(name)

    def clear(self, keep=()):
        """All VMs are gone but those of @keep."""
        for name in self.vms():
            if name not in keep:
                self.end(name)

    # ---- consoles ----

    def consoles(self):
        return {entry["name"]: entry for entry in self.client.read_request(CONSOLE, CONSOLE_LIST)["consoles"]}

    def read(self, name, **arguments):
        return self.client.read_request(CONSOLE, CONSOLE_READ, dict(arguments, name=name))

    def output(self, name, start=0):
        """What the console holds from sequence number @start on; a guest may print faster than the line carries it."""
        text, head = b"", None
        while True:
            answer = self.read(name, **{"from": start, "max": 4096})
            text += answer["data"]
            start = answer["next"]
            head = answer["head"] if head is None else head
            if start >= head:
                return text

    def head(self, name):
        """Sequence number of the next byte that the console will print."""
        return self.read(name, last=1, max=1)["head"]

    def wait_output(self, name, pattern, seconds=60, start=0):
        """The match of the bytes pattern @pattern in what is printed from @start on."""
        deadline = time.monotonic() + seconds
        while True:
            text = self.output(name, start)
            found = re.search(pattern, text, re.MULTILINE)
            if found:
                return found
            assert time.monotonic() < deadline, "no /%s/ on the console of %s, which ends\n%s" % (
                pattern.decode(), name, text[-2000:].decode(errors="replace"))
            time.sleep(0.05)

    def begin_beats(self, name="beat"):
        """Where on its console the guest `beat` begins a line: what that says, and those after it, was measured from now on."""
        self.wait_output(name, rb"worst \d+\r?\n", start=self.head(name))
        return self.head(name)

    def worst_beat(self, start, name="beat"):
        """The worst lateness that the guest `beat` printed from @start on, once it printed a whole line more."""
        head = self.head(name)
        self.wait_output(name, rb"beat: \d+ worst \d+\r?\n[^\n]*worst \d+\r?\n", start=head)
        lines = re.findall(rb"beat: (\d+) worst (\d+)\r?\n", self.output(name, start))
        beats = [int(n) for n, _ in lines]
        assert beats == sorted(beats) and beats[-1] > beats[0], "the guest's beat went on"
        return max(int(late) for _, late in lines)

    def type(self, name, data):
        """Types all of @data; the console's input may take it in pieces."""
        deadline = time.monotonic() + 60
        while data:
            taken = self.client.write_request(CONSOLE, CONSOLE_INPUT, {"name": name, "data": data})["taken"]
            data = data[taken:]
            assert time.monotonic() < deadline, "the console of %s takes no input" % name

    def attach(self, name, **arguments):
        return self.client.write_request(CONSOLE, CONSOLE_ATTACH, dict(arguments, name=name))

    def detach(self, name):
        return self.client.write_request(CONSOLE, CONSOLE_DETACH, {"name": name})

    # ---- the machine ----

    def host(self):
        return self.client.read_request(INSPECT, HOST)

    def check(self):
        """The ownership walk over all frames, and the run queues; SmpError names what is wrong."""
        assert self.client.read_request(INSPECT, CHECK, seconds=120) == {"checked": True}


class Pushed:
    """What is pushed from now on."""

    def __init__(self, client):
        self.client = client
        self.start = len(client.deframer.other)

    def lines(self):
        return [smp.pushed(line) for line in self.client.deframer.other[self.start :]]

    def output(self, console):
        """[(sequence number, bytes)] of one console."""
        return [(line[2], line[3]) for line in self.lines() if line[:2] == [smp.OUTPUT, console]]

    def wait(self, condition, seconds=30):
        return self.client.wait_until(lambda: condition(self.lines()), seconds)

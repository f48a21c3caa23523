# SPDX-License-Identifier: Apache-2.0
"""A random life of many VMs with one to four vcpus on all CPUs of one machine, driven over the wire.

Good guests and bad ones come and go, are started, paused, resumed, stopped, reset and destroyed, and their CPU
numbers, affinities and classes change while they run. The walker looks over memory and run queues again and
again, and soak_books.py holds what the machine says against itself; no guest crashes that was not made to, whoever
should go on goes on, a VM is in the state that the commands say, and every byte is back whenever all have gone. The seed is
printed. Limits are in the machine's own time. What it chooses depends on what guests
have done by then, so the same seed gives the same kind of life, not the same one to the tick.
"""
import collections
import random
import re
import time

import smp
import soak_books
import vms

CPU, TREE = 67, 76
CPU_TRACE, TREE_SET = 1, 2
VMS_MAX = 9
CHECK_EVERY = 25   # operations between two walks
PROBE_EVERY = 15   # and between two looks whether somebody goes on
PATIENCE = 5_000_000_000    # ns that a guest may run before it gives a sign of life
WORK = 300_000_000_000      # and before it comes to its end, if it has one
ASLEEP = 20_000_000_000     # ns of its clock that one who is to come to an end has to do nothing, at most
GUEST_PATIENCE = 3000       # s of its clock that a guest with several vcpus waits for one of them: who is due little gets little
STARVED = 120_000_000_000   # ns of its clock within which it must run at all
ENTITLED = 30_000           # ppm of a CPU: with less, by others' shares or reservations, a sign may take minutes
REFUSALS = (smp.NO_MEMORY, smp.BAD_VALUE)  # reservations or cores that are not to be had
CLEAR_EVERY = 12   # walks, after which all VMs go and every byte must be back
SETTLED = 10_000_000_000    # ns until memory that was taken from guests has left


class Kind:
    """A test guest: its image and words, how many vcpus it takes, how it may end, and how it shows that it lives."""

    def __init__(self, image, words="", cpus=(1, 1), ends=(), sign=None, mem=4):
        self.image, self.words, self.cpus, self.ends, self.sign, self.mem = image, words, cpus, ends, sign, mem


PASSES = (("stopped", "debug-exit"),)
CRASHES = (("crashed", "crash"),)
KINDS = (
    Kind("smp", "spin", (1, 4), sign="cpu"), Kind("smp", "storm", (2, 4), sign="cpu"),
    Kind("smp", "timers", (1, 4), sign="cpu"), Kind("smp", "inits", (2, 4), sign="cpu"),
    Kind("smp", "rounds=20", (2, 4), ends=PASSES), Kind("smp", "xapic rounds=20", (2, 4), ends=PASSES),
    Kind("smp", "crash", (2, 4), ends=CRASHES), Kind("smp", "reset", (2, 4), ends=(("stopped", "reset"),)),
    Kind("smp", "off", (2, 4), ends=(("stopped", "power-off"),)),
    Kind("beat", sign=rb"beat: \d+ worst"), Kind("beat", "busy", sign=rb"beat: \d+ worst"),
    Kind("echo", sign="echo"), Kind("echo", "poll", sign="echo"), Kind("idle"), Kind("spin", sign="cpu"),
    Kind("chatter", sign=rb"chatter: line \d+"), Kind("triple", ends=CRASHES),
    Kind("fpu", "seed=%(seed)d rounds=20 spin=200000", ends=PASSES), Kind("memory", ends=PASSES, mem=12),
)
IMAGES = sorted({kind.image for kind in KINDS})


class Wrong(AssertionError):
    """What was found, with the last operations before it."""


class Soak:
    """A life on @machine, which has @cpus CPUs and no VM yet."""

    def __init__(self, machine, seed, cpus=4):
        self.operator, self.seed, self.cpus = machine.operator, seed, cpus
        self.random = random.Random(seed)
        self.made = {}       # name: (kind, vcpus)
        self.states = {}     # name: what the commands have led to
        self.done = collections.Counter()
        self.refused = collections.Counter()
        self.last = collections.deque(maxlen=40)
        self.turns = self.migrations = self.checks = self.probes = self.clears = self.number = 0
        self.counted = set()  # (name, start) whose figures are in the sums
        self.idle = {}       # name of one that should end: its figures when it was last seen to have done something
        machine.client.clock = machine.cpu_seconds  # what an hour's run waits for must not depend on its host
        self.operator.client.write_request(CPU, CPU_TRACE, {"on": True})  # its rings are made once and stay
        self.books = soak_books.Books(self.operator, self.need, cpus)
        self.began = self.operator.host()
        self.before = self.figures_of(self.began)

    # ---- what is asked ----

    @staticmethod
    def figures_of(host):
        return {name: host["memory"][name] for name in ("committed", "host", "guest", "shared", "leaving")}

    def need(self, condition, what, *values):
        if not condition:
            raise Wrong("%s\nseed %d; the last operations:\n  %s" % (what % values, self.seed, "\n  ".join(self.last)))

    def attempt(self, name, call, *arguments):
        """Makes a call and counts it; False when it was refused for want of CPUs or memory."""
        self.last.append("%s %s" % (name, " ".join(map(str, arguments))))
        self.done[name] += 1
        try:
            call(*arguments)
            return True
        except smp.SmpError as error:
            self.last[-1] += ": " + str(error)
            if error.rc not in REFUSALS:
                raise
            self.refused[name] += 1
            return False

    def chance(self, one_in):
        return self.random.randrange(one_in) == 0

    def pick(self, *states):
        """The name of a VM that is in one of @states by what was commanded, None when there is none."""
        names = sorted(name for name, state in self.states.items() if not states or state in states)
        return self.random.choice(names) if names else None

    def note_figures(self, name):
        """Adds what its present start has come to, once; its figures go when it starts anew."""
        info = self.operator.info(name)
        if info["starts"] and (name, info["starts"]) not in self.counted:
            self.counted.add((name, info["starts"]))
            self.turns += info["cpu"]["turns"]
            self.migrations += info["cpu"]["migrations"]
        return info

    def look(self, name):
        """Its info; a guest that has ended by itself has done it in one of its ways, and counts as ended from here on."""
        info = self.operator.info(name)
        kind, expected = self.made[name][0], self.states[name]
        if info["state"] == expected:
            return info
        ended = (info["state"], info["reason"])
        if ended[0] == "crashed" and ended not in kind.ends:
            self.last.append(self.operator.report(name)[:2000])
        self.need(expected in ("running", "paused") and ended in kind.ends, "VM %s (%s %s) should be %s and is %s",
                  name, kind.image, kind.words, expected, ended)
        if ended in PASSES:
            self.need(info["exit_code"] == vms.PASS, "VM %s (%s %s) failed:\n%s", name, kind.image, kind.words,
                      self.operator.output(name).decode(errors="replace")[-1500:])
        self.states[name] = info["state"]
        return info

    # ---- numbers ----

    def parts(self, count):
        """Reservation and limit that are in order, None for none."""
        reservation = self.random.choice((None, None, None, 20, 50, 100, 200))
        limit = self.random.choice((None, None, 10, 40, 80, 150, 400))
        reservation = reservation and min(reservation, 100 * count)
        return reservation, limit and max(limit, reservation or 0)

    def affinity(self):
        return ",".join(str(cpu) for cpu in sorted(self.random.sample(range(self.cpus), self.random.randint(1, self.cpus))))

    def cpu_text(self, count):
        reservation, limit = self.parts(count)
        words = ["count = %d" % count, "shares = %d" % self.random.choice((1, 100, 1000, 1000, 5000, 1000000))]
        words += ["reservation = pct(%d)" % reservation] if reservation else []
        words += ["limit = pct(%d)" % limit] if limit else []
        words += ['affinity = "%s"' % self.affinity()] if self.chance(4) else []
        words += ["latency = true"] if self.chance(6) else []
        words += ["exclusive = true"] if self.chance(8) else []
        return ", ".join(words)

    def change(self, path, value):
        self.operator.client.write_request(TREE, TREE_SET, {"path": path, "value": value}, seconds=120)

    def set_number(self):
        name = self.pick()
        if not name:
            return
        setting, value = self.random.choice((
            ("shares", lambda: self.random.choice((1, 10, 500, 1000, 4000, 1000000))),
            ("shares", lambda: self.random.randint(1, 2000)),
            ("reservation", lambda: self.random.choice(("0%", "0%", "10%", "40%", "100%", "250%"))),
            ("limit", lambda: self.random.choice(("none", "none", "10%", "30%", "100%", "350%"))),
            ("affinity", lambda: self.random.choice(("any", self.affinity(), self.affinity()))),
            ("affinity", lambda: str(self.random.randrange(self.cpus))),
            ("exclusive", lambda: self.chance(3)),
            ("latency", lambda: self.chance(2)),
        ))
        self.attempt("set " + setting, self.change, "vm.%s.cpu.%s" % (name, setting), value())

    def set_slice(self):
        self.attempt("set slice", self.change, "host.cpu.slice", self.random.choice((500_000, 2_000_000, 5_000_000, 20_000_000)))

    # ---- lives ----

    def define(self):
        if len(self.made) >= VMS_MAX:
            self.destroy()
            return
        self.number += 1
        name, kind = "vm%d" % self.number, self.random.choice(KINDS)
        count = self.random.randint(*kind.cpus)
        words = kind.words % {"seed": self.number} + (" cpus=%d patience=%d" % (count, GUEST_PATIENCE) if kind.image == "smp" else "")
        text = vms.guest(name, kind.image, words.strip(), "MiB(%d)" % kind.mem, "cpu = { %s }" % self.cpu_text(count))
        if self.attempt("define", self.operator.define, text):
            self.made[name], self.states[name] = (kind, count), "defined"

    def start(self):
        name = self.pick("defined", "stopped", "crashed")
        if not name:
            self.define()
            return
        self.begin(name)

    def begin(self, name):
        self.note_figures(name)
        if self.attempt("start", self.operator.start, name):
            self.states[name] = "running"
            self.books.began(name)

    def verb(self, word, call, to):
        """One for VMs that run; the guest may have ended by itself just before."""
        name = self.pick("running")
        if not name:
            self.start()
            return
        try:
            self.attempt(word, call, name)
            self.states[name] = to
        except smp.SmpError as error:
            if error.rc != smp.BAD_STATE:
                raise
            self.need(self.look(name)["state"] in vms.ENDED, "VM %s: %s was refused: %s", name, word, error)

    def pause(self):
        self.verb("pause", self.operator.pause, "paused")

    def resume(self):
        """Refused when its cores or its reservation have gone to others meanwhile."""
        name = self.pick("paused")
        if not name:
            self.pause()
        elif self.attempt("resume", self.operator.resume, name):
            self.states[name] = "running"
            self.books.resumed(name)
        else:
            self.books.not_resumed(name)

    def end(self, name):
        """Stops what runs or is paused; a guest that ended by itself just before has ended in one of its ways."""
        try:
            self.operator.stop(name)
            self.states[name] = "stopped"
        except smp.SmpError as error:
            if error.rc != smp.BAD_STATE:
                raise
            self.need(self.look(name)["state"] in vms.ENDED, "VM %s: stop was refused: %s", name, error)

    def stop(self):
        name = self.pick("running", "paused")
        if name:
            self.attempt("stop", self.end, name)
        return name

    def restart(self):
        """Off and on again at once."""
        name = self.stop()
        if name:
            self.begin(name)

    def press(self):
        self.verb("power button", self.operator.power, "running")

    def destroy(self):
        name = self.pick()
        if not name:
            return
        if self.states[name] in ("running", "paused"):
            self.attempt("stop", self.end, name)
        self.note_figures(name)
        self.attempt("destroy", self.operator.destroy, name)
        del self.made[name], self.states[name]

    def flutter(self):
        """Pauses and resumes as fast as the line goes."""
        for _ in range(self.random.randint(2, 6)):
            self.pause()
            self.resume()

    def trace(self):
        self.attempt("trace", self.operator.client.write_request, CPU, CPU_TRACE, {"on": self.chance(2)})

    # ---- what must hold ----

    def check(self):
        self.checks += 1
        self.operator.check()
        infos = {name: self.look(name) for name in sorted(self.states)}
        self.books.look_at(infos)
        for name, info in infos.items():
            self.look_at_work(name, info)

    def look_at_work(self, name, info):
        """One that is to come to its end does so after a time of its own that is enough for it, and does not sleep for long."""
        if info["state"] != "running" or self.made[name][0].sign or not self.made[name][0].ends:
            self.idle.pop(name, None)
            return
        before = self.idle.setdefault(name, info)
        if before["starts"] != info["starts"] or info["cpu"]["turns"] != before["cpu"]["turns"]:
            self.idle[name] = before = info
        # who waits for a CPU waits for long when others have a million times his shares
        slept = info["cpu"]["blocked_ns"] - before["cpu"]["blocked_ns"]
        self.need(info["cpu_ns"] < WORK and slept < ASLEEP * self.made[name][1], "VM %s does not come to its end: %r, then %r",
                  name, before, info)

    def sign_of_life(self, name, sign, before):
        """True once the guest has shown it since @before."""
        if sign == "cpu":
            return self.operator.info(name)["cpu_ns"] > before
        return re.search(rb"echo: alive" if sign == "echo" else sign, self.operator.output(name, before)) is not None

    @staticmethod
    def is_due(info):
        """It has a claim, and where it may run there is something left beside what others have reserved."""
        cpu = info["cpu"]
        return cpu["entitled"] >= ENTITLED and (cpu["allowed"] == 0 or cpu["allowed"] >= ENTITLED)

    def probe(self):
        """Somebody who should go on does: it uses its CPU, its timers fire, it hears what is typed."""
        name = self.pick("running")
        sign = name and self.made[name][0].sign
        if not sign:
            return
        began = ran = self.look(name)
        if began["state"] != "running" or not self.is_due(began):
            return
        self.probes += 1
        before = self.operator.info(name)["cpu_ns"] if sign == "cpu" else self.operator.head(name)
        self.last.append("probe %s (%s %s)" % (name, self.made[name][0].image, self.made[name][0].words))
        if sign == "echo":
            self.operator.type(name, b"\nalive\n")
        while not self.sign_of_life(name, sign, before):
            now = self.look(name)
            if now["cpu_ns"] > ran["cpu_ns"]:
                ran = now
            if not self.is_due(now):
                return
            self.need(ran["cpu_ns"] - began["cpu_ns"] < PATIENCE and now["uptime_ns"] - ran["uptime_ns"] < STARVED,
                      "VM %s gives no sign of life: it was %r and is %r, its console ends %r", name, began, now,
                      self.operator.output(name)[-300:])
            time.sleep(0.1)

    # ---- all of it ----

    WAYS = ((define, 5), (start, 8), (stop, 3), (pause, 5), (resume, 7), (restart, 3), (press, 1), (destroy, 2), (flutter, 2),
            (set_number, 20), (set_slice, 1), (trace, 1))

    def step(self):
        ways, weights = zip(*self.WAYS)
        self.random.choices(ways, weights)[0](self)

    def run(self, seconds=None, most=None, each=lambda: None):
        """Operations for @seconds of ours, or @most of them; @each is called beside every walk."""
        deadline, steps = seconds and time.monotonic() + seconds, 0
        while time.monotonic() < deadline if seconds else steps < most:
            self.step()
            steps += 1
            if steps % PROBE_EVERY == 0:
                self.probe()
            if steps % CHECK_EVERY == 0:
                self.check()
                each()
                if self.checks % CLEAR_EVERY == 0:
                    self.clear()
            if self.chance(8):
                time.sleep(self.random.random() / 4)

    def clear(self):
        """All VMs go; the memory is as it was."""
        while self.made:
            self.destroy()
        now = self.operator.host()
        deadline = now["uptime_ns"] + SETTLED
        while self.figures_of(now) != self.before and now["uptime_ns"] < deadline:
            time.sleep(0.2)
            now = self.operator.host()
        self.need(self.figures_of(now) == self.before, "memory was %r and is %r", self.before, self.figures_of(now))
        self.clears += 1

    def finish(self):
        self.check()
        self.clear()
        self.check()

    def report(self):
        """What it came to, as text."""
        now = self.operator.host()
        ticks = (now["uptime_ns"] - self.began["uptime_ns"]) * now["clock_hz"] // 1_000_000_000
        kinds = ", ".join("%s %d" % (name, count) for name, count in sorted(self.done.items()))
        refused = ", ".join("%s %d" % (name, count) for name, count in sorted(self.refused.items()))
        return ("seed %d: %d ticks on each of %d CPUs, %d VMs, %d decisions for vcpus, %d migrations, %d walks, %d signs of life, "
                "%d times all gone, %d recorded turns, %d events\n%d operations: %s\nof which refused: %s\n" % (
                    self.seed, ticks, self.cpus, self.number, self.turns, self.migrations, self.checks, self.probes,
                    self.clears, self.books.turns, self.books.events, sum(self.done.values()), kinds, refused or "none"))


SCRIPT = "host { watchdog = { timeout = ms(2000) } }\n"
# What the boot log must not say.
TROUBLE = re.compile(rb"\] *error:|^\*\*\* |is stuck", re.MULTILINE)


def trouble_in(log):
    """The line of the boot log that should not be there, None for none."""
    with log.changed:
        found = TROUBLE.search(log.data)
        return found and bytes(log.data[log.data.rfind(b"\n", 0, found.start()) + 1 : found.end() + 2000]).decode(errors="replace")

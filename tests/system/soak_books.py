# SPDX-License-Identifier: Apache-2.0
"""What a machine says of itself, held against itself from one look to the next.

The walker (sched_check) sees the scheduler from inside at one moment: that each tick went to somebody, that nobody
is in two places. Here is what it cannot see: that time which is counted is no more than the time there was, that a
paused VM does nothing, that promises fit the machine, that nobody's recorded turns overlap on two processors, and that
events tell of each change of state, in an order that there can be.
"""
import collections
import time

CPU, EVENTS = 67, 71
CPU_LIST, CPU_TRACE, CPU_RECORDS = 0, 1, 2
EVENTS_GET = 0

ONE_CPU = 1_000_000         # ppm
SYSTEM = ONE_CPU // 5       # reserved for the host's tasks
ROUNDING = 50               # ppm: of rates, which are in 2^-30 of a CPU
START_NS = 1_000_000_000    # from the first processor's first turn to the control plane's zero, and less
CHANGE_NS = 2_000_000       # for each vcpu, from when the scheduler has it to when its VM's clock goes
LOOKED_AT = 150             # records of each processor
TRIES = 50                  # looks until what is under way has come to its end
TURN = 0

# What may follow what in the events of one VM: it may end in the instant in which it starts, before anybody looks.
ENDED = ("vm.stopped", "vm.crashed")
FOLLOWS = {
    "vm.defined": ("vm.running", "vm.destroyed") + ENDED,
    "vm.running": ("vm.running", "vm.paused") + ENDED,
    "vm.paused": ("vm.running",) + ENDED,
    "vm.stopped": ("vm.running", "vm.crashed", "vm.destroyed"),
    "vm.crashed": ("vm.running", "vm.stopped", "vm.destroyed"),
}


def overlapping(turns):
    """Two of @turns, (begin, end, ...) in ns rounded down, that overlap; None when no two do."""
    turns = sorted(turns)
    for before, after in zip(turns, turns[1:]):
        if after[0] + 1 < before[1]:
            return before, after
    return None


class Books:
    """Of the machine behind @operator. @need(condition, format, values...) says what is wrong."""

    def __init__(self, operator, need, cpus):
        self.operator, self.need, self.cpus = operator, need, cpus
        self.counted = {}   # processor: (busy, idle) when last looked at
        self.frozen = {}    # paused VM: its figures then
        self.changes = collections.Counter()  # VM: how often vcpus came to be scheduled in its present start
        self.at = self.read_events(0)["head"]
        self.told = {}      # VM: kind of its last event
        self.events = self.turns = 0

    # ---- what the walk of a life tells ----

    def began(self, name):
        """@name was started."""
        self.changes[name] = 1
        self.frozen.pop(name, None)

    def resumed(self, name):
        self.changes[name] += 1
        self.frozen.pop(name, None)

    def not_resumed(self, name):
        """Its first processors were there, and asleep, until the last one was not admitted."""
        self.frozen.get(name, {}).pop("blocked_ns", None)

    # ---- processors ----

    def look_at_cpus(self):
        """What each was busy and idle for never goes back, and is no more than the time there was."""
        answer = self.operator.client.read_request(CPU, CPU_LIST)
        self.need(len(answer["cpus"]) == self.cpus, "there are %d processors, not %d", len(answer["cpus"]), self.cpus)
        for cpu in answer["cpus"]:
            now, before = (cpu["busy_ns"], cpu["idle_ns"]), self.counted.get(cpu["cpu"], (0, 0))
            self.need(now[0] >= before[0] and now[1] >= before[1], "CPU %d: busy and idle were %r and are %r", cpu["cpu"],
                      before, now)
            self.need(sum(now) <= answer["now_ns"] + START_NS, "CPU %d: %r are more than the %d ns there were", cpu["cpu"],
                      now, answer["now_ns"])
            self.counted[cpu["cpu"]] = now
        # the one that answered has just looked at its clock
        self.need(sum(self.counted[0]) >= answer["now_ns"] - START_NS, "CPU 0: %r are less than the %d ns there were",
                  self.counted[0], answer["now_ns"])

    # ---- VMs ----

    def look_at_vm(self, name, info):
        vcpus, cpu = info["config"]["cpu"]["count"], info["cpu"]
        entities = vcpus + 1  # the worker of its devices, which sleeps there before the VM's clock goes
        slack = CHANGE_NS * entities * (1 + self.changes[name])
        there = entities * info["uptime_ns"] + slack
        spent = info["cpu_ns"] + cpu["ready_ns"]
        self.need(spent <= there, "VM %s: its %d entities ran and waited for %d ns of %d: %r", name, entities, spent, there, info)
        self.need(info["cpu_ns"] <= min(entities, self.cpus) * info["uptime_ns"] + slack, "VM %s ran on more than there is: %r",
                  name, info)
        if info["state"] != "paused":
            self.frozen.pop(name, None)
            return
        held = cpu["limited_ns"] + cpu["costopped_ns"]
        self.need(held <= cpu["ready_ns"] + vcpus * 1000, "VM %s was held back for longer than it waited: %r", name, info)
        figures = {key: info[key] for key in ("cpu_ns", "uptime_ns", "exits", "injected", "starts")}
        figures["turns"], figures["blocked_ns"] = cpu["turns"], cpu["blocked_ns"]
        before = self.frozen.get(name, figures)
        self.need(before == {key: figures[key] for key in before}, "VM %s is paused, but went from %r to %r", name, before, figures)
        self.frozen[name] = figures

    def look_at_promises(self, infos):
        """Reservations fit beside exclusive cores, and those who have one are entitled to it."""
        alive = {name: info for name, info in infos.items() if info["state"] in ("running", "paused")}
        reserved = sum(info["config"]["cpu"].get("reservation", 0) for info in alive.values())
        owned = sum(info["config"]["cpu"]["count"] for info in alive.values()
                    if info["state"] == "running" and info["config"]["cpu"].get("exclusive"))
        self.need(owned < self.cpus and reserved + SYSTEM <= (self.cpus - owned) * ONE_CPU,
                  "%d ppm are promised beside %d exclusive cores: %r", reserved, owned, alive)
        for name, info in alive.items():
            if info["state"] == "running" and not info["config"]["cpu"].get("exclusive"):
                self.look_at_promise(name)

    def look_at_promise(self, name):
        """A change of numbers counts from the next division on, which some processor's next turn makes."""
        for _ in range(TRIES):
            info = self.operator.info(name)
            least = min(info["config"]["cpu"].get("reservation", 0), info["config"]["cpu"]["count"] * ONE_CPU)
            if info["state"] != "running" or info["cpu"]["entitled"] >= least - ROUNDING:
                return
            time.sleep(0.1)
        self.need(False, "VM %s is entitled to less than is reserved for it: %r", name, info)

    # ---- turns ----

    def look_at_turns(self):
        """Of the last that were recorded: one at a time on each processor, and each vcpu on one processor at a time."""
        client = self.operator.client
        state = client.read_request(CPU, CPU_TRACE)
        if not state["on"]:
            return
        client.write_request(CPU, CPU_TRACE, {"on": False})
        mine = collections.defaultdict(list)
        for cpu, head in enumerate(client.read_request(CPU, CPU_TRACE)["heads"]):
            turns = self.last_turns(cpu, head)
            self.need(not overlapping(turns), "CPU %d: turns overlap: %r", cpu, overlapping(turns))
            for turn in turns:
                mine[turn[2:4]].append(turn)
            self.turns += len(turns)
        for who, turns in mine.items():
            self.need(not overlapping(turns), "vcpu %r had two processors: %r", who, overlapping(turns))
        client.write_request(CPU, CPU_TRACE, {"on": True})

    def last_turns(self, cpu, head):
        """(begin, end, VM's id, vcpu, processor) of those among the last records."""
        turns, at = [], max(0, head - LOOKED_AT)
        while at < head:
            answer = self.operator.client.read_request(CPU, CPU_RECORDS, {"cpu": cpu, "from": at})
            turns += [(r[0], r[0] + r[1], r[3], r[4], cpu) for r in answer["records"] if r[2] == TURN]
            self.need(answer["next"] > at, "CPU %d: no records from %d on to %d: %r", cpu, at, head, answer)
            at = answer["next"]
        return turns

    # ---- events ----

    def read_events(self, start):
        return self.operator.client.read_request(EVENTS, EVENTS_GET, {"from": start, "kinds": "vm", "wait": 0})

    def look_at_events(self):
        """All that came since: each follows what came before it for its VM."""
        while True:
            answer = self.read_events(self.at)
            if answer.get("missed"):
                self.told = {}  # too many operations between two looks: begin anew
            for event in answer["events"]:
                self.hear(event)
            self.at = answer["next"]
            if self.at >= answer["head"]:
                return

    def hear(self, event):
        name, kind = event["name"], event["kind"]
        before = self.told.pop(name, None)
        self.need(before is None or kind in FOLLOWS[before], "VM %s: %r after %s", name, event, before)
        self.need(kind != "vm.stopped" or event.get("text"), "VM %s: stopped, but not why: %r", name, event)
        if kind != "vm.destroyed":
            self.told[name] = kind
        self.events += 1

    def hear_of(self, name):
        """What was told last of @name is the state in which it is, or is to be told as soon as its crash report is whole."""
        for _ in range(TRIES):
            state = "vm." + self.operator.state(name)
            self.look_at_events()
            if self.told.get(name, state) == state:
                return
            time.sleep(0.1)
        self.need(False, "VM %s: %s is its state, but %s was told last", name, state, self.told[name])

    def look_at(self, infos):
        """@infos: of all VMs there are. Those of whom events tell have the state that is told last."""
        for name, info in infos.items():
            self.look_at_vm(name, info)
        self.look_at_promises(infos)
        self.look_at_cpus()
        self.look_at_turns()
        for name in infos:
            self.hear_of(name)

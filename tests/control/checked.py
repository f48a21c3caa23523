# SPDX-License-Identifier: Apache-2.0
"""An SMP client that holds every message against docs/protocol.cddl as it goes by."""
import os

import cbor2
import cddl
import smp

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

COMMANDS = {
    0: ("os", {0: "echo", 5: "reset", 6: "parameters", 7: "info"}),
    1: ("image", {0: "state", 1: "upload", 5: "erase", 6: "slots"}),
    2: ("statistics", {0: "data", 1: "list"}),
    3: ("settings", {0: "access", 1: "delete", 2: "commit", 3: "store"}),
    8: ("file", {0: "transfer", 1: "status", 2: "hash", 3: "types", 4: "close"}),
    9: ("shell", {0: "execute"}),
    10: ("enumeration", {0: "count", 1: "list", 2: "single", 3: "details"}),
    64: ("session", dict(enumerate("whoami challenge login logout keys enroll revoke trust audit".split()))),
    65: ("vm", dict(enumerate("list define start stop pause resume destroy info power report".split()))),
    67: ("cpu", dict(enumerate("list trace records pools pool create-pool set-pool remove-pool move".split()))),
    68: ("volume", dict(enumerate("list show create clone snapshot merge delete import resize format set job jobs "
                                  "cancel".split()))),
    69: ("net", dict(enumerate("list show ports addresses nics define set remove capture records end".split()))),
    70: ("policy", dict(enumerate("scripts hooks plan apply run stop generations rollback".split()))),
    71: ("events", dict(enumerate("read attach detach kinds".split()))),
    72: ("console", dict(enumerate("list read attach detach input size".split()))),
    74: ("inspect", dict(enumerate("host check".split()))),
    77: ("store", dict(enumerate("list info delete format".split()))),
    76: ("tree", dict(enumerate("list get set unset why describe values".split()))),
}

with open(os.path.join(ROOT, "docs", "protocol.cddl"), encoding="utf-8") as text:
    SCHEMA = cddl.Schema(text.read())


def rule(group, command):
    name, commands = COMMANDS[group]
    return "%s-%s" % (name, commands[command])


def failed(answer):
    return "rc" in answer or "err" in answer


def check_reply(reply):
    answer = cbor2.loads(reply.payload)
    if not failed(answer):
        SCHEMA.check(rule(reply.group, reply.command) + "-reply", answer)
        return
    SCHEMA.check("failure", answer)
    if reply.group < 64 and "err" in answer:
        assert set(answer) == {"err"}, "stock clients refuse other keys"


def check_request(group, command, payload):
    """Standard groups take unknown keys, ours refuse them."""
    if group >= 64 and not isinstance(payload, bytes):
        SCHEMA.check(rule(group, command) + "-request", {} if payload is None else payload)


class Client(smp.Client):
    """Each reply is checked, each request that was not refused or is good by intent, and what is pushed when asked to."""

    def next_frame(self, seconds=30):
        reply = super().next_frame(seconds)
        check_reply(reply)
        return reply

    def post(self, op, group, command, payload=None, sequence=200):
        check_request(group, command, payload)
        super().post(op, group, command, payload, sequence)

    def exchange(self, op, group, command, payload=None, **more):
        reply = super().exchange(op, group, command, payload, **more)
        if not failed(cbor2.loads(reply.payload)):
            check_request(group, command, payload)
        return reply

    def check_pushed(self, start=0):
        """All that was pushed since line @start, or was no frame: AssertionError unless it is in the schema."""
        for line in self.deframer.other[start:]:
            SCHEMA.check("pushed", smp.pushed(line))

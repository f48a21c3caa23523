# SPDX-License-Identifier: Apache-2.0
"""Small guests on a network (tests/guests/net.c): their definitions, what their interfaces have counted, and windows of it
in the machine's own time.
"""
import re

import shares
import vms

TREE, GET = 76, 1
DROPS = ("short", "long", "segments", "checksum", "gso", "mac", "ip", "vlan", "storm", "nowhere", "no_buffer", "small_buffer", "link",
         "queue", "memory")
# an emulated guest does in half a second what another does in ten milliseconds
NETWORK = 'network "lan" { patience = ms(500) }\n'
TSO = 65160             # payload of TCP that goes as one frame
TSO_FRAME = TSO + 54
GATEWAY = "52:55:0a:00:02:02"  # the emulator's user network


def mac(number):
    return "52:54:00:00:00:%02x" % number


def guest(name, number, words, nic="", network="lan", more=""):
    """Lua text: VM @name with the address @number, which does what @words say."""
    return vms.guest(name, "net", words, mem="MiB(8)", more='net = { lan = virtio { network = "%s", mac = "%s", queues = 1, %s } }, %s'
                     % (network, mac(number), nic, more))


def counter(operator, path):
    return operator.client.read_request(TREE, GET, {"path": path})["value"]


def of(operator, name, what):
    """Counter @what of the interface of VM @name."""
    return counter(operator, "vm.%s.net.lan.%s" % (name, what))


def drops(operator, name):
    """{reason: frames} of the interface, both ways, without those that are zero."""
    found = {}
    for way in ("tx", "rx"):
        for reason in DROPS:
            count = of(operator, name, "%s.drops.%s" % (way, reason))
            if count:
                found["%s %s" % (way, reason)] = count
    return found


def wait_counter(operator, name, what, least, seconds=120):
    shares.wait_until(lambda: of(operator, name, what) >= least, seconds,
                      lambda: "%s of %s is %d of %d" % (what, name, of(operator, name, what), least))


def rate(operator, names, what, seconds):
    """{name: counted in a second} over @seconds of the machine's time."""
    def look(name):
        return of(operator, name, what), operator.info(name)["uptime_ns"]
    before = {name: look(name) for name in names}
    shares.wait(operator, seconds)
    found = {}
    for name, (count, begin) in before.items():
        count_then, end = look(name)
        found[name] = (count_then - count) * 1e9 / (end - begin)
    return found


def pings(operator, name, seconds=300):
    """(p50, p99, worst) of the next report of the guest that pings, in ticks."""
    head = operator.head(name)
    found = operator.wait_output(name, rb"ping: count \d+ p50 (\d+) p99 (\d+) worst (\d+)\r?\n", seconds, head)
    return tuple(int(n) for n in found.groups())


def report(console, who):
    """{word: number} of the last line of @who in what a guest printed."""
    lines = re.findall(r"^%s: (.*\d)\r?$" % who, console, re.MULTILINE)
    words = lines[-1].split()
    return dict(zip(words[::2], map(int, words[1::2])))

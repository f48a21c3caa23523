# SPDX-License-Identifier: Apache-2.0
"""Small guests that send, take, ping and answer on a network of their own, or by the wire."""
import time

import bochs
import conftest
import nets
import pytest
import shares
import vms

SEGMENTS, SMALL = 300, 3000
RATE = 200_000          # bytes a second
WIRE = 250_000
WEIGHTS = {"one": 1000, "two": 2000, "four": 4000}


@pytest.fixture(scope="module")
def machine(boot_shared):
    machine = boot_shared(store={**conftest.guest_store("net"), "scripts/boot.lua": nets.NETWORK}, megs=96, cpus=1, model=bochs.ICELAKE)
    machine.log.wait_for(r"\] ready", 120)
    yield machine
    machine.stop()


def run(operator, words, sink="sink", count=None):
    """One guest sends what @words say, the other takes it to its end: (what the sink said, what the source said)."""
    operator.define(nets.guest("sink", 2, "%s count=%d report=%d" % (sink, count, count)))
    operator.define(nets.guest("source", 1, "source to=2 " + words))
    operator.start("sink")
    operator.wait_output("sink", rb"net: ")
    operator.start("source")
    consoles = {}
    for name in ("source", "sink"):
        info = operator.wait_state(name, vms.ENDED, 240)
        consoles[name] = vms.passed(info, operator.output(name).decode())
    return nets.report(consoles["sink"], "sink"), nets.report(consoles["source"], "source")


def test_large_segments_cross_in_one_piece(operator):
    """Each byte is copied once, nothing is cut or summed, nothing lost."""
    took, sent = run(operator, "payload=%d count=%d batch=8" % (nets.TSO, SEGMENTS), count=SEGMENTS)
    assert took["frames"] == sent["frames"] == SEGMENTS
    assert took["bytes"] == sent["bytes"] == SEGMENTS * nets.TSO_FRAME
    assert nets.of(operator, "sink", "rx.copied") == nets.of(operator, "sink", "rx.bytes") == took["bytes"]
    assert nets.of(operator, "sink", "rx.cut") == nets.of(operator, "sink", "rx.summed") == 0
    assert nets.drops(operator, "sink") == nets.drops(operator, "source") == {}
    assert took["interrupts"] < SEGMENTS


def test_small_frames_in_batches(operator):
    took, _ = run(operator, "payload=22 count=%d batch=32" % SMALL, count=SMALL)
    assert (took["frames"], took["lost"]) == (SMALL, 0)
    assert nets.drops(operator, "sink") == nets.drops(operator, "source") == {}
    assert took["interrupts"] <= SMALL / 4, took


def test_who_does_not_cut_gets_frames_of_the_wires_size(operator):
    """Of each segment 45, whose sums the guest itself has found right; the same bytes in the same order."""
    each, segments = (nets.TSO + 1459) // 1460, 30
    took, sent = run(operator, "payload=%d count=%d batch=8" % (nets.TSO, segments), "sink plain", each * segments)
    assert took["bytes"] == segments * (nets.TSO + each * 54)
    assert nets.of(operator, "sink", "rx.cut") == segments and sent["frames"] == segments
    assert nets.drops(operator, "sink") == {}


def test_a_guest_that_forges_addresses_reaches_nobody(operator):
    """The definition says another address than the one the guest was told to have sent from: it is counted, and dropped."""
    operator.define(nets.guest("sink", 2, "sink"))
    operator.define(nets.guest("liar", 1, "source to=2 count=50 payload=64 as=9"))
    operator.start("sink")
    operator.wait_output("sink", rb"net: ")
    operator.start("liar")
    vms.passed(operator.wait_state("liar", vms.ENDED, 120), operator.output("liar").decode())
    assert nets.drops(operator, "liar") == {"tx mac": 50}
    assert nets.of(operator, "sink", "rx.frames") == 0


def test_a_rate_holds(operator):
    """Within 2 %, of large frames and of small ones."""
    for name, number, payload in (("large", 1, nets.TSO), ("small", 3, 1000)):
        operator.define(nets.guest("sink" + name, number + 1, "sink"))
        operator.define(nets.guest(name, number, "source to=%d payload=%d batch=4" % (number + 1, payload), "rate = Mbps(%g)" % (RATE * 8 / 1e6)))
        operator.start("sink" + name)
        operator.wait_output("sink" + name, rb"net: ")
        operator.start(name)
        nets.wait_counter(operator, name, "tx.throttled", 1)
    # a segment is 64 KiB: a window of many
    found = nets.rate(operator, ["small"], "tx.bytes", 3)
    assert found["small"] == pytest.approx(RATE, rel=0.02), found
    found = nets.rate(operator, ["large"], "tx.bytes", 20)
    assert found["large"] == pytest.approx(RATE, rel=0.02 + 2 * nets.TSO_FRAME / (20 * RATE)), found


def test_a_receiver_that_posts_no_buffers_holds_nobody_up(operator):
    """Who sends to it waits a little, once; a third who asks somebody else is not concerned at all."""
    operator.define(nets.guest("deaf", 2, "deaf"))
    operator.define(nets.guest("source", 1, "source to=2 payload=64 batch=8"))
    operator.define(nets.guest("echo", 4, "echo"))
    operator.define(nets.guest("ping", 3, "ping to=4 count=100"))
    for name in ("deaf", "echo"):
        operator.start(name)
        operator.wait_output(name, rb"net: ")
    operator.start("ping")
    quiet = nets.pings(operator, "ping")
    operator.start("source")
    nets.wait_counter(operator, "deaf", "rx.stalls", 1)
    nets.wait_counter(operator, "deaf", "rx.frames", 1)
    beside = nets.pings(operator, "ping")
    print("quiet", quiet, "beside", beside)
    assert nets.drops(operator, "deaf").keys() == {"rx no_buffer"}
    assert nets.drops(operator, "echo") == nets.drops(operator, "ping") == {}


def test_a_guest_comes_and_goes_under_a_flood(operator):
    operator.define(nets.guest("sink", 2, "sink loss"))
    operator.define(nets.guest("source", 1, "source to=2 payload=1000 batch=16"))
    operator.start("source")
    for _ in range(5):
        operator.start("sink")
        nets.wait_counter(operator, "sink", "rx.frames", 200)
        operator.stop("sink")
    operator.check()
    operator.start("sink")
    operator.stop("source")
    operator.destroy("source")
    operator.check()


# ---- the wire ----

@pytest.fixture(scope="module")
def wired(boot_shared):
    """A machine with a card and an access line that is slower than it; each guest has its numbers for that."""
    network = 'network "lan" { uplink = { nic = "nic0", rate = Mbps(%g) }, patience = ms(500) }\n' % (WIRE * 8 / 1e6)
    machine = boot_shared(store={**conftest.guest_store("net"), "scripts/boot.lua": network}, megs=96, cpus=1, model=bochs.ICELAKE,
                          network=bochs.Network())
    machine.log.wait_for(r"\] ready", 120)
    yield machine
    machine.stop()


@pytest.fixture
def owner(wired):
    yield wired.operator
    wired.operator.clear()


def flood(owner, name, number, numbers, payload=1000):
    owner.define(nets.guest(name, number, "source wire to=2 payload=%d batch=8" % payload, "mbps = { %s }" % numbers))
    owner.start(name)
    nets.wait_counter(owner, name, "uplink.frames", 20)


def test_shares_of_the_wire(owner):
    """1 : 2 : 4 within 3 %, whatever the size of their frames; beside a flood with all the shares there are a reservation holds."""
    for number, (name, weight) in enumerate(WEIGHTS.items()):
        flood(owner, name, number + 1, "shares = %d" % weight, 300 * (number + 1))
    found = nets.rate(owner, WEIGHTS, "uplink.bytes", 4)
    print(found)
    assert sum(found.values()) == pytest.approx(WIRE, rel=0.03)
    for name, weight in WEIGHTS.items():
        assert found[name] == pytest.approx(WIRE * weight / sum(WEIGHTS.values()), rel=0.03), found
    flood(owner, "flood", 9, "shares = 1000000")
    owner.client.write_request(nets.TREE, 2, {"path": "vm.one.net.lan.mbps.reservation", "value": 100_000})
    shares.wait(owner, 0.5)
    found = nets.rate(owner, [*WEIGHTS, "flood"], "uplink.bytes", 4)
    assert found["one"] >= 0.97 * 100_000 and found["flood"] > 0.9 * (WIRE - 100_000), found


def test_a_limit_of_the_wire(owner):
    flood(owner, "one", 1, "limit = Mbps(0.8)")
    found = nets.rate(owner, ["one"], "uplink.bytes", 4)
    assert found["one"] == pytest.approx(100_000, rel=0.02), found


def test_the_wire_going_away_hurts_nobody(owner):
    """Frames are dropped and counted while an interface has no link, and go on after it."""
    flood(owner, "one", 1, "shares = 1000")
    owner.client.write_request(nets.TREE, 2, {"path": "vm.one.net.lan.connected", "value": False})
    nets.wait_counter(owner, "one", "tx.frames", 1)
    before = nets.of(owner, "one", "uplink.frames")
    time.sleep(0.5)
    assert nets.of(owner, "one", "uplink.frames") - before <= 32
    owner.client.write_request(nets.TREE, 2, {"path": "vm.one.net.lan.connected", "value": True})
    nets.wait_counter(owner, "one", "uplink.frames", before + 100)

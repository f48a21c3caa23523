# SPDX-License-Identifier: Apache-2.0
"""Small guests that share a slow disk (shares.py): what test_fio.py shows with Debian's fio, in a tenth of the time."""
import conftest
import pytest
import shares


@pytest.fixture(scope="module")
def contest(boot_shared):
    script = shares.VOLUMES + "".join(shares.small(name, number) for name, number in shares.SHARES.items())
    machine = boot_shared(store={"scripts/boot.lua": script, **conftest.guest_files("reads")}, ips=50_000_000)
    machine.log.wait_for(r"\] ready", 240)
    machine.share_line()
    contest = shares.Contest(machine)
    contest.set("domain.%s.latency" % shares.DOMAIN, shares.LATENCY)
    for name in shares.SHARES:
        machine.operator.start(name)
    yield contest
    machine.stop()


def test_three_get_their_shares(contest):
    contest.shares_hold()


def test_equal_shares_are_equal(contest):
    contest.equal_shares_are_equal()


def test_a_reservation_holds_while_a_fourth_floods(contest):
    contest.reservation_holds()


def test_what_is_at_the_device_is_past_ordering(contest):
    """Without a bound below what the guests have under way their shares say nothing."""
    for name in shares.SHARES:
        contest.set("vm.%s.disk.test.iops.shares" % name)
    contest.set("domain.%s.latency" % shares.DOMAIN)
    contest.set("domain.%s.depth_max" % shares.DOMAIN, 256)
    found = contest.measure(shares.SHORT)
    assert found["four"].rate < 1.5 * found["one"].rate, found

# SPDX-License-Identifier: Apache-2.0
"""Debian's fio in three Debian guests that share a slow disk (shares.py): shares hold, processors stay idle, a reservation stands
the flood of a fourth, and fio has counted what Corbel has. Three boots take the emulator long: `make soak-fio`, a part of
`make soak`; test_shares.py has smaller guests.
"""
import os
import pathlib

import bochs
import conftest
import fio
import pytest
import shares

DEPTH, SECONDS = 8, 3600     # fio's; it is ended when all has been seen


@pytest.fixture(scope="module")
def contest(boot_shared):
    """With .readers, each of which reads."""
    script = shares.VOLUMES + "".join(fio.guest(name, number) for name, number in shares.SHARES.items())
    store = {"scripts/boot.lua": script, "debian/vmlinux": pathlib.Path(conftest.DEPS, "guests", "vmlinux"),
             "debian/initrd": pathlib.Path(conftest.BUILD, "guests", "busybox.cpio"), **conftest.guest_files("reads")}
    machine = boot_shared(store=store, megs=512, ips=50_000_000, model=bochs.ICELAKE,
                          base=os.path.join(conftest.BUILD, "guests", "fio.ext4"))
    machine.log.wait_for(r"\] ready", 240)
    machine.share_line()
    contest = shares.Contest(machine)
    contest.set("domain.%s.latency" % shares.DOMAIN, shares.LATENCY)
    contest.readers = [fio.Reader(machine.operator, name) for name in shares.SHARES]
    # who reads already is not to cost the emulator much before the last one does
    for name in shares.SHARES:
        contest.set("vm.%s.disk.test.iops.limit" % name, 4)
    for reader in contest.readers:
        reader.begin(SECONDS, DEPTH)
    for reader in contest.readers:
        reader.wait_busy()
    for name in shares.SHARES:
        contest.set("vm.%s.disk.test.iops.limit" % name)
    yield contest
    print("the emulator took %.0f s of a processor" % machine.cpu_seconds())
    machine.stop()


def test_three_get_their_shares_and_sleep_between(contest):
    """Each processor sleeps 30 % of the time or more, by its kernel and by Corbel."""
    before = [reader.inside() for reader in contest.readers]
    found = contest.shares_hold()
    for reader, (_, idle, ticks) in zip(contest.readers, before):
        _, idle_then, ticks_then = reader.inside()
        slept = (idle_then - idle) / (ticks_then - ticks)
        print("%s: its kernel slept %.3f" % (reader.name, slept))
        assert min(slept, found[reader.name].slept) >= 0.3, (reader.name, slept, found)


def test_equal_shares_are_equal(contest):
    contest.equal_shares_are_equal()


def test_a_reservation_holds_while_a_fourth_floods(contest):
    contest.reservation_holds()


def test_fio_says_the_same(contest):
    """What each fio has counted in the end is what its disk has, and what it wrote down at a time is what was counted then."""
    for reader in contest.readers:
        reader.end()
    for reader in contest.readers:
        said = reader.said()
        print("%s: fio %u requests, its disk %u" % (reader.name, said["reads"], reader.reads()))
        assert said["errors"] == 0
        assert 0 <= reader.reads() - said["reads"] <= DEPTH
        # fio writes nothing down of a time in which it got nothing
        for found in [found for found in contest.seen if found[reader.name].rate > 10]:
            w, its_own = found[reader.name], fio.in_log(said, found[reader.name])
            print("  fio %.2f a second, its disk %.2f" % (its_own, w.rate))
            # at both ends a request may be on either side
            assert its_own == pytest.approx(w.rate, abs=0.03 * w.rate + 3 / (w.end - w.begin)), (w, said["log"])

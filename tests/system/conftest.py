# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the system tests: a machine that boots Corbel from a disk made for the one test.

    def test_it(boot):
        machine = boot(store={"scripts/boot.lua": "..."}, megs=128)
        machine.log.wait_for("...", 60)
        machine.smp.echo("hello")

Most boots go through the sector loader; boot(grub=True) takes GRUB. Waiting times are limits on
the host's clock, generous because two machines may share one core with other work.
"""
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "board")]
sys.path.append(os.path.join(ROOT, "tests", "control"))  # stock.py and checked.py; behind, since it has a conftest too

pytest.register_assert_rewrite("smp", "vms", "volumes", "shares", "debian", "locks", "checked", "cddl")

import bochs  # noqa: E402
import mkcpio  # noqa: E402
import mkdisk  # noqa: E402
import mkimage  # noqa: E402
import relay  # noqa: E402
import smp  # noqa: E402
import vms  # noqa: E402

BUILD = os.environ.get("CORBEL_BUILD", os.path.join(ROOT, "build"))
DEPS = os.environ.get("CORBEL_DEPS", os.path.join(BUILD, "deps"))
EMPTY = {"scripts/boot.lua": "-- no machines\n"}
# what takes minutes runs when it is named, as by make soak-fio
collect_ignore = ["test_fio.py"]


def pytest_sessionstart(session):
    """A missing emulator or image is a failure, not a reason to skip."""
    if not shutil.which("bochs"):
        pytest.exit("the emulator bochs is not installed (make deps)", returncode=3)
    for name in ("corbel.elf", "sector.bin"):
        if not os.path.exists(os.path.join(BUILD, name)):
            pytest.exit("%s is not built (make system builds it)" % os.path.join(BUILD, name), returncode=3)


class Machine(bochs.Bochs):
    """An emulated machine with Corbel on it, and an SMP client on its management line."""

    client = relay = None

    @property
    def smp(self):
        """The client, once Corbel answers."""
        if self.client is None:
            self.client = smp.Client(self.management)
            self.client.connect()
        return self.client

    def share_line(self):
        """Puts the relay of `make run` on the management line: our client is one of those who come through it."""
        self.relay = relay.Relay(self.management, 0)
        self.client = smp.Client(socket.create_connection(self.relay.address))
        self.client.connect()

    def ctl(self, *words, text=None):
        """What corbelctl prints, on a shared line; it must succeed and say nothing on its error stream."""
        done = subprocess.run([os.path.join(BUILD, "corbelctl"), "-t", "%s:%d" % self.relay.address, *words],
                              input=text, timeout=120, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              stdin=subprocess.DEVNULL if text is None else None)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    @property
    def operator(self):
        """The operator's verbs, once Corbel answers."""
        return vms.Operator(self.smp)

    def is_up(self):
        """Corbel runs and answers requests, as far as its log says."""
        log = self.log.text()
        return self.running() and "] ready" in log and "*** corbel" not in log


def guest_files(*names):
    """Store entries of the test guests @names, as vms.guest() names them."""
    return {"guests/" + name: pathlib.Path(BUILD, "guests", name + ".elf") for name in names}


def guest_store(*names):
    """A store with the test guests @names, of which none starts by itself."""
    return {**EMPTY, **guest_files(*names)}


def write_store(path, contents):
    """A store of @contents: {name: text or bytes, or os.PathLike of a file}."""
    with open(path, "wb") as out:
        cpio = mkcpio.Cpio(out)
        for name, content in contents.items():
            if isinstance(content, os.PathLike):
                cpio.file(name, content)
            else:
                data = content.encode() if isinstance(content, str) else content
                cpio.entry(name, 0o100644, data)
        cpio.close()


class Booter:
    """Starts machines with disks below @directory; end() stops them and removes the disks."""

    def __init__(self, directory):
        self.directory = directory
        self.machines = []

    def __call__(self, store=None, cmdline="", grub=False, elf=None, disk=None, writable=mkdisk.WRITABLE_MIB,
                 take_over=None, base=None, **machine):
        if disk is None:
            disk = self.make_disk(store, cmdline, grub, elf, writable, take_over, base)
        made = Machine(disk, workdir=str(self.directory), **machine)
        self.machines.append(made)
        made.start()
        return made

    def make_disk(self, store, cmdline, grub, elf, writable, take_over, base=None):
        number = len(self.machines)
        disk = str(self.directory / ("disk%d.img" % number))
        elf = elf or os.path.join(BUILD, "corbel.elf")
        if isinstance(store, dict):
            path = str(self.directory / ("store%d.cpio" % number))
            write_store(path, store)
            store = path
        if grub:
            mkimage.make_image(disk, elf, str(store), cmdline, writable=writable, base=base)
        else:
            modules = [(str(store), "store")] if store else []
            mkdisk.make_disk(disk, os.path.join(BUILD, "sector.bin"), elf, modules, cmdline, writable, take_over, base)
        return disk

    def end(self):
        for machine in self.machines:
            machine.stop()
        for name in os.listdir(self.directory):
            if name.endswith((".img", ".cpio")):
                os.unlink(self.directory / name)

    def report(self):
        """The ends of all logs, for a test that failed."""
        for index, machine in enumerate(self.machines):
            print("--- machine %d, %s ---" % (index, "running" if machine.running() else "ended"))
            print(machine.log.text()[-6000:])
            print("--- port E9h ---\n" + machine.e9.text()[-1500:])
            print("--- bochs.log ---\n" + machine.bochs_log()[-1500:])


def failed(request):
    report = getattr(request.node, "report_of_call", None)
    return report is not None and report.failed


@pytest.fixture
def boot(tmp_path, request):
    """Starts machines that end with the test: boot(store=..., cmdline=..., grub=..., megs=...).

    @store is None, the path of a cpio archive, or a map as for write_store(). @disk boots one that is there, such
    as another machine's .disk; @writable, @take_over and @base are mkdisk's. Other arguments go to
    bochs.Bochs. When the test fails, the ends of its machines' logs are shown.
    """
    booter = Booter(tmp_path)
    yield booter
    if failed(request):
        booter.report()
    booter.end()


@pytest.fixture(scope="module")
def boot_shared(tmp_path_factory):
    """Like boot, but its machines live as long as the module's tests, which share them.

    An emulated machine takes a whole processor even when it idles: who starts several stops each when
    its tests are over.
    """
    booter = Booter(tmp_path_factory.mktemp("shared"))
    yield booter
    booter.end()


@pytest.fixture
def operator(machine):
    """The operator's verbs on the module's machine; after the test no VM is left there."""
    operator = machine.operator
    yield operator
    operator.clear()


@pytest.fixture(autouse=True)
def check_machines(request):
    """After each test: every machine that is up passes its own ownership walk.

    A failed test shows the logs of the machines it shared, too.
    """
    booters = [request.getfixturevalue(name) for name in ("boot", "boot_shared") if name in request.fixturenames]
    yield
    if failed(request) and "boot_shared" in request.fixturenames:
        request.getfixturevalue("boot_shared").report()
    for booter in booters:
        for machine in booter.machines:
            if machine.is_up():
                machine.operator.check()


@pytest.hookimpl(tryfirst=True, hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.report_of_call = outcome.get_result()

# SPDX-License-Identifier: Apache-2.0
"""The machine that a guest sees, by the test guests that take it apart: boot protocols, CPUID and MSRs,
interrupt controllers and clocks, registers that are switched between guests, memory above 4 GiB.
"""
import math
import pathlib
import re
import time

import bochs
import conftest
import pytest
import vms
import volumes

MODELS = [(bochs.ICELAKE, ""), (bochs.HASWELL, ""), (bochs.HASWELL, "novid")]


@pytest.fixture(scope="module", params=MODELS, ids=["icelake", "haswell", "haswell-novid"])
def machine(request, boot_shared):
    model, cmdline = request.param
    store = conftest.guest_store("apic", "held", "reads", "spec", "fpu", "dump", "hello", "echo", "spin", "memory", "pvtime")
    store.update({"module": bytes(range(256)) * 20, "two": "x"})
    for form in ("flat", "elf64"):
        store["guests/hello." + form] = pathlib.Path(conftest.BUILD, "guests", "hello." + form)
    machine = boot_shared(store=store, megs=128, model=model, cmdline=cmdline)
    assert ("virtual interrupts" in machine.log.wait_for(r"VT-x: .*\n", 60)[0].decode()) == (cmdline == "")
    yield machine
    machine.stop()


# ---- boot protocols ----

@pytest.mark.parametrize("how, protocol", [
    ('multiboot { image = "guests/hello", cmdline = "a b", modules = MODULES }', "multiboot"),
    ('multiboot { image = "guests/hello.flat", cmdline = "a b", modules = MODULES }', "multiboot"),
    ('multiboot { image = "guests/hello.elf64", cmdline = "a b", modules = MODULES }', "multiboot"),
    ('pvh { image = "guests/hello", cmdline = "a b", initrd = "module" }', "pvh"),
    ('pvh { image = "guests/hello.elf64", cmdline = "a b", initrd = "module" }', "pvh"),
], ids=["multiboot-elf32", "multiboot-flat", "multiboot-elf64", "pvh-elf32", "pvh-elf64"])
def test_boot_protocols(operator, how, protocol):
    modules = '{ { image = "module", cmdline = "first one" }, "two" }'
    console = vms.passed(*operator.run('vm "h" { boot = %s, mem = { size = MiB(8) }, debug_exit = true }'
                                   % how.replace("MODULES", modules)))
    assert "hello: by %s\r\n" % protocol in console
    assert "command line [a b]" in console
    # the whole of RAM is on the map, and nothing twice
    ranges = [(int(start, 16), int(size, 16), int(kind))
              for start, size, kind in re.findall(r"map (0x[0-9a-f]+) bytes (0x[0-9a-f]+) type (\d+)", console)]
    assert all(start + size <= later[0] for (start, size, _), later in zip(ranges, ranges[1:]))
    usable = sum(size for _, size, kind in ranges if kind == 1)
    assert 8 * vms.MIB - 512 * vms.KIB < usable <= 8 * vms.MIB
    total = sum(range(256)) * 20
    assert "bytes 5120 sum %d" % total in console
    if protocol == "multiboot":
        assert "module [first one] bytes 5120" in console and "bytes 1 sum %d" % ord("x") in console
    else:
        assert "hello: rsdp 0x" in console


# ---- CPUID and MSRs ----

def cpuid_of(console):
    return {(int(leaf, 16), int(sub)): tuple(int(value, 16) for value in values.split())
            for leaf, sub, values in re.findall(r"cpuid ([0-9a-f]{8})\.(\d+) ([0-9a-f ]+)", console)}


def text_of(*registers):
    return b"".join(value.to_bytes(4, "little") for value in registers)


def test_cpuid_and_msrs(operator):
    console = vms.passed(*operator.run(vms.guest("dump")))
    leaves = cpuid_of(console)
    _, _, features, _ = leaves[1, 0]
    assert features >> 31 & 1, "no hypervisor bit"
    assert features >> 21 & 1 and features >> 24 & 1, "no x2APIC or no TSC deadline"
    assert not features >> 5 & 1 and not features >> 3 & 1, "VMX or MONITOR is shown"
    assert text_of(*leaves[0x40000000, 0][1:]) == b"CorbelCorbel"
    assert text_of(*leaves[0x40000100, 0][1:]) == b"KVMKVMKVM\0\0\0"
    # what the engine must enable is shown, and runs exactly where it is shown
    shown = {"rdtscp": leaves[0x80000001, 0][3] >> 27 & 1, "invpcid": leaves[7, 0][1] >> 10 & 1,
             "rdpid": leaves[7, 0][2] >> 22 & 1}
    assert shown["rdtscp"] and shown["invpcid"]
    assert {name: int(runs) for name, runs in re.findall(r"instruction (\w+) (\d)", console)} == shown
    # only what works: ports without delay, clock and steal time; no asynchronous faults, no EOI in memory, no PV spinlocks
    assert leaves[0x40000101, 0] == (1 << 1 | 1 << 3 | 1 << 5 | 1 << 24, 0, 0, 0)
    # the crystal is the calibrated TSC, whatever the processor below claims
    ratio, numerator, crystal, _ = leaves[0x15, 0]
    assert crystal * numerator // ratio == pytest.approx(operator.host()["clock_hz"], abs=2)
    # nothing beyond what the machine has is let through
    assert max(leaf for leaf, _ in leaves if leaf < 0x40000000) <= 0x16
    msrs = {int(number, 16): int(value, 16) for number, value in re.findall(r"msr ([0-9a-f]{8}) ([0-9a-f]{16})", console)}
    assert len(msrs) < 100
    # pages of APIC, SMM, VMX, performance counters, machine checks beyond the counts: none
    assert not [number for number in msrs if 0x480 <= number < 0x4A0 or 0xC1 <= number < 0xC9 or 0x186 <= number < 0x190]
    assert msrs[0x1B] == 0xFEE00900 and msrs[0x277] == 0x0007040600070406 and msrs[0x3A] & 5 == 1


# ---- interrupts and clocks ----

STEPS = ["clocks", "self-IPI by ICR", "priorities, TPR, CR8", "NMI", "one-shot timer", "periodic timer",
         "PIC through LINT0", "IO-APIC", "TSC deadline", "self-IPI by MSR", "refusals", "off and on"]


def test_apic_timers_and_clocks(operator):
    console = vms.passed(*operator.run(vms.guest("apic"), 120))
    for step in STEPS:
        assert "apic: %s ok" % step in console, step
    assert console.count("one-shot timer ok") == 2, "once as xAPIC and once as x2APIC"


def test_apic_beside_a_guest_that_never_yields(operator):
    """Timers are late when another has the CPU, but none is lost and none is early."""
    operator.define(vms.guest("busy", "spin"))
    operator.start("busy")
    console = vms.passed(*operator.run(vms.guest("apic", cmdline="shared"), 240))
    for step in set(STEPS) - {"periodic timer"}:
        assert "apic: %s ok" % step in console, step
    assert operator.state("busy") == "running"


STOLEN = re.compile(r"stolen \d+ (\d+) of (\d+)")


def test_clock_and_steal_time_alone(operator):
    console = vms.passed(*operator.run(vms.guest("pvtime")))
    for step in ("features", "clock", "wall clock"):
        assert "pvtime: %s ok" % step in console, step
    stolen, passed_by = map(int, STOLEN.search(console).groups())
    assert stolen < 0.05 * passed_by


def test_stolen_is_what_a_neighbour_took(operator):
    """To the scheduler's own number, but for what was taken after the guest looked last."""
    operator.define(vms.guest("busy", "spin"))
    operator.start("busy")
    info, console = operator.run(vms.guest("pvtime"))
    stolen, passed_by = map(int, STOLEN.search(vms.passed(info, console)).groups())
    assert 0.35 * passed_by < stolen < 0.65 * passed_by
    assert 0 <= info["cpu"]["ready_ns"] - stolen < 30_000_000


def test_no_interrupt_comes_while_interrupts_are_off(operator):
    """Whatever one that waits waits for: meanwhile our requests, one after the other, interrupt the host."""
    operator.define(vms.guest("held"))
    operator.start("held")
    deadline = time.monotonic() + 60
    while operator.state("held") not in vms.ENDED:
        assert time.monotonic() < deadline
    info = operator.info("held")
    console = vms.passed(info, operator.output("held").decode())
    assert console.count("held: ") == 11, console
    assert info["exits_by_kind"]["host interrupt"] > 100


def test_no_completion_of_a_disk_is_lost(machine, operator):
    """Requests as fast as they go, beside a timer, while the host is interrupted."""
    v = volumes.Volumes(machine.smp)
    v.do(volumes.CREATE, name="v", config={"ram": 1 << 20})
    operator.define(vms.guest("reads", cmdline="count=2000", mem="MiB(8)", more='disk = { d = virtio { volume = "v" } }'))
    operator.start("reads")
    deadline = time.monotonic() + 120
    while operator.state("reads") not in vms.ENDED:
        assert time.monotonic() < deadline
    vms.passed(operator.info("reads"), operator.output("reads").decode())
    operator.destroy("reads")
    v.do(volumes.DELETE, volume="v")


# ---- registers ----

def test_registers_are_each_guests_own(operator):
    """Two guests with every switched register full of their own patterns, and Lua's floating point between."""
    names = ["fpu1", "fpu2"]
    operator.define("".join(vms.guest(name, "fpu", cmdline="seed=%d rounds=40 spin=300000" % seed)
                            for seed, name in enumerate(names, 11)))
    for name in names:
        operator.start(name)
    wanted = math.fsum(math.sqrt(i) for i in range(1, 301))
    while any(operator.state(name) == "running" for name in names):
        output, status = operator.client.shell("local s = 0.0 for i = 1, 300 do s = s + i ^ 0.5 end return s")
        assert status == 0 and float(output) == pytest.approx(wanted, rel=1e-12)
    for name in names:
        vms.passed(operator.info(name), operator.output(name).decode())


def test_registers_beside_one_that_spins(operator):
    operator.define(vms.guest("busy", "spin"))
    operator.start("busy")
    vms.passed(*operator.run(vms.guest("fpu", cmdline="seed=5 rounds=20 spin=300000")))


def test_speculation_control_is_each_guests_own(machine, operator):
    """Three guests that write it as often as some kernels do, and read it back: soon without exits, and nobody finds
    another's."""
    names = ["s1", "s2", "s3"]
    operator.define("".join(vms.guest(name, "spec", cmdline="seed=%d %s" % (seed, "zero" * (seed == 3)))
                            for seed, name in enumerate(names, 1)))
    for name in names:
        operator.start(name)
    present = "IBRS" in machine.log.wait_for(r"mitigations: .*\n", 10)[0].decode()
    for name in names:
        info = operator.wait_state(name, vms.ENDED, 120)
        console = vms.passed(info, operator.output(name).decode())
        assert ("4000 rounds" if present else "absent") in console
        assert not present or 32 <= info["exits_by_kind"]["wrmsr"] < 60, info["exits_by_kind"]
        assert info["exits_by_kind"].get("rdmsr", 0) < 60


# ---- memory ----

def test_every_byte_of_memory(operator):
    """Clean when first touched, though others had it before; its own and nobody else's to the end."""
    names = ["m1", "m2", "m3"]
    for _ in range(2):
        operator.define("".join(vms.guest(name, "memory", cmdline="size=8", mem="MiB(8)") for name in names))
        for name in names:
            operator.start(name)
        for name in names:
            info = operator.wait_state(name, vms.ENDED, 120)
            assert "every pattern stands" in vms.passed(info, operator.output(name).decode())
            operator.destroy(name)


def test_guests_can_fail(operator):
    """The guest's own checks can fail: told a wrong size, it says so, and its exit code too."""
    info, console = operator.run(vms.guest("memory", cmdline="size=99"))
    assert "memory: FAIL 99 MiB expected" in console
    assert (info["state"], info["exit_code"]) == ("stopped", 1)


def test_guest_with_memory_above_4_gib(boot):
    """RAM of the guest on both sides of the hole, on a machine with RAM on both sides of its own."""
    store = conftest.guest_store("memory", "hello")
    operator = boot(store=store, megs=4608).operator
    size = 3072 + 64
    definition = vms.guest("m", "memory", cmdline="size=%d every=512" % size, mem="MiB(%d)" % size)
    info, console = operator.run(definition, 300)
    vms.passed(info, console)
    assert "every pattern stands" in console
    _, console = operator.run(vms.guest("h", "hello", mem="MiB(%d)" % size))
    assert "map 0x100000000 bytes 0x4000000 type 1" in console

# SPDX-License-Identifier: Apache-2.0
"""The two unmodified Debian guests, from power on to user space and in an operator's hands: on both processors
the script that ships or the same guests with two vcpus each on two CPUs, and on four CPUs without virtual
interrupts one guest by each boot protocol. Their root file system is Debian's, below it a layer for each on one base.

The operator is the tests' own SMP client, beside it corbelctl; both come through the relay, as in `make run`.
"""
import hashlib
import json
import os
import pathlib
import re
import socketserver
import subprocess
import threading
import time

import bochs
import conftest
import debian
import pytest
import vms

NAMES = ("alpha", "beta")
CONSOLE, SIZE, TREE, GET, SET = 72, 5, 76, 1, 2  # docs/protocol.md
# at this speed a kernel's timer tick comes every 200,000 instructions, and the boots take half the time
IPS = 50_000_000
TWO_VCPUS = "cpu = { count = 2 }, autostart = true"
TWO_EACH = debian.vm("alpha", "pvh", "vmlinux", TWO_VCPUS) + debian.vm("beta", "pvh", "vmlinux", TWO_VCPUS)
BOTH_PROTOCOLS = (debian.vm("alpha", "pvh", "vmlinux", TWO_VCPUS) +
                  debian.vm("beta", "linux", "vmlinuz", 'console = "virtio", ' + TWO_VCPUS))


def store_of(script):
    """What ships, or @script with the same kernels and initrd."""
    if script is None:
        return os.path.join(conftest.BUILD, "store.cpio")
    guests = pathlib.Path(conftest.DEPS, "guests")
    return {"scripts/boot.lua": script, "debian/vmlinux": guests / "vmlinux", "debian/vmlinuz": guests / "vmlinuz",
            "debian/initrd": pathlib.Path(conftest.BUILD, "guests", "busybox.cpio")}


class Case:
    """One machine: processor, arguments, CPUs, the guests' vcpus, the script (None: the one that ships), beta's
    protocol, and which guest is to come up again in the end, by whose doing."""

    def __init__(self, model, again, cmdline="", cpus=1, script=None, second="pvh"):
        self.model, self.again, self.cmdline, self.cpus, self.script, self.second = model, again, cmdline, cpus, script, second
        self.vcpus = min(cpus, 2)
        # what ships has a network; with its way out that of `make run`
        self.network = lambda: bochs.Network(restricted=False) if script is None else None
        # CPUs that all sleep cost the emulator most: with several, time is watched for less long
        self.idle_seconds = 20 if cpus == 1 else 4


CASES = {
    "icelake": Case(bochs.ICELAKE, ("alpha", "operator")),
    "haswell-2": Case(bochs.HASWELL, ("alpha", "reboot"), "", 2, TWO_EACH),
    "haswell-4-novid-bzimage": Case(bochs.HASWELL, ("beta", "operator"), "novid", 4, BOTH_PROTOCOLS, "linux"),
}


@pytest.fixture(scope="module", params=CASES)
def machine(request, boot_shared):
    """With .case, a Case."""
    case = CASES[request.param]
    machine = boot_shared(store=store_of(case.script), base=os.path.join(conftest.BUILD, "guests", "root.ext4"), megs=512, ips=IPS,
                          model=case.model, cpus=case.cpus, cmdline=case.cmdline, network=case.network())
    machine.log.wait_for(r"\] ready", 120)
    machine.case = case
    machine.share_line()
    yield machine
    machine.stop()


@pytest.fixture(scope="module")
def guests(machine):
    """{name: debian.Debian} of the two guests, once both are in user space."""
    guests = {name: debian.Debian(machine.operator, name) for name in NAMES}
    for guest in guests.values():
        guest.wait_ready(600)
    return guests


@pytest.fixture
def operator(machine, guests):
    """The operator; afterwards both guests run, and nobody else does."""
    yield machine.operator
    assert {name: entry["state"] for name, entry in machine.operator.vms().items()} == dict.fromkeys(NAMES, "running")


# ---- the kernel's opinion of its machine ----

def test_the_log_check_sees_what_it_is_to_see():
    good = ("Hypervisor detected: KVM\nx2apic enabled\nSwitched APIC routing to physical x2apic.\nTSC deadline timer available\n"
            "kvm-clock: Using msrs 4b564d01 and 4b564d00\nCalibrating delay loop (skipped) preset value.. 19.99 BogoMIPS (lpj=39996)\n"
            "clocksource: Switched to clocksource tsc\nsched_clock: Marking stable (1, 2)->(3, -4)\nACPI: Interpreter enabled\n"
            "00:00: ttyS0 at I/O 0x3f8 (irq = 4, base_baud = 115200) is a 16550A\nx86/mm: Checked W+X mappings: passed, no W+X pages found.\n"
            "smp: Brought up 1 node, 1 CPU\n")
    assert debian.wrong_in(good) == []
    for line in good.splitlines(keepends=True):
        assert len(debian.wrong_in(good.replace(line, ""))) == 1
    for bad in ("WARNING: CPU: 0 PID: 1 at arch/x86/kernel/fpu/xstate.c:867 fpu__init", "BUG: unable to handle page fault",
                "unchecked MSR access error: RDMSR from 0x1a0 at rIP", "tsc: Fast TSC calibration using PIT",
                "tsc: PIT calibration matches HPET. 1 loops", "tsc: using HPET reference calibration",
                "tsc: Refined TSC clocksource calibration: 9.999 MHz", "tsc: Marking TSC unstable due to clocksource watchdog",
                "clocksource: timekeeping watchdog: Marking clocksource 'tsc' as unstable",
                "[Firmware Bug]: TSC_DEADLINE disabled due to Errata", "..MP-BIOS bug: 8254 timer not connected to IO-APIC"):
        assert debian.wrong_in(good + bad + "\n") == [bad]


@pytest.mark.parametrize("name", NAMES)
def test_kernel_log(machine, operator, guests, name):
    log = guests[name].log()
    assert debian.wrong_in(log, machine.case.vcpus) == [], log
    assert debian.tsc_megahertz(log) == pytest.approx(operator.host()["clock_hz"] / 1e6, rel=1e-4, abs=0.001)
    info = operator.info(name)
    # probes that Linux itself expects to fail, and no more
    assert info["denied_msrs"] < 20 and info["bus_misses"] < 100 and info["report_bytes"] == 0


@pytest.mark.parametrize("name", NAMES)
def test_pci_and_what_is_on_it(machine, guests, name):
    guest = guests[name]
    log = guest.log()
    for wanted in (r"PCI: MMCONFIG at \[mem 0xe0000000-0xe00fffff\] reserved in E820$",
                   r"pci_bus 0000:00: root bus resource \[io  0x1000-0xffff window\]$",
                   r"pci_bus 0000:00: root bus resource \[mem 0xc0000000-0xdfffffff window\]$",
                   r"pci_bus 0000:00: root bus resource \[mem 0x100000000-0x13fffffff window\]$",
                   r"pci 0000:00:01\.0: \[1af4:1042\] type 00 class 0x018000$",
                   r"pci 0000:00:0\d\.0: \[1af4:1044\] type 00 class 0xff0000$"):
        assert re.search(wanted, log, re.MULTILINE), wanted
    for unwanted in (r"not using (MMCONFIG|ECAM)", r"can't (claim|assign|reserve) ", r"no compatible bridge window", r"BAR \d+: (failed|no space)",
                     r"Unknown symbol", r"ACPI.*(Error|Warning|_CRS)", r"address conflict", r"pnp .*disabling"):
        assert not re.search(unwanted, log), unwanted
    # where firmware put it, and nothing of it moved; the disk has a queue for each vcpu, and a kick is four ports
    assert guest.run("head -n 3 /sys/bus/pci/devices/0000:00:01.0/resource").split() == [
        "0x0000000000001000", "0x%016x" % (0x1000 + 4 * machine.case.vcpus - 1), "0x0000000000040101",
        "0x00000000c0000000", "0x00000000c0000fff", "0x0000000000040200"] + ["0x0000000000000000"] * 3
    # the entropy device: bound, chosen, and it gives bytes, which MSI-X announces
    assert guest.run("cat /sys/class/misc/hw_random/rng_current").strip() == "virtio_rng.0"
    device = guest.run("basename /sys/bus/virtio/drivers/virtio_rng/virtio*").strip()
    interrupts = lambda: sum(int(n) for line in guest.run("cat /proc/interrupts").splitlines()
                             if device + "-input" in line for n in line.split()[1:] if n.isdigit())
    before = interrupts()
    read = "dd if=/dev/hwrng bs=32 count=8 2>/dev/null | md5sum"
    first, second = guest.run(read), guest.run(read)
    assert first != second and "d41d8cd98f00b204e9800998ecf8427e" not in first
    assert interrupts() > before


@pytest.mark.parametrize("name", NAMES)
def test_every_virtio_device_has_its_driver(operator, guests, name):
    """Debian's own modules: disk, entropy, balloon; a network and a console where the definition has one, which its shell is at."""
    config = operator.info(name)["config"]
    console = config["console"]
    bound = guests[name].run("cd /sys/bus/virtio/drivers; for d in *; do for v in $d/virtio*; do [ -e $v ] && echo $d; done; done; true")
    assert sorted(bound.split()) == sorted(["virtio_blk", "virtio_rng", "virtio_balloon"] + ["virtio_net"] * ("net" in config)
                                           + ["virtio_console"] * (console == "virtio"))
    assert guests[name].run("tty").strip() == {"uart": "/dev/ttyS0", "virtio": "/dev/hvc0"}[console]
    if console == "virtio":
        operator.client.write_request(CONSOLE, SIZE, {"name": name, "columns": 111, "rows": 33})
        assert guests[name].run("stty size").strip() == "33 111"


def test_the_balloon_takes_and_gives_back(operator, guests):
    """The guest gives up what it is asked for, which is the host's then, and has it again when asked for nothing."""
    def counted(name):
        return operator.client.read_request(TREE, GET, {"path": "vm.alpha.mem." + name})["value"]

    def ask(size):
        operator.client.write_request(TREE, SET, {"path": "vm.alpha.mem.balloon", "value": size})
        deadline = time.monotonic() + 60
        while counted("ballooned") != size:
            assert time.monotonic() < deadline, counted("ballooned")
            time.sleep(0.1)

    alpha, size = guests["alpha"], 8 * vms.MIB
    alpha.run("dd if=/dev/zero of=/tmp/fill bs=64k count=256 2>/dev/null; rm /tmp/fill")  # pages that it has touched
    present, free = counted("present"), operator.host()["memory"]["free"]
    ask(size)
    given = counted("given_back")
    assert given + counted("balloon_refused") >= size / 2 and given > size / 4, (given, counted("balloon_refused"))
    assert present - counted("present") > given / 2 and operator.host()["memory"]["free"] - free > given / 2
    ask(0)
    assert alpha.run("dd if=/dev/zero of=/tmp/fill bs=64k count=256 2>/dev/null; md5sum </tmp/fill; rm /tmp/fill").split()[0] == \
        hashlib.md5(bytes(16 * vms.MIB)).hexdigest()
    operator.check()
    # what the guest says of its memory, and what its kernel shows
    told, deadline = counted("guest.told"), time.monotonic() + 60
    while counted("guest.told") == told:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    total = int(re.search(r"MemTotal:\s+(\d+) kB", alpha.run("cat /proc/meminfo"))[1]) * 1024
    assert counted("guest.total") == total and 0 < counted("guest.free") < total


@pytest.mark.parametrize("name", NAMES)
def test_processor_and_clocks(machine, guests, name):
    flags = re.search(r"^flags\s*:(.*)$", guests[name].run("cat /proc/cpuinfo"), re.MULTILINE)[1].split()
    # tsc_known_freq is how Linux says that it took the frequency from CPUID
    wanted = {"hypervisor", "x2apic", "tsc_deadline_timer", "tsc_known_freq", "constant_tsc", "nonstop_tsc", "tsc_adjust",
              "pcid", "invpcid", "xsave", "avx2", "rdtscp"}
    assert wanted <= set(flags), wanted - set(flags)
    assert not {"vmx", "monitor", "mwait"} & set(flags)
    system = "/sys/devices/system/"
    clocks = system + "clocksource/clocksource0/"
    assert guests[name].run("cat %scurrent_clocksource" % clocks).strip() == "tsc"
    assert "kvm-clock" in guests[name].run("cat %savailable_clocksource" % clocks).split()
    assert guests[name].run("cat %sclockevents/clockevent0/current_device" % system).strip() == "lapic-deadline"
    assert guests[name].run("uname -n; nproc").split() == [name, str(machine.case.vcpus)]


def busy_interrupts(guest):
    """{row of /proc/interrupts: [count on each processor]} after each processor had work that others hand it."""
    guest.run("for i in 1 2 3 4; do (dd if=/dev/zero bs=4k count=64 2>/dev/null | md5sum >/dev/null)& done; wait", 120)
    rows = [line.split() for line in guest.run("cat /proc/interrupts").splitlines()[1:]]
    return {row[0].rstrip(":"): [int(n) for n in row[1:] if n.isdigit()] for row in rows}


@pytest.mark.parametrize("name", NAMES)
def test_processors_interrupt_one_another(machine, guests, name):
    """Each has its timer, and calls and wake-ups of the other."""
    counts = busy_interrupts(guests[name])
    assert len(counts["LOC"]) == machine.case.vcpus and all(n > 50 for n in counts["LOC"]), counts
    sent = [resched + call for resched, call in zip(counts["RES"], counts["CAL"])]
    assert all(n > 0 for n in sent) if machine.case.vcpus > 1 else sent == [0], counts
    assert counts["SPU"] == [0] * machine.case.vcpus and counts["ERR"] == [0], counts


def test_how_it_was_loaded(machine, operator, guests):
    """Either protocol passes command line, initrd and ACPI tables to the same kernel."""
    protocols = {name: operator.info(name)["config"]["boot"]["protocol"] for name in NAMES}
    assert protocols == {"alpha": "pvh", "beta": machine.case.second}
    for name, guest in guests.items():
        assert "corbel.name=" + name in guest.run("cat /proc/cmdline")
        assert guest.run("ls /sys/firmware/acpi/tables | grep -v data | grep -v dynamic").split() == ["APIC", "DSDT", "FACP", "FACS", "MCFG", "SSDT"]


# ---- the disk ----

@pytest.mark.parametrize("name", NAMES)
def test_the_root_file_system(guests, name):
    """Debian's packages on the guest's own disk, by the kernel's own driver."""
    guest = guests[name]
    assert re.search(r"^/dev/vda / ext4 rw,", guest.run("cat /proc/mounts"), re.MULTILINE)
    assert re.search(r"^12\.\d+$", guest.run("cat /etc/debian_version").strip())
    assert guest.run("readlink -f /proc/1/exe /proc/$$/exe").split() == ["/usr/sbin/init", "/usr/bin/bash"]
    assert guest.run("cat /sys/block/vda/serial; echo; cat /sys/block/vda/size").split() == ["root", str(64 * vms.MIB // 512)]
    assert guest.run("stat -c %U:%G:%a /usr/bin/mount /etc/passwd").split() == ["root:root:4755", "root:root:644"]


def test_each_writes_its_own_layer(machine, operator, guests):
    """What one writes the other does not have, and the base is nobody's."""
    for name, guest in guests.items():
        guest.run("echo %s was here >/root/who; dd if=/dev/urandom of=/root/noise bs=64k count=16 2>/dev/null; sync" % name)
    for guest in guests.values():
        guest.run("echo 3 >/proc/sys/vm/drop_caches")  # of which the kernel tells
    sums = {name: guest.run("cat /root/who; md5sum </root/noise", 120) for name, guest in guests.items()}
    assert all(text.startswith(name + " was here\n") for name, text in sums.items()), sums
    assert sums["alpha"].split()[-2] != sums["beta"].split()[-2]
    listed = {v["name"]: v for v in json.loads(machine.ctl("--json", "volume", "list"))["volumes"]}
    for name in NAMES:
        assert listed[name].items() >= {"kind": "layer", "pool": "disk0:4", "base": "disk0:3", "state": "live"}.items()
        assert listed[name]["bytes"] == 64 * vms.MIB
        assert vms.MIB < json.loads(machine.ctl("--json", "volume", "show", name))["own_bytes"] < 40 * vms.MIB
    done = json.loads(machine.ctl("--json", "volume", "show", "alpha"))["figures"]
    assert done["reads"] > 100 and done["writes"] > 16 and done["flushes"] > 0 and done["failed"] == 0


# ---- in the operator's hands ----

def test_listed(machine, operator, guests):
    listed = operator.vms()
    assert set(listed) == set(NAMES)
    for name in NAMES:
        entry = listed[name]
        assert (entry["state"], entry["starts"] >= 1, entry["size"]) == ("running", True, 128 * vms.MIB)
        assert 32 * vms.MIB < entry["present"] <= 128 * vms.MIB
    words = [line.split() for line in machine.ctl("vm", "list").splitlines()[1:]]
    assert [(row[1], row[2]) for row in words] == [(name, "running") for name in NAMES]
    assert json.loads(machine.ctl("--json", "vm", "info", "beta"))["name"] == "beta"


@pytest.mark.parametrize("name", NAMES)
def test_a_command_typed_at_an_attached_console(operator, guests, name):
    """Its output is pushed as it comes, and to this console alone."""
    pushed = vms.Pushed(operator.client)
    number = operator.attach(name)["id"]
    operator.type(name, b"uname -srm; echo $((6 * 7)) answers\n")

    def printed():
        return b"".join(data for _, data in pushed.output(number))

    pushed.wait(lambda _: b"\r\n42 answers\r\n" in printed())
    assert re.search(rb"^Linux 6\.1\.\d+-\d+-cloud-amd64 x86_64\r$", printed(), re.MULTILINE)
    operator.detach(name)
    assert {line[1] for line in pushed.lines()} == {number}


def test_the_same_by_corbelctl(machine, operator, guests):
    text = machine.ctl("console", "beta", "0", text="echo from co''rbelctl; hostname\n")
    assert "from corbelctl" in text and re.search(r"^beta\r?$", text, re.MULTILINE)
    assert machine.ctl("lua", "1 + 1") == "2\n"
    assert "VM alpha: started" in machine.ctl("log")


def test_lua(operator, guests):
    shell = operator.client.shell
    assert shell("vms()[1].name, vms()[2].name, #vms()") == ("alpha\nbeta\n2\n", 0)
    assert shell("info('alpha').config.mem.size // MiB(1).bytes")[1] in (0, 1)
    assert shell("local n = 0 for _, v in ipairs(vms()) do if v.state == 'running' then n = n + 1 end end return n") == ("2\n", 0)
    guests["alpha"].run("echo seen by L''ua")
    output, status = shell("console('alpha', 300)")
    assert status == 0 and "seen by Lua" in output
    output, status = shell("no_such_function()")
    assert status == 1 and "no_such_function" in output
    assert shell("check().checked") == ("true\n", 0)


# ---- at work ----

def test_both_compute_at_once(operator, guests):
    """What two busy guests reckon is right, though they take turns."""
    numbers = {"alpha": 2000, "beta": 2100}
    heads = {}
    for name, count in numbers.items():
        heads[name] = operator.head(name)
        operator.type(name, b"(seq 1 %d; dd if=/dev/zero bs=64k count=32 2>/dev/null) | sha256sum\n" % count)
    for name, count in numbers.items():
        text = b"".join(b"%d\n" % number for number in range(1, count + 1)) + bytes(2 * vms.MIB)
        operator.wait_output(name, hashlib.sha256(text).hexdigest().encode(), 120, heads[name])


def test_what_the_other_takes_is_steal(machine, operator, guests):
    """In the kernel's own books, /proc/stat: alone nothing, beside one that never sleeps half of what it wanted, or
    little where each has a CPU."""
    burner = guests["beta"]
    busy = ("cat /proc/stat; read now rest </proc/uptime; end=$((${now%%.*} + %u)); "
            "while [ ${now%%.*} -lt $end ]; do read now rest </proc/uptime; done; cat /proc/stat")

    def stolen(seconds):
        """What part of its time the processor was taken from alpha."""
        ticks = [[int(n) for n in line.split()] for line in re.findall(r"^cpu  (.*)$", guests["alpha"].run(busy % seconds), re.MULTILINE)]
        passed = [after - before for before, after in zip(*ticks)]
        return passed[7] / sum(passed)

    alone = stolen(1)
    burner.run("(while :; do :; done) & true")
    beside = stolen(2)
    burner.run("kill $!; wait; true")
    least, most = (0.35, 0.65) if machine.case.cpus == 1 else (0, 0.25)
    assert alone < 0.15 and least <= beside < most, (alone, beside)


def test_text_typed_in_one_go_arrives_whole(operator, guests):
    """By the UART's interrupt and Linux' own driver, faster than the shell reads."""
    alpha = guests["alpha"]
    text = b"".join(b"line %d of what is typed without a pause\n" % number for number in range(60))
    head = operator.head("alpha")
    operator.type("alpha", b"cat >/tmp/typed; echo DO''NE\n")
    operator.type("alpha", text + b"\x04")
    operator.wait_output("alpha", rb"^DONE", 60, head)
    assert alpha.run("md5sum </tmp/typed").split()[0] == hashlib.md5(text).hexdigest()


def test_time_runs_alike_inside_and_outside(machine, operator, guests):
    """Seconds as the guests count them are those of Corbel, also while both want the processor."""
    before = {name: (operator.info(name)["uptime_ns"], guests[name].uptime()) for name in NAMES}
    for name in NAMES:
        operator.type(name, b"dd if=/dev/zero bs=64k count=32 2>/dev/null | md5sum\n")
    for name in NAMES:
        guests[name].run("true", 120)
    seconds = machine.case.idle_seconds
    host = operator.host()["uptime_ns"] + seconds * 10**9
    while operator.host()["uptime_ns"] < host:
        time.sleep(0.2)
    for name in NAMES:
        outside, inside = operator.info(name)["uptime_ns"] - before[name][0], guests[name].uptime() - before[name][1]
        assert outside / 1e9 > seconds and inside == pytest.approx(outside / 1e9, abs=0.5 + seconds / 20), name


def test_idle_guests_leave_the_processor_alone(machine, operator, guests):
    for guest in guests.values():
        guest.run("true")
    time.sleep(0.5)
    before = {name: operator.info(name) for name in NAMES}
    host = operator.host()["uptime_ns"]
    while operator.host()["uptime_ns"] < host + machine.case.idle_seconds * 10**9:
        time.sleep(0.2)
    passed = operator.host()["uptime_ns"] - host
    for name in NAMES:
        assert operator.info(name)["cpu_ns"] - before[name]["cpu_ns"] < 0.03 * passed, name


# ---- the network ----

shipped = pytest.mark.parametrize("machine", ["icelake"], indirect=True)
GATEWAY, COPY_MIB, FRAMES = "10.0.2.2", 4, 12


@pytest.fixture
def addresses(guests):
    """{name: address} that the emulator's user network has given out, by DHCP over the uplink."""
    found = {}
    for name in NAMES:
        guests[name].run("for n in $(seq 600); do ip -4 -br address show eth0 | grep -q 10.0.2 && break; sleep 0.1; done", 120)
        found[name] = re.search(r"(10\.0\.2\.\d+)/24", guests[name].run("ip -4 -br address show eth0"))[1]
    return found


@shipped
def test_guests_and_gateway_answer(machine, operator, guests, addresses):
    assert len(set(addresses.values())) == 2
    for name, other in (NAMES, NAMES[::-1]):
        for address in (addresses[other], GATEWAY):
            assert " 0% packet loss" in guests[name].run("ping -c 5 -i 0.2 -q %s" % address)
    assert {entry["state"] for entry in operator.vms().values()} == {"running"}


@shipped
def test_iperf(machine, operator, guests, addresses):
    """A stream of TCP by Debian's iperf3, whose offloads are kept on the way: nobody cuts or sums anything."""
    interface = "vm.alpha.net.eth0.rx."
    read = lambda what: operator.client.read_request(TREE, GET, {"path": interface + what})["value"]
    guests["alpha"].run("(iperf3 -s -1 >/tmp/iperf 2>&1 &); sleep 1")
    before = {what: read(what) for what in ("frames", "bytes", "copied", "cut", "summed", "waits")}
    report = json.loads(guests["beta"].run("iperf3 -c %s -t 3 -J" % addresses["alpha"], 300))
    found = {what: read(what) - count for what, count in before.items()}
    sent, received = report["end"]["sum_sent"]["bytes"], report["end"]["sum_received"]["bytes"]
    print("iperf3: %.1f Mbit/s of the guest's, %s" % (report["end"]["sum_received"]["bits_per_second"] / 1e6, found))
    assert 0 < received <= sent and report["end"]["sum_sent"]["retransmits"] == 0
    assert found["cut"] == found["summed"] == 0
    assert found["copied"] == found["bytes"] >= received
    assert found["bytes"] / found["frames"] > 4 * 1514, "segments cross whole"


@shipped
def test_a_file_crosses_whole(machine, guests, addresses):
    guests["alpha"].run("(nc -l -p 9000 >/tmp/copy &)")
    sums = guests["beta"].run("head -c %dM /dev/urandom >/tmp/file; nc -N %s 9000 </tmp/file; sha256sum </tmp/file"
                              % (COPY_MIB, addresses["alpha"]), 300)
    assert guests["alpha"].run("wait; sha256sum </tmp/copy", 120) == sums


class Answering(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"you said " + self.rfile.readline())


@shipped
def test_a_service_on_the_hosts_loopback(machine, guests, addresses):
    """Through switch, uplink, card, and the emulator's user network, to a real TCP service and back."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in NAMES:
            answer = guests[name].run("echo hello from %s | nc -w 20 %s %d" % (name, GATEWAY, server.server_address[1]), 120)
            assert answer == "you said hello from %s\n" % name
        server.shutdown()


@shipped
def test_a_capture_opens_in_tcpdump(machine, guests, addresses, tmp_path):
    path = tmp_path / "alpha.pcap"
    capture = subprocess.Popen([os.path.join(conftest.BUILD, "corbelctl"), "-t", "%s:%d" % machine.relay.address, "capture", "alpha/eth0",
                                "-w", str(path), "--count", str(FRAMES)], stderr=subprocess.PIPE, text=True)
    try:
        guests["beta"].run("ping -c 10 -i 0.2 -q %s" % addresses["alpha"], 120)
        assert capture.wait(60) == 0, capture.stderr.read()
    finally:
        capture.kill()
    shown = subprocess.run(["tcpdump", "-n", "-r", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=True).stdout
    assert len(shown.splitlines()) == FRAMES
    for kind, one, other in (("request", "beta", "alpha"), ("reply", "alpha", "beta")):
        assert re.search(r"IP %s > %s: ICMP echo %s" % (re.escape(addresses[one]), re.escape(addresses[other]), kind), shown), shown


# ---- stop and start ----

def test_one_comes_up_again_and_the_other_does_not_notice(machine, operator, guests):
    """By the operator's stop and start, or by the guest's own reboot."""
    name, by = machine.case.again
    other = NAMES[1 - NAMES.index(name)]
    one, two = guests[name], guests[other]
    two.run("X=kept")
    one.run("echo kept, too >/root/note" + ("; sync" if by == "operator" else ""))
    starts = {each: operator.info(each)["starts"] for each in NAMES}
    uptimes = {each: guests[each].uptime() for each in NAMES}
    head, quiet = operator.head(name), operator.head(other)
    if by == "operator":
        operator.stop(name)
        assert (operator.state(name), operator.state(other)) == ("stopped", "running")
        assert operator.info(name)["memory"]["present"] == 0
        assert two.run("echo $X") == "kept\n"
        quiet = operator.head(other)
        operator.start(name)
    else:
        operator.type(name, b"reboot\n")
    one.wait_ready(300, head)
    assert operator.head(other) == quiet, "something appeared on the other's console"
    assert one.uptime() < uptimes[name] and debian.wrong_in(one.log(), machine.case.vcpus) == []
    assert two.run("echo $X") == "kept\n" and two.uptime() > uptimes[other]
    assert one.run("cat /root/note") == "kept, too\n"
    assert {each: operator.info(each)["starts"] - starts[each] for each in NAMES} == {name: 1, other: 0}


def test_power_off(machine, guests):
    """Off by ACPI, from the guest's own shell; the other stays."""
    operator = machine.operator
    operator.type("beta", b"poweroff\n")
    info = operator.wait_state("beta", vms.ENDED, 60)
    assert (info["state"], info["reason"], info["memory"]["present"]) == ("stopped", "power-off", 0)
    assert guests["alpha"].run("echo still here") == "still here\n"

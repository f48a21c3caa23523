# SPDX-License-Identifier: Apache-2.0
"""Linux from kernel entry to the first user instruction, bare and as a guest (docs/bench.md).

The same bzImage, initial file system and command line on both sides, in the emulator at ips = 50 M.
Bare, GRUB loads the kernel and the emulator's debugger notes the tick at its entry; as a guest the
TSC is 0 there. bench/guests/linux_init.c reads the TSC as its first instruction.
"""
import os
import re
import tempfile
import time

import lab
import mkimage

IPS = 50_000_000
MEGS = 512
GUEST_MIB = 256  # and the bare machine's memory: a kernel works for each page it is given
KERNEL_ENTRY = 0x1000000  # where GRUB puts a relocatable kernel: its pref_address
COMMON = "console=ttyS0 nokaslr quiet mitigations=off tsc_early_khz=50000"
# name: (what is added to the command line, the guest's definition, most exits)
CASES = {
    "a, acpi=off pci=off": ("acpi=off pci=off", "linux", 60000),
    "b, ACPI, x2APIC, TSC-deadline": ("", "linux", 25000),
    "c, PVH, ACPI": ("", "pvh", None),
}
GRUB_CONFIG = """serial --unit=0 --speed=115200
terminal_output serial console
set root=(hd0,msdos1)
linux /corbel.elf %s
initrd /store.cpio
boot
"""
WORKLOADS = ["getppid_10000", "fork_50", "touch_4096", "retouch_4096", "increments_256k", "pipe_2000", "cpuid_1000"]
KVM_BARE = {"user_space": 1427.0, "getppid_10000": 3.445, "fork_50": 8.045, "touch_4096": 14.13,
            "retouch_4096": 0.0164, "increments_256k": 1.065, "pipe_2000": 4.747, "cpuid_1000": 0.004}
KVM_GUEST = {"user_space": 1656.8, "getppid_10000": 3.924, "fork_50": 9.286, "touch_4096": 18.31,
             "retouch_4096": 0.0164, "increments_256k": 1.215, "pipe_2000": 5.463, "cpuid_1000": 1.127}
OVERHEAD_MAX = 1.03
POLL_SECONDS = 30


def initrd(directory):
    path = os.path.join(directory, "initrd.cpio")
    with open(path, "wb") as out:
        cpio = lab.mkcpio.Cpio(out)
        cpio.entry("dev", 0o40755)
        cpio.entry("dev/console", 0o20600, rdev=(5, 1))
        with open(lab.build("guests/linux_init"), "rb") as program:
            cpio.entry("init", 0o100755, program.read())
        cpio.close()
    return path


def kernel(name):
    return os.path.join(lab.DEPS, "guests", name)


def bare(directory, added):
    """{name: ticks} without a hypervisor; user_space counts from the kernel's entry."""
    config, disk = os.path.join(directory, "grub.cfg"), os.path.join(directory, "bare.img")
    with open(config, "w") as out:
        out.write(GRUB_CONFIG % (COMMON + " " + added))
    mkimage.MODULES = ["biosdisk", "part_msdos", "fat", "normal", "linux", "serial", "terminal"]
    mkimage.make_image(disk, kernel("vmlinuz"), initrd(directory), template=config)
    # The address is reached twice: at entry, and by the decompressed kernel.
    commands = ["pb 0x%x" % KERNEL_ENTRY, "c", "c", "c", "q"]
    with lab.bochs.Bochs(disk, model=lab.bochs.SKYLAKE, megs=GUEST_MIB, ips=IPS, ignore_bad_msrs=True,
                         commands=commands) as machine:
        machine.log.wait_for(r"bench end \d+", 900)
        figures = lab.bench_lines(machine.log.text().replace("\r", ""))
        entry = [int(tick) for tick in re.findall(r"Next at t=(\d+)", machine.e9.text()) if tick != "0"][0]
    figures["user_space"] -= entry
    return figures


def guest(directory, added, protocol):
    """({name: ticks}, {kind: exits}) as a guest of Corbel."""
    image = "vmlinuz" if protocol == "linux" else "vmlinux"
    script = """vm "g" {
      boot = %s { image = "kernel", initrd = "initrd", cmdline = "%s %s" },
      mem = { size = MiB(%d) }, on_reset = "stop", autostart = true,
    }""" % (protocol, COMMON, added, GUEST_MIB)
    with open(kernel(image), "rb") as f, open(initrd(directory), "rb") as g:
        contents = {"boot.lua": script, "scripts/boot.lua": script, "kernel": f.read(), "initrd": g.read()}
    disk = lab.make_disk(directory, contents, "mitigations=off")
    with lab.bochs.Bochs(disk, model=lab.bochs.SKYLAKE, megs=MEGS, ips=IPS) as machine:
        machine.log.wait_for(r"\] ready", 300)
        client = lab.smp.Client(machine.management).connect()
        while True:
            # Each look is traffic on the management line, which costs the guest time: seldom.
            time.sleep(POLL_SECONDS)
            figures = lab.bench_lines(lab.console(client, "g").replace("\r", ""))
            info = client.read_request(lab.VMS, 7, {"name": "g"}, seconds=120)
            if "end" in figures:
                return figures, info["exits_by_kind"], info["exits"]
            if info["state"] == "crashed":
                raise SystemExit("linux.py: the guest crashed:\n" + machine.log.text()[-2000:])


def run():
    missed = []
    for name, (added, protocol, most_exits) in CASES.items():
        with tempfile.TemporaryDirectory(prefix="corbel-") as directory:
            alone = bare(directory, added)
            inside, kinds, exits = guest(directory, added, protocol)
        print("\nLinux (%s), millions of instructions, ips %d M" % (name, IPS // 1000000))
        print("%-20s %12s %12s %8s %18s" % ("", "bare", "guest", "ratio", "KVM's ratio"))
        for row in ["user_space"] + WORKLOADS:
            print("%-20s %12.3f %12.3f %8.3f %18.3f" % (
                row, alone[row] / 1e6, inside[row] / 1e6, inside[row] / alone[row], KVM_GUEST[row] / KVM_BARE[row]))
        print("%d exits (KVM: 74,045): %s" % (exits, ", ".join(
            "%s %d" % (kind, count) for kind, count in sorted(kinds.items(), key=lambda item: -item[1]))), flush=True)
        ratio = inside["user_space"] / alone["user_space"]
        if protocol == "linux" and ratio > OVERHEAD_MAX:
            missed.append("Linux %s: %.3f times bare, at most %.2f" % (name, ratio, OVERHEAD_MAX))
        if most_exits and exits > most_exits:
            missed.append("Linux %s: %d exits, at most %d" % (name, exits, most_exits))
    print("KVM's 16 % are mostly its host's own 250 Hz tick; Corbel has none while a guest runs alone.")
    return missed

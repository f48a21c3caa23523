# SPDX-License-Identifier: Apache-2.0
"""The unmodified Debian guests: their shell by way of the console, and what their kernel's log must say.

A guest is a console on which bash waits. Each command is framed by two markers that the echo
of the command line cannot be taken for, so that output is told from echo and prompt.
"""
import re

# What Linux says, one way or another, when the machine is as it was described to it.
WANTED = [
    r"Hypervisor detected: KVM$",                   # it knows that it is a guest; see docs/guest.md for the name
    r"x2apic enabled$",
    r"Switched APIC routing to physical x2apic",
    r"TSC deadline timer available$",
    r"kvm-clock: Using msrs 4b564d01 and 4b564d00$",
    # no loop against another clock: the TSC's frequency is kvmclock's
    r"Calibrating delay loop \(skipped\) preset value\.\.",
    r"clocksource: Switched to clocksource tsc$",
    r"sched_clock: Marking stable",
    r"ACPI: Interpreter enabled$",
    r"ttyS0 at I/O 0x3f8 \(irq = 4, base_baud = 115200\) is a 16550A$",
    r"x86/mm: Checked W\+X mappings: passed",
]

# What it says when something about the machine surprised it.
UNWANTED = [
    r"WARNING:", r"BUG:", r"Call Trace", r"Oops", r"Kernel panic", r"cut here", r"unchecked MSR access",
    r"segfault", r"general protection", r"Firmware Bug", r"ACPI (BIOS )?(Error|Warning)", r"nobody cared",
    r"detected stalls", r"(?i)soft lockup", r"(?i)hard lockup", r"hrtimer: interrupt took", r"do_boot_cpu failed", r"blocked for more than", r"spurious", r"Spurious", r"disabled due to",
    # a clock measured against another, or mistrusted
    r"(?i)tsc:? .*calibrat", r"(?i)(pit|hpet|pm-?timer) (calibration|reference)", r"calibrating APIC timer",
    r"Refined TSC", r"TSC warp", r"timekeeping watchdog", r"(?i)unstable", r"Unable to calibrate", r"timer doesn't work", r"MP-BIOS bug", r"check_timer",
]


def wrong_in(log, vcpus=1):
    """[what is missing, lines that should not be there] in the kernel log @log of a guest with @vcpus."""
    brought_up = r"smp: Brought up 1 node, %u CPU%s$" % (vcpus, "s" * (vcpus > 1))
    return (["missing: " + wanted for wanted in [*WANTED, brought_up] if not re.search(wanted, log, re.MULTILINE)]
            + [line for line in log.splitlines() if any(re.search(unwanted, line) for unwanted in UNWANTED)])


def tsc_megahertz(log):
    """What it takes the TSC's frequency for: a line of its own only when that of the processor differs."""
    found = re.findall(r"tsc: Detected ([0-9.]+) MHz (processor|TSC)$", log, re.MULTILINE)
    return float(dict((what, value) for value, what in found).get("TSC", found[0][0]))


class Debian:
    """The guest @name of @operator: waits for its user space, runs commands in its shell."""

    def __init__(self, operator, name):
        self.operator, self.name = operator, name

    def wait_ready(self, seconds, start=0):
        """User space, and the shell's prompt after it, in what is printed from @start on."""
        self.operator.wait_output(self.name, rb"corbel-guest %s ready[^\0]*^%s# " % (2 * (self.name.encode(),)), seconds, start)

    def run(self, command, seconds=60):
        """The output of @command, which must succeed; without carriage returns."""
        head = self.operator.head(self.name)
        self.operator.type(self.name, b"echo BEG''IN; %s; echo EN''D $?\n" % command.encode())
        found = self.operator.wait_output(self.name, rb"(?s)^BEGIN\r\n(.*?)END (\d+)\r\n", seconds, head)
        assert found[2] == b"0", "%s: status %s, output %r" % (command, found[2].decode(), found[1])
        return found[1].decode().replace("\r\n", "\n")

    def log(self):
        """The kernel's log without time stamps."""
        return re.sub(r"(?m)^\[ *\d+\.\d+\] ", "", self.run("dmesg", 120))

    def uptime(self):
        return float(self.run("cat /proc/uptime").split()[0])


def vm(name, boot, image, more=""):
    """Lua text of one Debian guest by protocol @boot; disk and command line as in scripts/boot.lua."""
    return ('volume "%s" { layer = "", size = MiB(64), base = "disk0:3" }\n'
            'vm "%s" { boot = %s { image = "debian/%s", initrd = "debian/initrd", cmdline = "console=ttyS0 root=/dev/vda '
            'cryptomgr.notests initcall_blacklist=load_system_certificate_list corbel.name=%s" }, mem = { size = MiB(128) }, '
            'disk = { root = virtio { volume = "%s" } }, %s }\n' % (name, name, boot, image, name, name, more))

# SPDX-License-Identifier: Apache-2.0
"""Costs of exits as a guest sees them, beside KVM's in the same emulator (docs/bench.md)."""
import tempfile

import lab
import trace

# RAM ends in half a leaf of 2 MiB, and is more than the host has cleared in such leaves: touches of every kind.
GUEST_MIB = 81
# name: (bar, KVM with mitigations=off, KVM with Debian's defaults, what to trace: a handler, and its calls before)
ROWS = {
    "cpuid": (120, 964, 1060, ("cpuid_exit", 60)),
    "rdmsr_apic_base": (120, 1078, 1174, ("msr_exit_read", 60)),
    "wrmsr_efer": (1925, 1925, 2019, ("msr_exit_write", 60)),
    "vmcall": (120, 1001, 1097, ("on_hypercall", 60)),
    "in_uart_lsr": (250, 3112, 7409, ("on_in", 60)),
    "out_port_80": (250, 3066, 7363, None),
    "mmio_read_first": (1200, 5768, 10093, None),
    "mmio_read_first_worst": (None, 5768, 10093, None),
    "mmio_read": (400, 5768, 10093, ("insn_mmio_exit", 300)),
    "mmio_write_first": (1200, 5317, 9631, None),
    "mmio_write": (400, 5317, 9631, ("insn_mmio_exit", 820)),
    "hole_read": (400, 5768, 10093, None),
    "hole_write": (400, 5317, 9631, None),
    "kick_port": (400, None, None, None),
    "kick_memory": (600, None, None, None),
    "kick_memory_first": (1400, None, None, None),
    "rdmsr_x2apic_id": (None, 1194, 1290, None),
    "x2apic_eoi": (200, 1168, 1262, None),
    "self_ipi_msr_to_handler": (600, None, None, None),
    "self_ipi_icr_to_handler": (600, None, None, None),
    "self_ipi_msr": (600, 5608, 5890, None),
    "self_ipi_icr": (600, 5608, 5890, None),
    "tsc_deadline_rearm": (250, 1726, 1710, None),
    "hlt_to_timer_beyond_deadline": (1500, None, None, None),
    "touch_4k_pool": (400, 2632, None, ("on_fault", 2100)),
    "touch_in_2m_mapped": (1, None, None, None),
    "touch_4k_inline": (1000, 2632, None, None),
    "touch_worst": (20000, None, None, None),
    # IA32_SPEC_CTRL without exits, then the cost of an exit of who has it so: one RDMSR and two WRMSR more
    "wrmsr_spec_ctrl": (1, None, None, None),
    "rdmsr_spec_ctrl": (1, None, None, None),
    "cpuid_with_spec_ctrl": (None, None, None, ("cpuid_exit", 340)),
}
SPEC_CTRL = ("wrmsr_spec_ctrl", "rdmsr_spec_ctrl", "cpuid_with_spec_ctrl")
# Sent with interrupts off, taken after STI, and ended by an EOI: three exits without virtual-interrupt delivery (docs/bench.md).
THREE_EXITS = ("self_ipi_msr", "self_ipi_icr")
CASES = [
    ("Icelake, mitigations=off", lab.bochs.ICELAKE, "mitigations=off"),
    ("Icelake, mitigations=auto", lab.bochs.ICELAKE, ""),
    ("Icelake without virtual-interrupt delivery, mitigations=off", lab.bochs.ICELAKE, "mitigations=off novid"),
    ("Haswell, mitigations=off", lab.bochs.HASWELL, "mitigations=off"),
]


def measure(model, args):
    """{name: instructions} of one run of bench/guest_exits.c."""
    with tempfile.TemporaryDirectory(prefix="corbel-") as directory:
        disk = lab.make_disk(directory, trace.store(GUEST_MIB), args)
        with lab.bochs.Bochs(disk, model=model, megs=256) as machine:
            machine.log.wait_for(r"VM g (ended|crashed|stopped).*", 300)
            client = lab.smp.Client(machine.management).connect()
            return lab.bench_lines(lab.console(client, "g"))


def run():
    missed = []
    for title, model, args in CASES:
        lean = "off" in args
        table = lab.Table("Exit costs in instructions: " + title, "dear instructions in one round trip")
        figures = measure(model, args)
        for name, (bar, kvm, kvm_default, traced) in ROWS.items():
            note = ""
            if name in SPEC_CTRL and model != lab.bochs.ICELAKE:
                continue  # the processor has none
            if name in THREE_EXITS and "novid" in args:
                note = "3 exits"
            if traced and model == lab.bochs.ICELAKE and args == "mitigations=off":
                counts = trace.dear_counts(trace.trace(*traced, mib=GUEST_MIB))
                note = ", ".join("%d %s" % (n, kind) for kind, n in counts.items())
            if name in figures:
                table.row(name, figures[name], bar if lean else kvm_default, kvm if lean else kvm_default, note)
            else:
                table.missed.append("%s: the guest did not print it" % name)
        missed += ["%s: %s" % (title, text) for text in table.missed]
    return missed

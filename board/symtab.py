#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""symtab.py [ELF] >symtab.S: the code symbols of a linked image as assembly source.

The image is linked twice: first with the empty table that this prints without an argument, then
with the table of that first link. The linker script puts the table behind the code (section
.symtab.corbel in .rodata), so no code address differs between the two. firmware/backtrace.c reads

    const uint32_t symtab_count;
    const uint32_t symtab_addrs[];    ascending, offsets from the image's base
    const uint32_t symtab_names[];    offsets into symtab_strings
    const char symtab_strings[];

An address belongs to the last symbol at or below it. Symbols of the 32-bit entry code, which runs
at its physical address, are left out.
"""
import subprocess
import sys

IMAGE_BASE = 0xFFFFFFFF80000000


def code_symbols(elf):
    """[(offset, name)] ascending, one name an address: a global one where there is a choice."""
    listing = subprocess.run(["nm", "--defined-only", elf], check=True, text=True, stdout=subprocess.PIPE)
    chosen = {}
    for line in listing.stdout.splitlines():
        address, kind, name = line.split(maxsplit=2)
        offset = int(address, 16) - IMAGE_BASE
        if kind not in "Tt" or offset < 0 or name.startswith("."):
            continue
        if offset not in chosen or (kind == "T" and chosen[offset][0] == "t"):
            chosen[offset] = (kind, name)
    return [(offset, chosen[offset][1]) for offset in sorted(chosen)]


def main():
    symbols = code_symbols(sys.argv[1]) if len(sys.argv) > 1 else []
    out = ['\t.section .symtab.corbel, "a", @progbits', "\t.balign 4"]

    def label(name):
        out.extend(["\t.globl " + name, name + ":"])

    label("symtab_count")
    out.append("\t.long %d" % len(symbols))
    label("symtab_addrs")
    out.extend("\t.long %#x" % offset for offset, _ in symbols)
    label("symtab_names")
    position = 0
    for _, name in symbols:
        out.append("\t.long %d" % position)
        position += len(name) + 1
    label("symtab_strings")
    out.extend('\t.asciz "%s"' % name for _, name in symbols)
    out.append("\t.byte 0")
    print("\n".join(out))


main()

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""nosse.py [--libc ARCHIVE] OBJECT-OR-ARCHIVE...: no vector or x87 register is used there.

On the exit path the guest's vector registers are live in the processor, so neither our own code
nor a C library function that it calls may touch one. The compiler's option covers our own code;
this covers what it cannot see: assembly, third-party objects, and the members of the C library
that the objects need, followed through everything those members need in turn.
"""
import argparse
import re
import subprocess
import sys

VECTOR = re.compile(r"%(?:[xyz]?mm\d+|st\b|k[0-7]\b)")


def output(*argv):
    return subprocess.run(argv, check=True, text=True, stdout=subprocess.PIPE).stdout


def vector_uses(path, members=None):
    """['object: function: instruction'], for an archive only of @members when given."""
    found, where, function = [], path, "?"
    for line in output("objdump", "-d", "--no-show-raw-insn", path).splitlines():
        header = re.match(r"(\S+):\s+file format", line)
        symbol = re.match(r"[0-9a-f]+ <(.*)>:$", line)
        if header:
            where = header[1]
        elif symbol:
            function = symbol[1]
        elif VECTOR.search(line) and (members is None or where in members):
            found.append("%s: %s: %s" % (where, function, line.split("\t", 1)[-1].strip()))
    return found


def symbols(path):
    """{member: (defined, undefined)}; a plain object is its own only member."""
    table, member = {}, path
    for line in output("nm", "-g", path).splitlines():
        if line.endswith(":"):
            member = line[:-1]
            continue
        fields = line.split()
        if len(fields) < 2:
            continue
        defined, undefined = table.setdefault(member, (set(), set()))
        (undefined if fields[-2] in "Uwv" else defined).add(fields[-1])
    return table


def needed_members(objects, libc):
    """Members of @libc that @objects pull in, directly or through one another."""
    table = symbols(libc)
    home = {name: member for member, (defined, _) in table.items() for name in defined}
    own, wanted = set(), set()
    for path in objects:
        for defined, undefined in symbols(path).values():
            own |= defined
            wanted |= undefined
    members, work = set(), [home[name] for name in wanted - own if name in home]
    while work:
        member = work.pop()
        if member not in members:
            members.add(member)
            work.extend(home[name] for name in table[member][1] - own if name in home)
    return members


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--libc")
    parser.add_argument("objects", nargs="+")
    options = parser.parse_args()
    found = [use for path in options.objects for use in vector_uses(path)]
    if options.libc:
        found += vector_uses(options.libc, needed_members(options.objects, options.libc))
    for use in found[:40]:
        print("nosse: " + use, file=sys.stderr)
    if found:
        sys.exit("nosse: %d uses of vector registers in code that runs while a guest's are live" % len(found))


main()

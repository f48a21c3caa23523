#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""format.py FILE...: the C sources look as .clang-format says.

Three things are left to the author's eye, because clang-format knows only one answer for them:
a definition or a case that fits on one line may stay on one line, columns of trailing comments
and of macro values may be aligned further than it would, and so may tables of braces.
Everything else it would change is printed as a difference and is an error.
"""
import difflib
import re
import subprocess
import sys


def formatted(path):
    return subprocess.run(["clang-format", path], check=True, text=True, stdout=subprocess.PIPE).stdout


def squeeze(line):
    """The line with runs of blanks behind its indentation made one."""
    indent = re.match(r"[\t ]*", line)[0]
    return indent + re.sub(r"[\t ]+", " ", line[len(indent):])


def tokens(lines):
    return re.sub(r"\s+|\\\n", "", "".join(lines)).replace("\\", "")


CHOICE = re.compile(
    r"""static\s|typedef\s|\t*struct\b|\t*enum\b|\t*union\b    # a definition on one line
    |\S.*\)\s\{                                             # a function on one line
    |\#define\s|\t+[\[({].*                                 # a macro, a row of a table
    |\t+(case|default)\b|\t+cmocka_unit_test                # a case, a list of tests
    |\t+__asm__\b|\t+for\s\(""", re.VERBOSE)


def is_authors_choice(have, want):
    """Same tokens on no more lines, in one of the forms named above."""
    if tokens(have) != tokens(want):
        return False
    if have[0].startswith("#define") or have[0].endswith("\\\n"):
        return True
    # clang-format 14 takes (type)-1 for a subtraction
    if len(have) == len(want) == 1 and re.search(r"\w\)-", have[0]):
        return True
    return len(have) <= len(want) and any(CHOICE.match(line) for line in have)


def differences(path):
    with open(path) as f:
        have = [squeeze(line) for line in f]
    want = [squeeze(line) for line in formatted(path).splitlines(keepends=True)]
    matcher = difflib.SequenceMatcher(None, have, want, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind != "equal" and not is_authors_choice(have[a:b], want[c:d]):
            yield a + 1, have[a:b], want[c:d]


def main():
    wrong = 0
    for path in sys.argv[1:]:
        for line, have, want in differences(path):
            wrong += 1
            print("%s:%d: format" % (path, line))
            sys.stdout.writelines("  - " + text for text in have)
            sys.stdout.writelines("  + " + text for text in want)
    if wrong:
        sys.exit("format.py: %d places differ from .clang-format" % wrong)


main()

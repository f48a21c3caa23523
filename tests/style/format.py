#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""format.py FILE...: the C sources look as .clang-format says.

Where to break a line is left to the author's eye, for clang-format knows only one answer: a
definition, a case or a row of a table may stay on one line, a long statement may break where it
reads best. So may columns of trailing comments and macro values be aligned further than it would.
Braces, indentation, spacing and statements after a condition are not a matter of taste: what
differs there is printed and is an error.
"""
import concurrent.futures
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


# Control flow keeps its lines: nothing behind a condition, no brace on a line of its own.
CONTROL = re.compile(r"\s*(if|else|while|do|switch|for|return)\b|\s*\}\s*(else|while)|\s*[{}]\s*$")
ONE_LINE = re.compile(r"\s*(static\b.*\}|(typedef |static |const )*(struct|union|enum)\b.*\}|(case|default)\b|[^\s#].*\) \{.*\})")


def is_authors_choice(have, want):
    """Same tokens, differently broken into lines, in one of the ways named above."""
    if not have or not want or tokens(have) != tokens(want):
        return False
    if have[0].startswith("#define") or have[0].endswith("\\\n"):
        return True
    if len(have) == len(want) == 1:
        # clang-format 14 takes (type)-1 for a subtraction and a * b for a declaration
        return bool(re.search(r"\w\)[-~]", have[0])) or have[0].startswith("_Static_assert")
    if ONE_LINE.match(have[0]) and len(have) < len(want):
        return True
    joined = any(CONTROL.match(line) for line in want[1:]) or any(CONTROL.match(line) for line in have[1:])
    return not joined and re.match(r"\t*", have[0])[0] == re.match(r"\t*", want[0])[0]


def differences(path):
    """[(line number, lines as they are, lines as they should be)]"""
    with open(path) as f:
        have = [squeeze(line) for line in f]
    want = [squeeze(line) for line in formatted(path).splitlines(keepends=True)]
    found = []
    matcher = difflib.SequenceMatcher(None, have, want, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind != "equal" and not is_authors_choice(have[a:b], want[c:d]):
            found.append((a + 1, have[a:b], want[c:d]))
    return found


def main():
    wrong, paths = 0, sys.argv[1:]
    with concurrent.futures.ProcessPoolExecutor() as pool:
        results = list(pool.map(differences, paths, chunksize=4))
    for path, found in zip(paths, results):
        for line, have, want in found:
            wrong += 1
            print("%s:%d: format" % (path, line))
            sys.stdout.writelines("  - " + text for text in have)
            sys.stdout.writelines("  + " + text for text in want)
    if wrong:
        sys.exit("format.py: %d places differ from .clang-format" % wrong)


main()

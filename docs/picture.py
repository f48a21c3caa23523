#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Draws docs/run.svg, the README's picture: a session of `make run` as its terminal showed it.

Nothing in the picture is written by hand: this program starts board/emulate.py on a terminal of its own, types
what an operator would, and draws the lines that came back. `make picture` runs it, in about three minutes.
"""
import argparse
import os
import pty
import re
import subprocess
import sys
import threading
import time
from xml.sax.saxutils import escape

COLUMNS = 96
# what to wait for, how long at most, and what to type then
SESSION = [
    (r"corbel> $", 900, "vm list"),
    (r"corbel> $", 60, "console alpha"),
    (r"alpha ready[\s\S]*# $", 900, "uname -sr; nproc"),
    (r"# $", 120, "\x1d"),
    (r"corbel> $", 60, "set vm.alpha.cpu.shares 2000 --for 5min"),
    (r"corbel> $", 60, "why vm.alpha.cpu.shares"),
    (r"corbel> $", 60, "cpu list"),
    (r"corbel> $", 60, "=now.vm.alpha.state, #now.vms"),
    (r"corbel> $", 60, "quit"),
]
# lines of the boot log that say little to a reader
DULL = re.compile(r"^\[ .*\] (loaded by|protections|console|store|audit|entropy|mitigation|counters)")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LINE, CHAR, MARGIN, SIZE = 18, 7.83, 16, 13


class Session:
    """A command on a terminal; all it wrote so far."""

    def __init__(self, command):
        self.master, inside = pty.openpty()
        environment = dict(os.environ, TERM="dumb", COLUMNS=str(COLUMNS), LINES="60")
        self.process = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, env=environment,
                                        start_new_session=True)
        os.close(inside)
        self.data = b""
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        while True:
            try:
                fresh = os.read(self.master, 65536)
            except OSError:
                return
            self.data += fresh

    def text(self):
        """Without what moves a cursor or asks where it is."""
        return CONTROL.sub("", self.data.decode("utf-8", "replace").replace("\r\n", "\n"))

    def wait_for(self, pattern, seconds, since):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            shown = self.text()
            if re.search(pattern, shown[since:]):
                return len(shown)
            if self.process.poll() is not None:
                break
            time.sleep(0.2)
        raise SystemExit("picture: no %r in:\n%s" % (pattern, self.text()[-2000:]))

    def type(self, text):
        os.write(self.master, text.encode() if text == "\x1d" else (text + "\n").encode())


def record(command):
    session, since = Session(command), 0
    for pattern, seconds, keys in SESSION:
        since = session.wait_for(pattern, seconds, since)
        session.type(keys)
    session.process.wait(60)
    return session.text()


def screen_line(line):
    """What a terminal shows of @line after carriage returns and backspaces."""
    cells, at = [], 0
    for c in line:
        if c == "\r":
            at = 0
        elif c == "\b":
            at = max(0, at - 1)
        elif c >= " ":
            cells[at:at + 1] = c
            at += 1
    return "".join(cells).rstrip()


def lines_of(text):
    """From the firmware's first line on, without dull ones and doubled empty ones."""
    lines = [screen_line(line) for line in text.split("\n")]
    first = next(i for i, line in enumerate(lines) if re.search(r"\] Corbel ", line))
    shown = []
    for line in lines[first:]:
        if DULL.match(line) or (not line and (not shown or not shown[-1])):
            continue
        shown.append(line if len(line) <= COLUMNS else line[:COLUMNS - 3] + "...")
    return shown


def colour(line):
    if re.match(r"(corbel> |\S+# )\S", line):
        return "typed"
    return "log" if line.startswith("[ ") else "said"


def svg(lines):
    width, height = int(COLUMNS * CHAR + 2 * MARGIN), len(lines) * LINE + 2 * MARGIN
    rows = "\n".join('<text x="%d" y="%d" class="%s">%s</text>' % (MARGIN, MARGIN + LINE * i + SIZE, colour(line), escape(line))
                     for i, line in enumerate(lines) if line)
    return """<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">
<!-- SPDX-License-Identifier: Apache-2.0; made by docs/picture.py of a real session -->
<style>text { font: %dpx "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre; }
.log { fill: #8fa3b8; } .said { fill: #d8dee6; } .typed { fill: #f5c451; }</style>
<rect width="100%%" height="100%%" rx="8" fill="#14181d"/>
%s
</svg>
""" % (width, height, width, height, SIZE, rows)


def main():
    parser = argparse.ArgumentParser(description="Draws a session of the emulated machine.")
    parser.add_argument("--out", default="docs/run.svg")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what starts the machine and its prompt")
    options = parser.parse_args()
    lines = lines_of(record(options.command))
    with open(options.out, "w") as out:
        out.write(svg(lines))
    print("%s: %d lines" % (options.out, len(lines)))


if __name__ == "__main__":
    sys.exit(main())
